"""The storage cache: warm slots that compiled code reads without leaving native code.

Job: own the StorageCache record of `abi.layout` and its entries, and void them.  Compiled code fills
an entry when the host has answered an SLOAD or taken an SSTORE; an entry is good as long as the
epoch is the same.  Invariant: whoever changes storage or warm slots behind the back of compiled
code (a revert, a new transaction) voids the cache before native code runs again.
May import: `evmaot.abi`, `runtime.memory`.
"""

from __future__ import annotations

import ctypes
import struct

from evmaot.abi.layout import STORAGE_CACHE, STORAGE_CACHE_ENTRY
from evmaot.runtime.memory import map_anonymous

ENTRY_COUNT = 8192
"""Direct-mapped: 1 MB of addresses, committed as slots are used."""


class StorageCache:
    """One cache; belongs to one frame pool.  `address` is valid as long as this object lives."""

    __slots__ = ("_entries", "_epoch", "_record", "address")

    def __init__(self, entry_count: int = ENTRY_COUNT) -> None:
        if entry_count < 1 or entry_count & (entry_count - 1):
            raise ValueError("the number of entries is a power of two")
        self._entries = map_anonymous(entry_count * STORAGE_CACHE_ENTRY.size_bytes)
        entries_address = ctypes.addressof(ctypes.c_char.from_buffer(self._entries))
        # Entries start with epoch 0, so the first epoch is 1.
        # SAFETY: native code writes through both addresses; both buffers live as long as this object.
        self._record = ctypes.create_string_buffer(struct.pack("<QQQ", 1, entry_count - 1, entries_address))
        assert len(self._record.raw) >= STORAGE_CACHE.size_bytes
        self.address = ctypes.addressof(self._record)
        self._epoch = ctypes.c_uint64.from_buffer(self._record, STORAGE_CACHE.offset("epoch"))

    def void(self) -> None:
        """Forget every slot."""
        self._epoch.value += 1
