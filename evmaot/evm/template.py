"""Templates: one compiled code for all deployments that differ in known places.

Job: what a code is with its holes masked.  Constructors write immutables, library addresses and the
like into a code, so that its hash differs from deployment to deployment.  Invariants: the digest covers
length, holes and every byte outside them, and begins
with words that set it apart from a code's own.
May import: nothing of evmaot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeAlias

Holes: TypeAlias = Sequence[tuple[int, int]]
"""(offset, length) in bytes of what a template leaves open; ascending, disjoint, inside the code."""

_DOMAIN: Final = b"evmaot.template/1\n"
"""What is hashed of a template begins with this, the holes and a line's end: as a code it would be another code."""


def masked_code(code: bytes, holes: Holes) -> bytes:
    """The code with zero bytes in every hole."""
    masked = bytearray(code)
    for offset, length in holes:
        masked[offset : offset + length] = bytes(length)
    return bytes(masked)


def code_digest(code: bytes, holes: Holes = ()) -> str:
    """SHA-256, hex: of the code, or of a template's holes and of all bytes outside them."""
    if not holes:
        return hashlib.sha256(code).hexdigest()
    layout = f"{len(code)} {' '.join(f'{offset}+{length}' for offset, length in holes)}\n".encode()
    return hashlib.sha256(_DOMAIN + layout + masked_code(code, holes)).hexdigest()
