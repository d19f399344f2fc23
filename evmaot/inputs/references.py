"""Where compilers say that a code has holes, as they write it -> holes.

Job: `immutableReferences`, `linkReferences` and ethPM's offsets.  Invariant: the result is sorted,
without overlap, and inside the code; anything else is a ShapeError.  May import: inputs.context,
inputs.source.

Sources: Solidity documentation, "Compiler Input and Output JSON Description"; ethPM 3 (EIP-2678),
"link reference object".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evmaot.inputs.context import ShapeError, require_object
from evmaot.inputs.source import Hole


@dataclass(frozen=True, slots=True)
class Link:
    """Where the address of a library belongs."""

    offset: int
    length: int
    name: str
    """`file:library` where the input says so."""


def parse_immutables(value: object) -> tuple[Hole, ...]:
    """Holes of `{ast id: [{"start", "length"}]}`; none if the value is absent."""
    if value is None:
        return ()
    ranges = (pair for entries in require_object(value, "immutableReferences").values() for pair in _ranges(entries))
    return tuple(Hole(start, length, "immutable") for start, length in ranges)


def parse_links(value: object) -> tuple[Link, ...]:
    """Links of `{file: {library: [{"start", "length"}]}}` or of ethPM's `[{"offsets", "length", "name"}]`."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(_ethpm_links(value))
    return tuple(
        Link(start, length, f"{file}:{library}")
        for file, libraries in require_object(value, "linkReferences").items()
        for library, entries in require_object(libraries, "linkReferences").items()
        for start, length in _ranges(entries)
    )


def _ranges(entries: object) -> Iterator[tuple[int, int]]:
    if not isinstance(entries, list):
        raise ShapeError("references are not a list")
    for entry in entries:
        fields = require_object(entry, "a reference")
        yield _number(fields.get("start")), _number(fields.get("length"))


def _ethpm_links(entries: Iterable[object]) -> Iterator[Link]:
    for entry in entries:
        fields = require_object(entry, "a link reference")
        offsets = fields.get("offsets")
        if not isinstance(offsets, list):
            raise ShapeError("a link reference has no list of offsets")
        for offset in offsets:
            yield Link(_number(offset), _number(fields.get("length")), str(fields.get("name", "?")))


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ShapeError("a reference has no offset and length")
    return value


def settle_holes(holes: Iterable[Hole], size_bytes: int) -> tuple[Hole, ...]:
    """The holes sorted, duplicates dropped.  ShapeError if one is outside the code or two overlap."""
    settled = sorted(set(holes), key=lambda hole: (hole.offset, hole.length, hole.kind))
    end = 0
    for hole in settled:
        if hole.length < 1 or hole.offset + hole.length > size_bytes:
            raise ShapeError(f"a reference to {hole.length} bytes at {hole.offset} of a code of {size_bytes} bytes")
        if hole.offset < end:
            raise ShapeError(f"two references to the bytes at {hole.offset}")
        end = hole.offset + hole.length
    return tuple(settled)
