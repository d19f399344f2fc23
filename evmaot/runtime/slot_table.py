"""The slot table: all storage slots that a transaction has touched, shared with compiled code.

Job: own the SlotTable record of `abi.layout`, its buckets, slots and undo records.  Compiled code finds,
adds, reads and writes slots and logs what undoes it; the host tells a slot's first value, reverts, and
reads the outcome.  Invariants: a slot is never removed within a transaction and never told twice; a
revert restores value and warmth of each slot and keeps what was read; within a generation (one frame
between two checkpoints) a slot is saved once, so undo records are bounded by slots times frames; the
hash is seeded from the system, because who writes contracts chooses keys.  May import: `evmaot.abi`,
`evmaot.errors`, `evmaot.evm`, runtime.memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from evmaot.abi.layout import SLOT, SLOT_TABLE, SLOT_UNDO, WORD_BYTES
from evmaot.errors import CompilerBug, HostError
from evmaot.runtime.memory import map_anonymous

INITIAL_SLOTS = 8192
"""1.6 MB of addresses, committed as slots are used.  A table that has grown gives its memory back."""
MAXIMUM_SLOTS = 1 << 23
"""Slots or undo records of one transaction: 1.2 GB.  Its gas, 20 million times a cold SLOAD, is on no chain."""

WARM = 1
WARM_FROM_START = 3

_SLOT = struct.Struct("<32s32s32s32sQQ")
_UNDO = struct.Struct("<Q32sQQ")
_RECORD = struct.Struct("<3Q32s9Q")
if (
    [row.name for row in SLOT.fields] != "recipient key value original flags saved_at".split()
    or [row.name for row in SLOT_UNDO.fields] != "slot value flags saved_at".split()
    or (_SLOT.size, _UNDO.size, _RECORD.size) != (SLOT.size_bytes, SLOT_UNDO.size_bytes, SLOT_TABLE.size_bytes)
):
    raise CompilerBug("the slot table's rows are not in the order that the runtime reads them in")

_EPOCH, _MASK, _BUCKETS, _SLOTS, _COUNT, _LIMIT, _UNDO_AT, _UNDO_LIMIT, _NEW_FLAGS = (
    SLOT_TABLE.offset(name) // 8 for name in "epoch mask buckets slots count limit undo undo_limit new_flags".split()
)
UNDO_COUNT = SLOT_TABLE.offset("undo_count") // 8
"""Index in `cells` of `SlotTable.mark`."""
GENERATION = SLOT_TABLE.offset("generation") // 8
"""Index in `cells`, as the next one."""
UNKNOWN_IS_ZERO = SLOT_TABLE.offset("unknown_is_zero") // 8
_VALUE = SLOT.offset("value")
_FLAGS = SLOT.offset("flags")
_EPOCH_LIMIT = 1 << 32
_LIMB = (1 << 64) - 1


class TouchedSlot(NamedTuple):
    """A slot as the transaction leaves it."""

    recipient: int
    key: int
    value: int
    original: int
    flags: int


class SlotTable:
    """One table; belongs to one frame pool.  `address` is valid as long as this object lives.

    `cells` is the record as 64-bit numbers, for who enters frames: `GENERATION`, `UNKNOWN_IS_ZERO`, `UNDO_COUNT`.
    """

    __slots__ = (
        "_buckets",
        "_initial_slots",
        "_initial_undo",
        "_maximum",
        "_record",
        "_seed",
        "_slots",
        "_undo",
        "address",
        "cells",
    )

    def __init__(
        self,
        initial_slots: int = INITIAL_SLOTS,
        initial_undo: int = INITIAL_SLOTS,
        maximum: int = MAXIMUM_SLOTS,
    ) -> None:
        self._initial_slots, self._initial_undo, self._maximum = initial_slots, initial_undo, maximum
        self._seed = struct.unpack("<4Q", os.urandom(WORD_BYTES))
        self._record = bytearray(SLOT_TABLE.size_bytes)
        # SAFETY: native code writes through this address and those in the record; all buffers live as long
        # as this object, or until `grow` or `begin` replaces them while no native code runs below.
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._record))
        self.cells = memoryview(self._record).cast("Q")
        seed_at = SLOT_TABLE.offset("seed") // 8
        for limb, part in enumerate(self._seed):
            self.cells[seed_at + limb] = part
        self._slots: mmap.mmap
        self._undo: mmap.mmap
        self._buckets: mmap.mmap
        self._reset()

    def _reset(self) -> None:
        self.cells[_EPOCH] = 1
        self.cells[_COUNT] = self.cells[UNDO_COUNT] = 0
        self._place_slots(self._initial_slots)
        self._place_undo(self._initial_undo)

    def _place_slots(self, limit: int) -> None:
        bucket_count = 1 << (2 * limit - 1).bit_length()
        self._slots = map_anonymous(limit * SLOT.size_bytes)
        self._buckets = map_anonymous(bucket_count * 8)
        cells = self.cells
        cells[_SLOTS], cells[_BUCKETS] = _address(self._slots), _address(self._buckets)
        cells[_LIMIT], cells[_MASK] = limit, bucket_count - 1

    def _place_undo(self, limit: int) -> None:
        self._undo = map_anonymous(limit * SLOT_UNDO.size_bytes)
        self.cells[_UNDO_AT], self.cells[_UNDO_LIMIT] = _address(self._undo), limit

    # --- a transaction ----------------------------------------------------------------------------

    def begin(self, *, tracks_access: bool) -> None:
        """Forget every slot: a new transaction.  `tracks_access`: slots are cold or warm (EIP-2929)."""
        cells = self.cells
        if cells[_LIMIT] > self._initial_slots or cells[_UNDO_LIMIT] > self._initial_undo:
            self._reset()
        elif cells[_COUNT]:
            epoch = cells[_EPOCH] + 1
            if epoch == _EPOCH_LIMIT:
                self._reset()
            else:
                cells[_EPOCH] = epoch
                cells[_COUNT] = 0
        cells[UNDO_COUNT] = 0
        cells[_NEW_FLAGS] = 0 if tracks_access else WARM_FROM_START

    def grow(self) -> None:
        """Make room for one more slot and one more undo record.  Raises HostError `slot_limit`."""
        cells = self.cells
        count, undo_count = cells[_COUNT], cells[UNDO_COUNT]
        if max(count, undo_count) >= self._maximum:
            raise HostError(
                "slot_limit",
                f"a transaction touched storage more than {self._maximum} times",
                context={"slots": count, "undo_records": undo_count},
                hint="lower the gas limit of the transaction",
            )
        if count >= cells[_LIMIT]:
            old = self._slots
            self._place_slots(min(2 * cells[_LIMIT], self._maximum))
            self._slots[: count * _SLOT.size] = old[: count * _SLOT.size]
            self._index(count)
        if undo_count >= cells[_UNDO_LIMIT]:
            before = self._undo
            self._place_undo(min(2 * cells[_UNDO_LIMIT], self._maximum))
            self._undo[: undo_count * _UNDO.size] = before[: undo_count * _UNDO.size]

    def _index(self, count: int) -> None:
        """Fill the empty buckets, by the hash of `codegen.builtins.state`."""
        cells = self.cells
        epoch, mask = cells[_EPOCH] << 32, cells[_MASK]
        buckets = memoryview(self._buckets).cast("Q")
        first, second, third, fourth = self._seed
        for index, row in enumerate(struct.iter_unpack("<Q24x4Q80x", self._slots[: count * _SLOT.size])):
            recipient, limb0, limb1, limb2, limb3 = row
            low, high = _mix(limb0 ^ first, limb1 ^ second), _mix(limb2 ^ third, limb3 ^ fourth)
            bucket = _mix(low ^ recipient, high ^ first) & mask
            while buckets[bucket]:
                bucket = (bucket + 1) & mask
            buckets[bucket] = epoch | index
        buckets.release()

    # --- undo -------------------------------------------------------------------------------------

    @property
    def mark(self) -> int:
        """A point to come back to."""
        return self.cells[UNDO_COUNT]

    def revert(self, mark: int) -> None:
        """Undo everything since the mark, newest first."""
        count = self.cells[UNDO_COUNT]
        if count <= mark:
            return
        slots, undo = self._slots, self._undo
        for at in range((count - 1) * _UNDO.size, mark * _UNDO.size - 1, -_UNDO.size):
            place, value, flags, saved_at = _UNDO.unpack_from(undo, at)
            slots[place + _VALUE : place + _VALUE + WORD_BYTES] = value
            _pack_state(slots, place + _FLAGS, flags, saved_at)
        self.cells[UNDO_COUNT] = mark

    # --- the outcome ------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Slots that were touched."""
        return self.cells[_COUNT]

    @property
    def capacity(self) -> int:
        """Slots there is room for."""
        return self.cells[_LIMIT]

    def image(self) -> bytes:
        """The slots as they are now, for `touched_slots`; nothing that happens later changes it."""
        count = self.cells[_COUNT]
        return self._slots[: count * _SLOT.size] if count else b""


def touched_slots(image: bytes) -> Iterator[TouchedSlot]:
    """The slots of an image, in the order of their first use."""
    from_bytes = int.from_bytes
    for recipient, key, value, original, flags, _ in _SLOT.iter_unpack(image):
        yield TouchedSlot(
            from_bytes(recipient, "little"),
            from_bytes(key, "little"),
            from_bytes(value, "little"),
            from_bytes(original, "little"),
            flags,
        )


def changed_slots(image: bytes) -> Iterator[tuple[int, int, int]]:
    """(recipient, key, value) of the slots whose value is not the original one."""
    from_bytes = int.from_bytes
    for recipient, key, value, original, _, _ in _SLOT.iter_unpack(image):
        if value != original:
            yield from_bytes(recipient, "little"), from_bytes(key, "little"), from_bytes(value, "little")


def warmed_slots(image: bytes) -> Iterator[tuple[int, int]]:
    """(recipient, key) of the slots that became warm."""
    from_bytes = int.from_bytes
    for recipient, key, _, _, flags, _ in _SLOT.iter_unpack(image):
        if flags == WARM:
            yield from_bytes(recipient, "little"), from_bytes(key, "little")


_pack_state = struct.Struct("<QQ").pack_into


def _mix(a: int, b: int) -> int:
    product = a * b
    return (product & _LIMB) ^ (product >> 64)


def _address(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
