"""The native ABI: offsets, fingerprint and C header all follow from the rows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import pytest

from evmaot.abi import layout, library
from evmaot.abi.header import c_header
from evmaot.abi.layout import FRAME, HOST_TABLE, RECORDS, Field, FieldType, Record
from evmaot.abi.status import STORAGE_COLD, AccountFlag, CallKind, Status, StorageStatus

COMPILER = shutil.which("cc")
ROWS = [(record, field) for record in RECORDS for field in record.fields]


def with_record(changed: Record) -> tuple[Record, ...]:
    """All records, the one of that name replaced."""
    return tuple(changed if record.name == changed.name else record for record in RECORDS)


def test_the_abi_is_golden(golden: Callable[[str, str], None]) -> None:
    """A changed line means that artifacts built before are refused: it must be meant."""
    golden("abi/layout.txt", layout.describe())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_offsets_agree_with_ctypes(record: Record) -> None:
    structure = record.structure
    assert ctypes.sizeof(structure) == record.size_bytes
    for field in record.fields:
        descriptor = getattr(structure, field.name)
        assert (descriptor.offset, descriptor.size) == (record.offset(field.name), field.type.size_bytes), field.name


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_field_is_eight_byte_aligned(record: Record) -> None:
    assert all(record.offset(field.name) % 8 == 0 for field in record.fields)


@pytest.mark.parametrize(("record", "field"), ROWS, ids=lambda item: item.name)
def test_every_field_is_documented(record: Record, field: Field) -> None:
    assert field.doc.strip(), f"{record.name}.{field.name}"


def test_names_are_unique_in_a_record() -> None:
    for record in RECORDS:
        assert len({field.name for field in record.fields}) == len(record.fields)


def test_an_unknown_field_has_no_offset() -> None:
    with pytest.raises(KeyError):
        FRAME.offset("no_such_field")


def test_only_host_functions_have_arguments() -> None:
    for record, field in ROWS:
        assert (field.type is FieldType.FUNCTION) == (record is HOST_TABLE)
        assert not field.arguments or field.type is FieldType.FUNCTION, field.name


def test_words_of_a_ctypes_frame_are_native_byte_order() -> None:
    frame = FRAME.structure()
    frame.value[:] = [0x0102030405060708, 0, 0, 0]
    raw = bytes(frame)
    offset = FRAME.offset("value")
    assert int.from_bytes(raw[offset : offset + 32], "little") == 0x0102030405060708


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: (*rows, Field("one_more", FieldType.U64, "A new row.")),
        lambda rows: (rows[1], rows[0], *rows[2:]),
        lambda rows: (Field("renamed", rows[0].type, rows[0].doc), *rows[1:]),
        lambda rows: (Field(rows[0].name, FieldType.U64, rows[0].doc), *rows[1:]),
    ],
    ids=["removed", "added", "reordered", "renamed", "retyped"],
)
def test_a_changed_row_changes_the_fingerprint(
    change: Callable[[tuple[Field, ...]], tuple[Field, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = layout.describe()
    changed = Record("Frame", change(FRAME.fields))
    monkeypatch.setattr(layout, "RECORDS", with_record(changed))
    assert layout.describe() != before


def test_a_changed_argument_list_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = layout.describe()
    first, *rest = HOST_TABLE.fields
    changed = Record("HostTable", (Field(first.name, first.type, first.doc, (*first.arguments, "more")), *rest))
    monkeypatch.setattr(layout, "RECORDS", with_record(changed))
    assert layout.describe() != before


def test_a_renumbered_status_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = layout.describe()
    numbers = {member.name: member.value for member in Status} | {"OUT_OF_GAS": 99}
    monkeypatch.setattr(layout, "Status", IntEnum("Status", numbers))
    assert layout.describe() != before


def test_the_wording_of_a_row_does_not_change_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation must not invalidate artifacts."""
    before = layout.describe()
    first, *rest = FRAME.fields
    reworded = Record("Frame", (Field(first.name, first.type, "In other words."), *rest))
    monkeypatch.setattr(layout, "RECORDS", with_record(reworded))
    assert layout.describe() == before


def test_the_fingerprint_is_64_hex_digits() -> None:
    assert len(layout.FINGERPRINT) == 64
    int(layout.FINGERPRINT, 16)


def c_assertions() -> list[str]:
    """What a C compiler must agree with, one static assertion each."""
    lines = []
    for record in RECORDS:
        tag = "struct evmaot_" + "".join(
            "_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(record.name)
        )
        lines.append(f'_Static_assert(sizeof({tag}) == {record.size_bytes}, "{record.name}");')
        for field in record.fields:
            lines.append(
                f'_Static_assert(offsetof({tag}, {field.name}) == {record.offset(field.name)}, "{field.name}");'
            )
    lines += [f'_Static_assert(EVMAOT_STATUS_{member.name} == {member.value}, "status");' for member in Status]
    lines += [f'_Static_assert(EVMAOT_CALL_KIND_{member.name} == {member.value}, "kind");' for member in CallKind]
    lines += [f'_Static_assert(EVMAOT_ACCOUNT_{member.name} == {member.value}, "account");' for member in AccountFlag]
    lines += [f'_Static_assert(EVMAOT_STORAGE_{member.name} == {member.value}, "storage");' for member in StorageStatus]
    lines += [
        f'_Static_assert(sizeof(struct evmaot_library_table) == {library.HEADER.size}, "table");',
        f'_Static_assert(sizeof(struct evmaot_table_entry) == {library.ENTRY.size}, "entry");',
    ]
    return lines


@pytest.mark.skipif(COMPILER is None, reason="no C compiler here; the product needs none")
def test_the_c_header_compiles_and_agrees_with_every_offset(tmp_path: Path) -> None:
    (tmp_path / "evmaot.h").write_text(c_header(), encoding="utf-8")
    source = tmp_path / "check.c"
    source.write_text("\n".join(["#include <stddef.h>", '#include "evmaot.h"', *c_assertions()]), encoding="utf-8")
    done = subprocess.run(
        [str(COMPILER), "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_c_header_carries_the_fingerprint() -> None:
    assert f'"{layout.FINGERPRINT}"' in c_header()


def test_the_cold_bit_is_apart_from_every_storage_status() -> None:
    assert all(status & STORAGE_COLD == 0 for status in StorageStatus)


def test_account_flags_are_single_bits() -> None:
    assert all(flag & (flag - 1) == 0 for flag in AccountFlag)
    assert sum(AccountFlag) == (1 << len(AccountFlag)) - 1
