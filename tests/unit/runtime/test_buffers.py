from __future__ import annotations

import ctypes
import sys

import pytest

from evmaot.abi.layout import FieldType
from evmaot.runtime import buffers

SAMPLES = [b"", b"\x01", bytes(range(256)), b"x" * 100_000]


@pytest.mark.parametrize("data", SAMPLES, ids=len)
def test_the_address_is_that_of_the_bytes(data: bytes) -> None:
    assert ctypes.string_at(buffers.address_of_bytes(data), len(data)) == data


def test_another_interpreter_takes_addresses_through_ctypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "other")
    assert buffers._find_header_bytes() == 0
    for data in SAMPLES:
        assert ctypes.string_at(buffers._address_by_cast(data), len(data)) == data


def test_every_field_type_has_a_format() -> None:
    import struct

    assert {kind: struct.calcsize("<" + buffers.FORMATS[kind]) for kind in FieldType} == {
        kind: kind.size_bytes for kind in FieldType
    }
