"""Families of forks: each generated world runs under one fork of its family, drawn by its seed."""

from __future__ import annotations

from typing import Final

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "early": ("frontier", "homestead", "tangerine_whistle", "spurious_dragon"),
    "byzantium": ("byzantium", "petersburg", "istanbul"),
    "berlin": ("berlin", "london", "paris", "shanghai"),
    "cancun": ("cancun", "prague", "osaka"),
}
"""Every fork that EELS has with rules of its own.  The true Constantinople (EIP-1283) is not among them: its
vectors run on py-evm, see `tests/conformance/test_constantinople.py`."""

COMMON: Final = "common"
"""Name of the worlds whose programs are made of what all forks price alike: they run in every family."""

FAMILY_OF: Final = {fork: family for family, forks in FAMILIES.items() for fork in forks}
