"""The log buffer: what compiled code has logged without leaving native code.

Job: own the LogBuffer record of `abi.layout`, and read its entries back.  Invariants: what is in the
buffer was logged by the frame that has just suspended or ended; the driver takes it before any other
frame runs, or discards it where the frame has failed; entries outlive the buffer as immutable bytes.
May import: `evmaot.abi`, runtime.memory.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence

from evmaot.abi.layout import LOG_BUFFER, LOG_ENTRY, WORD_BYTES
from evmaot.runtime.memory import map_anonymous

CAPACITY_BYTES = 256 << 10
"""Some 1,400 token transfers; a log that does not fit calls the host, which takes what is there first."""

_ENTRY = struct.Struct("<32sQQ")
if [row.name for row in LOG_ENTRY.fields] != ["recipient", "topic_count", "data_size"]:
    raise AssertionError("the log entry's rows are not in the order that the runtime reads them in")
SIZE = LOG_BUFFER.offset("size") // 8
"""Index in `cells` of the bytes in use."""


class LogBuffer:
    """One buffer; belongs to one frame pool.  `address` is valid as long as this object lives."""

    __slots__ = ("_buffer", "_record", "address", "cells")

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._buffer = map_anonymous(max(1, capacity_bytes))
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        # SAFETY: native code writes through the address; the mapping lives as long as this object.
        self._record = bytearray(struct.pack("<3Q", base, 0, capacity_bytes))
        assert len(self._record) == LOG_BUFFER.size_bytes
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._record))
        self.cells = memoryview(self._record).cast("Q")

    def take(self) -> bytes:
        """The entries since the last call, empty if there are none."""
        size_bytes = self.cells[SIZE]
        if not size_bytes:
            return b""
        self.cells[SIZE] = 0
        return self._buffer[:size_bytes]

    def discard(self) -> None:
        """Forget the entries."""
        self.cells[SIZE] = 0


def encode_log(recipient: int, topics: Sequence[bytes], data: bytes) -> bytes:
    """One entry as compiled code writes it; topics in native (little-endian) byte order."""
    head = _ENTRY.pack(recipient.to_bytes(WORD_BYTES, "little"), len(topics), len(data))
    return b"".join((head, *topics, data, bytes(-len(data) % 8)))


def decode_logs(entries: bytes) -> Iterator[tuple[int, tuple[int, ...], bytes]]:
    """The (address, topics, data) of taken entries, oldest first."""
    offset, end, from_bytes = 0, len(entries), int.from_bytes
    while offset < end:
        recipient, topic_count, size_bytes = _ENTRY.unpack_from(entries, offset)
        offset += _ENTRY.size
        data_at = offset + WORD_BYTES * topic_count
        topics = tuple([from_bytes(entries[at : at + 32], "little") for at in range(offset, data_at, WORD_BYTES)])
        offset = data_at + -(-size_bytes // 8) * 8
        yield from_bytes(recipient, "little"), topics, entries[data_at : data_at + size_bytes]
