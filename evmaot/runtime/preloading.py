"""The choices of a preload: when libraries are loaded, how they come into memory, and of which compiler.

Job: these choices apart from what reads stores, so that a configuration is light.  May import: errors.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final

from evmaot.errors import UsageError

Profiles = str | Collection[str]
"""Whose code is used: `CURRENT`, `ANY`, or the digests (hex) of the only profiles to be used."""

CURRENT: Final = "current"
"""Code of this compiler: of the same sources and, where an llvmlite is installed, of its version."""
ANY: Final = "any"
"""All that fits ABI and CPU, whatever version of evmaot made it."""


class Preload(Enum):
    """When libraries are loaded."""

    EAGER = "eager"
    """All when the store is opened."""
    LAZY = "lazy"
    """Each at the first look-up that needs it."""


class LibraryMapping(Enum):
    """How libraries come into this process."""

    FILE = "file"
    """By the dynamic loader: pages are shared between processes.  Truncating the file kills its users."""
    COPY = "copy"
    """A private copy of the bytes that were hashed: nothing that happens to the file matters any more."""


def checked_profiles(value: Profiles) -> Profiles:
    """A choice of profiles, digests as a frozen set.  Raises UsageError ``unknown_value``.

    Text of several words is taken for digests: that is how a variable of the environment spells them.
    """
    if isinstance(value, str):
        if value in (CURRENT, ANY):
            return value
        value = value.replace(",", " ").split() or [value]
    digests = frozenset(value)
    for digest in digests:
        if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise UsageError(
                "unknown_value",
                f"unknown profiles {digest!r}",
                context={"value": repr(digest)[:80]},
                hint=f"{CURRENT}, {ANY}, or whole digests of profiles (evmaot ls --json)",
            )
    return digests
