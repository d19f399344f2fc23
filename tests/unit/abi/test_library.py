"""The table of a library: what is written is read, and nothing else is believed."""

from __future__ import annotations

import pytest

from evmaot.abi.library import (
    ENTRY,
    HEADER,
    MAGIC,
    MAX_ENTRIES,
    LibraryTable,
    TableEntry,
    parse_count,
    parse_table,
    table_size_bytes,
)
from evmaot.errors import CompilerBug, LoadError


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def packed(keys: list[tuple[int, int, int]], magic: bytes = MAGIC, count: int | None = None) -> bytes:
    header = HEADER.pack(magic, digest(7), len(keys) if count is None else count, digest(8))
    return header + b"".join(ENTRY.pack(digest(code), digest(rules), offset) for code, rules, offset in keys)


KEYS = [(1, 1, 400), (1, 2, -400), (2, 1, 2**40), (9, 0, -(2**40)), (9, 9, 0)]


def test_header_and_entry_have_the_documented_sizes() -> None:
    assert (HEADER.size, ENTRY.size, table_size_bytes(2)) == (80, 72, 224)


def test_a_table_is_read_as_written() -> None:
    table = parse_table(packed(KEYS))
    assert (table.abi_fingerprint, table.profile_id, table.count) == (digest(7), digest(8), 5)
    assert list(table) == [(digest(code), digest(rules), offset) for code, rules, offset in KEYS]


def test_a_table_may_be_followed_by_other_bytes_and_be_any_buffer() -> None:
    data = packed(KEYS)
    assert parse_table(memoryview(data + b"more")) == parse_table(data)
    assert parse_count(data[: HEADER.size]) == 5


def test_find_answers_for_every_key_and_no_other() -> None:
    table = parse_table(packed(KEYS))
    offsets = {(code, rules): offset for code, rules, offset in KEYS}
    for code in range(11):
        for rules in range(11):
            assert table.find(digest(code), digest(rules)) == offsets.get((code, rules))


def test_an_empty_table_finds_nothing() -> None:
    assert parse_table(packed([])).find(digest(0), digest(0)) is None


def test_a_table_truncated_at_any_byte_is_refused() -> None:
    data = packed(KEYS)
    for size in range(len(data)):
        with pytest.raises(LoadError) as caught:
            parse_table(data[:size])
        assert caught.value.reference == "table_mismatch"


@pytest.mark.parametrize(
    "data",
    [
        packed(KEYS, magic=b"EVMAOT\x00\x02"),
        packed(KEYS, magic=b"evmaot\x00\x01"),
        packed(KEYS, count=MAX_ENTRIES + 1),
        packed(KEYS, count=2**63),
        packed([KEYS[1], KEYS[0]]),
        packed([KEYS[0], KEYS[0]]),
    ],
    ids=["newer layout", "other magic", "too many", "far too many", "unsorted", "duplicate"],
)
def test_a_malformed_table_is_refused(data: bytes) -> None:
    with pytest.raises(LoadError) as caught:
        parse_table(data + bytes(1000))
    assert caught.value.reference == "table_mismatch"


def test_entries_are_sorted_by_code_then_rules() -> None:
    entries = tuple(TableEntry(digest(code), digest(rules), "f") for code, rules in ((2, 1), (1, 2), (1, 1)))
    table = LibraryTable(digest(0), digest(0), entries)
    assert [entry.key for entry in table.sorted_entries] == sorted(entry.key for entry in entries)


@pytest.mark.parametrize(
    ("fingerprint", "entries"),
    [
        (b"short", ()),
        (digest(0), (TableEntry(b"short", digest(0), "f"),)),
        (digest(0), (TableEntry(digest(0), digest(0), "f"), TableEntry(digest(0), digest(0), "g"))),
        (digest(0), tuple(TableEntry(digest(number), digest(0), "f") for number in range(MAX_ENTRIES + 1))),
    ],
    ids=["fingerprint", "digest", "duplicate", "too many"],
)
def test_a_table_that_could_not_be_read_back_is_a_bug(fingerprint: bytes, entries: tuple[TableEntry, ...]) -> None:
    with pytest.raises(CompilerBug):
        LibraryTable(fingerprint, digest(0), entries)
