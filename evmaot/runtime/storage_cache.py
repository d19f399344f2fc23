"""The storage cache: warm slots that compiled code reads and writes without leaving native code.

Job: own the StorageCache record of `abi.layout`, its entries and its list of dirty ones.  Compiled
code fills an entry when the host has answered an SLOAD or taken an SSTORE; an entry is good as long
as the epoch is the same.  Invariants: whoever changes storage or warm slots behind the back of
compiled code (a revert, a new transaction) voids the cache before native code runs again; whoever
reads storage after compiled code ran takes the dirty slots first, and all of them belong to the
frame that has just suspended or ended.  May import: `evmaot.abi`, `runtime.memory`.
"""

from __future__ import annotations

import ctypes
import struct

from evmaot.abi.layout import STORAGE_CACHE, STORAGE_CACHE_ENTRY
from evmaot.runtime.memory import map_anonymous

ENTRY_COUNT = 8192
"""1.3 MB of addresses, committed as slots are used."""
DIRTY_CAPACITY = 4096
"""More changed slots in one stretch of native code go to the host one by one."""

_KEY, _VALUE, _STATE = (STORAGE_CACHE_ENTRY.offset(name) for name in ("key", "value", "state"))
_KNOWN = 1


class StorageCache:
    """One cache; belongs to one frame pool.  `address` is valid as long as this object lives."""

    __slots__ = ("_cells", "_dirty", "_entries", "_entries_address", "_record", "address")

    def __init__(self, entry_count: int = ENTRY_COUNT, dirty_capacity: int = DIRTY_CAPACITY) -> None:
        if entry_count < 1 or entry_count & (entry_count - 1):
            raise ValueError("the number of entries is a power of two")
        self._entries = map_anonymous(entry_count * STORAGE_CACHE_ENTRY.size_bytes)
        self._entries_address = ctypes.addressof(ctypes.c_char.from_buffer(self._entries))
        self._dirty = (ctypes.c_uint64 * max(1, dirty_capacity))()
        # Entries start with epoch 0, so the first epoch is 1.
        values = (1, entry_count - 1, self._entries_address, ctypes.addressof(self._dirty), 0, dirty_capacity)
        # SAFETY: native code writes through all three addresses; the buffers live as long as this object.
        self._record = bytearray(struct.pack("<6Q", *values))
        assert len(self._record) == STORAGE_CACHE.size_bytes
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._record))
        self._cells = memoryview(self._record).cast("Q")

    def void(self) -> None:
        """Forget every slot, changed ones too."""
        self._cells[_EPOCH] += 1
        self._cells[_DIRTY_COUNT] = 0

    def take_dirty(self) -> list[tuple[int, int]]:
        """The (key, value) of slots that compiled code has changed since the last call."""
        count = self._cells[_DIRTY_COUNT]
        if not count:
            return []
        self._cells[_DIRTY_COUNT] = 0
        entries, base, from_bytes = self._entries, self._entries_address, int.from_bytes
        taken = []
        for index in range(count):
            place = self._dirty[index] - base
            taken.append(
                (
                    from_bytes(entries[place + _KEY : place + _KEY + 32], "little"),
                    from_bytes(entries[place + _VALUE : place + _VALUE + 32], "little"),
                )
            )
            entries[place + _STATE] = _KNOWN
        return taken


_EPOCH = STORAGE_CACHE.offset("epoch") // 8
_DIRTY_COUNT = STORAGE_CACHE.offset("dirty_count") // 8
