"""The bytecode in a pack, `evmaot.codes/1`: what it takes to compile the pack again.

Job: write and read it.  Invariants: it is an aid and no truth: look-ups never read it, a pack without it is whole,
and each code is believed only after its SHA-256; sizes are bounded, also of what it unpacks to.  It keeps all codes
that were linked, also those of members that were deleted since, because the library does too.
May import: `evmaot.errors`, `evmaot.evm`, `evmaot.json_text`, the store's lower modules.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from evmaot.errors import CorruptionError, EvmaotError
from evmaot.evm.template import code_digest
from evmaot.json_text import parse_json
from evmaot.store.files import StoreFiles
from evmaot.store.keys import Holes, canonical_json
from evmaot.store.manifest import MAX_MEMBERS, clean_label, parse_holes

CODES_SCHEMA: Final = "evmaot.codes/1"
MAX_CODES_BYTES: Final = 64 << 20
MAX_UNPACKED_BYTES: Final = 160 << 20
"""Hexadecimal text of the most code that a build puts into a pack, twice."""


@dataclass(frozen=True, slots=True)
class StoredCode:
    """One code or template and the forks that it was compiled for, of which all have the same rules for it."""

    code: bytes
    forks: tuple[str, ...]
    label: str
    holes: Holes = ()
    """Of a template."""

    @property
    def sha256(self) -> str:
        """Digest of the code or template, hex."""
        return code_digest(self.code, self.holes)


def pack_codes(codes: Iterable[StoredCode]) -> bytes:
    """The bytes of a codes file."""
    rows = [_row(item) for item in codes]
    return zlib.compress(canonical_json({"schema": CODES_SCHEMA, "codes": rows}), 6)


def unpack_codes(data: bytes) -> tuple[StoredCode, ...]:
    """Read a codes file.  Raises CorruptionError ``codes_damaged``."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, MAX_UNPACKED_BYTES)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("it is cut off, or too large")
        document = parse_json(text, depth_limit=8, allow_constants=False)
        if not isinstance(document, dict) or document.get("schema") != CODES_SCHEMA:
            raise ValueError("it is not a document of codes")
        rows = document.get("codes")
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_MEMBERS:
            raise ValueError("it lists no codes, or too many")
        return tuple(_code(row) for row in rows)
    except (ValueError, zlib.error) as error:
        raise CorruptionError("codes_damaged", "the bytecode of a pack can't be read", cause=str(error)) from error


def _row(item: StoredCode) -> dict[str, Any]:
    row = {"code": item.code.hex(), "forks": list(item.forks), "label": clean_label(item.label)}
    return {**row, "holes": [list(hole) for hole in item.holes]} if item.holes else row


def _code(row: Any) -> StoredCode:
    if not isinstance(row, dict):
        raise ValueError("a code is no object")
    code, forks, label = row.get("code"), row.get("forks"), row.get("label")
    if not isinstance(code, str) or not code or not isinstance(label, str):
        raise ValueError("a code or label is no text")
    if not isinstance(forks, list) or not forks or not all(isinstance(fork, str) for fork in forks):
        raise ValueError("the forks of a code are no texts")
    data = bytes.fromhex(code)
    return StoredCode(data, tuple(forks), label, parse_holes(row.get("holes", []), len(data)))


def read_codes(files: StoreFiles, object_sha256: str) -> tuple[StoredCode, ...] | None:
    """The codes in the library with that SHA-256 (hex), None where they are not known or can't be read."""
    try:
        return unpack_codes(files.read(files.paths.pack_codes(object_sha256), MAX_CODES_BYTES))
    except (OSError, EvmaotError):
        return None


def write_codes(files: StoreFiles, object_sha256: str, codes: Iterable[StoredCode]) -> None:
    """Keep the codes of a library.  Raises OSError."""
    path = files.paths.pack_codes(object_sha256)
    if read_codes(files, object_sha256) is not None:
        return
    files.make_directory(files.paths.codes)
    files.make_directory(path.parent)
    files.replace_document(path, pack_codes(codes))
