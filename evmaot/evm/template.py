"""Templates: one compiled code for all deployments that differ in known places.

Job: what a code is with its holes masked.  Constructors write immutables, library addresses and the
like into a code, so that its hash differs from deployment to deployment.  Invariants: the digest covers
length, holes and every byte outside them, and begins
with words that set it apart from a code's own; a list of a table is replaced and never changed, so that
matching needs no lock.
May import: nothing of evmaot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Generic, TypeAlias, TypeVar

Holes: TypeAlias = Sequence[tuple[int, int]]
"""(offset, length) in bytes of what a template leaves open; ascending, disjoint, inside the code."""

T = TypeVar("T")

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


def hole_bytes(holes: Holes) -> int:
    """How many bytes holes leave open."""
    return sum(length for _, length in holes)


def covers(wider: Holes, holes: Holes) -> bool:
    """Whether each hole lies within one of the wider holes, and these leave more open."""
    return hole_bytes(wider) > hole_bytes(holes) and all(
        any(start <= offset and offset + length <= start + size for start, size in wider) for offset, length in holes
    )


class TemplateTable(Generic[T]):
    """What is filed under templates, found by any code that is made of one of them."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[tuple[tuple[int, int], ...], dict[str, tuple[T, ...]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def add(self, length: int, holes: Holes, digest: str, item: T) -> None:
        """File an item under the template of that length and digest, behind those that are there."""
        by_digest = self._by_length.setdefault(length, {}).setdefault(tuple(holes), {})
        by_digest[digest] = (*by_digest.get(digest, ()), item)

    def matching(self, code: bytes) -> list[T]:
        """Items of all templates that the code is made of: it is hashed once for each set of holes of its length."""
        return [
            item
            for holes, by_digest in list(self._by_length.get(len(code), {}).items())
            for item in by_digest.get(code_digest(code, holes), ())
        ]
