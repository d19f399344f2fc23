"""The binary layout of a library's one export, the data symbol ``evmaot_table``.

Job: say what the table's bytes mean, to those who write it (codegen) and those who read it (runtime).  A library
proves with it what it holds: which ABI, which profile, and where the entry of each code under each rules digest
is.  Invariants: all integers are little endian and 64 bits; entries are strictly ascending by (code SHA-256,
rules digest), so that a look-up is a binary search and a key has one answer.  Pure data; may import:
`evmaot.errors`.

    offset  size
         0     8  magic "EVMAOT\\0" and the version of this layout, 1
         8    32  ABI fingerprint (`evmaot.abi.layout.FINGERPRINT` as bytes)
        40     8  number of entries, at most 4096
        48    32  profile id
        80    72  entry 0:  code SHA-256 (32), rules digest (32),
                            signed distance in bytes from the table's address to the entry's address (8)
       152    72  entry 1 ...
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from evmaot.errors import CompilerBug, LoadError

TABLE_SYMBOL: Final = "evmaot_table"
MAGIC: Final = b"EVMAOT\x00\x01"
DIGEST_BYTES: Final = 32
HEADER: Final = struct.Struct("<8s32sQ32s")
"""magic, ABI fingerprint, count, profile id."""
ENTRY: Final = struct.Struct("<32s32sq")
"""code SHA-256, rules digest, offset of the entry relative to the table."""
MAX_ENTRIES: Final = 4096
"""A pack's manifest lists at most that many members."""

EntryKey = tuple[bytes, bytes]
"""(SHA-256 of the code, rules digest), 32 bytes each."""


def table_size_bytes(count: int) -> int:
    """Bytes of a table of `count` entries."""
    return HEADER.size + count * ENTRY.size


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One compiled code: what it is, and the name of its entry symbol in the objects."""

    code_sha256: bytes
    """SHA-256 of the bytecode, 32 bytes."""
    rules: bytes
    """Digest of the fork rules that the code was compiled for, 32 bytes."""
    symbol: str

    @property
    def key(self) -> EntryKey:
        """What the table is sorted and searched by."""
        return (self.code_sha256, self.rules)


@dataclass(frozen=True, slots=True)
class LibraryTable:
    """The table before it is compiled: entries by symbol instead of by address."""

    abi_fingerprint: bytes
    profile_id: bytes
    entries: tuple[TableEntry, ...]

    def __post_init__(self) -> None:
        digests = [self.abi_fingerprint, self.profile_id]
        for entry in self.entries:
            digests += entry.key
        if any(len(digest) != DIGEST_BYTES for digest in digests):
            raise CompilerBug("every digest of a library table has 32 bytes")
        if len(self.entries) > MAX_ENTRIES:
            raise CompilerBug(f"{len(self.entries)} entries in one library, at most {MAX_ENTRIES}")
        if len({entry.key for entry in self.entries}) != len(self.entries):
            raise CompilerBug("a library table has two entries for one code and rules digest")

    @property
    def sorted_entries(self) -> tuple[TableEntry, ...]:
        """Entries in the order in which the table holds them."""
        return tuple(sorted(self.entries, key=lambda entry: entry.key))


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """A table as read from a library: checked, and searchable without unpacking it."""

    abi_fingerprint: bytes
    profile_id: bytes
    count: int
    body: bytes
    """The `count` entries as they lie in the library."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes, int]]:
        """(code SHA-256, rules digest, offset in bytes relative to the table's address), ascending."""
        return ENTRY.iter_unpack(self.body)

    def find(self, code_sha256: bytes, rules: bytes) -> int | None:
        """Offset of an entry relative to the table's address, None where the library has no such entry."""
        # Both digests have one fixed length, so the order of the pairs is the order of the joined bytes.
        wanted = code_sha256 + rules
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            start = middle * ENTRY.size
            found = self.body[start : start + 2 * DIGEST_BYTES]
            if found == wanted:
                offset: int = ENTRY.unpack_from(self.body, start)[2]
                return offset
            if found < wanted:
                low = middle + 1
            else:
                high = middle
        return None


def _mismatch(message: str, **context: object) -> LoadError:
    return LoadError(
        "table_mismatch",
        message,
        context=context,
        cause="the library was damaged, or built by something else than this version of evmaot",
        hint="evmaot verify --level elf",
    )


def parse_count(header: bytes | memoryview) -> int:
    """Number of entries, from the table's first 80 bytes (more are allowed).

    Raises LoadError ``table_mismatch``: too short, other magic or layout version, or too many entries.
    """
    if len(header) < HEADER.size:
        raise _mismatch("the library's table is truncated", found_bytes=len(header), expected_bytes=HEADER.size)
    magic, _, count, _ = HEADER.unpack_from(header)
    if magic != MAGIC:
        raise _mismatch("the library's table has another magic number", found=magic.hex(), expected=MAGIC.hex())
    if count > MAX_ENTRIES:
        raise _mismatch("the library's table has too many entries", found=count, expected_at_most=MAX_ENTRIES)
    return int(count)


def parse_table(data: bytes | memoryview) -> ParsedTable:
    """Read a table from bytes that begin with it; what follows its last entry is ignored.

    Offsets are not judged here: only who knows the library's address range can.
    Raises LoadError ``table_mismatch``: truncated, other magic or version, too many entries, not ascending.
    """
    count = parse_count(data)
    _, fingerprint, _, profile = HEADER.unpack_from(data)
    end = table_size_bytes(count)
    if len(data) < end:
        raise _mismatch("the library's table is truncated", found_bytes=len(data), expected_bytes=end)
    body = bytes(data[HEADER.size : end])
    previous: EntryKey | None = None
    for code_sha256, rules, _ in ENTRY.iter_unpack(body):
        if previous is not None and previous >= (code_sha256, rules):
            raise _mismatch("the library's table is not sorted", code_sha256=code_sha256.hex())
        previous = (code_sha256, rules)
    return ParsedTable(fingerprint, profile, count, body)
