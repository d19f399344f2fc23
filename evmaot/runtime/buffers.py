"""How Python values become what native code reads: formats of fields, addresses of buffers.

Job: what all records of the runtime share.  Invariant: an address is taken of exact `bytes` objects
alone, which never move or change.  May import: `evmaot.abi.layout`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

from evmaot.abi.layout import FieldType

FORMATS = {
    FieldType.I64: "q",
    FieldType.U64: "Q",
    FieldType.POINTER: "Q",
    FieldType.FUNCTION: "Q",
    FieldType.WORD: "32s",
}
"""`struct` format of each field type; words are ``int.to_bytes(32, "little")``."""


def _address_by_cast(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _find_header_bytes() -> int:
    """Where CPython keeps the buffer inside of a `bytes` object, if it is seen to be so; else 0."""
    # SAFETY: callers hold the object as long as native code may follow the address.
    header_bytes = bytes.__basicsize__ - 1
    samples = (b"", b"x", bytes(100), bytes(range(256)) * 33)
    if sys.implementation.name == "cpython" and all(
        _address_by_cast(sample) == id(sample) + header_bytes for sample in samples
    ):
        return header_bytes
    return 0


HEADER_BYTES = _find_header_bytes()
"""`id` of an exact `bytes` object and this is the address of its buffer; 0: only `address_of_bytes` knows."""


def _address_by_identity(data: bytes) -> int:
    return id(data) + HEADER_BYTES


address_of_bytes: Callable[[bytes], int] = _address_by_identity if HEADER_BYTES else _address_by_cast
"""Address of the buffer of an exact `bytes` object; valid while that object lives: 40 ns, 520 through ctypes."""
