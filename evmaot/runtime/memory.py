"""The reserved, zero-filled address range that EVM memory lives in.

Job: reserve once, hand out by bump allocation (a child's memory begins where its parent's ends), and
restore the zeroes of what a frame used.  Invariants: every byte that no live frame owns is 0; the
range never moves; nothing is committed before it is touched.  Measured: a growth is then a compare
and a store in compiled code, and no growth ever calls the host below the reserve.
May import: `evmaot.errors`.
"""

from __future__ import annotations

import ctypes
import mmap
import resource

from evmaot.errors import EvmaotError

RESERVE_BYTES = 64 << 30
"""Virtual bytes that are tried first; gas for so much memory (2^51 and more) does not exist on any chain."""
SMALLEST_RESERVE_BYTES = 64 << 20
"""Below this a frame could run out of paid-for memory under an ordinary block gas limit."""
DISCARD_ABOVE_BYTES = 256 << 10
"""Up to here zeroes are written (the pages stay warm); beyond it the pages are given back to the kernel."""
KEEP_BYTES = 4 << 20
"""Resident bytes that an idle range may keep; what lies above is given back when the last frame ends."""

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Python names it from 3.13 only; the value is that of Linux on x86-64 and aarch64."""
_PAGE_BYTES = mmap.PAGESIZE
_ZEROES = bytes(4096)


class MemoryRange:
    """One reserved range of anonymous memory, `size_bytes` long, from `address`.

    Not thread-safe: a range belongs to one `FramePool`, which belongs to one thread.
    Raises EvmaotError `memory_reserve` when not even `SMALLEST_RESERVE_BYTES` can be mapped.
    """

    __slots__ = ("_high_water", "_map", "address", "size_bytes")

    def __init__(self, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._map, self.size_bytes = _reserve(reserve_bytes)
        # SAFETY: the address is valid as long as this object lives, it owns the mapping; callers keep the range.
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._high_water = 0

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes at an offset of the range; the caller has checked the bounds (a slice would be cut silently)."""
        return self._map[offset : offset + size_bytes]

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes at an offset of the range; the caller has checked the bounds."""
        self._map[offset : offset + len(data)] = data

    def clear(self, offset: int, size_bytes: int) -> None:
        """Restore the zeroes of what a frame used."""
        end = offset + size_bytes
        if end > self._high_water:
            self._high_water = end
        if size_bytes <= len(_ZEROES):
            self._map[offset:end] = _ZEROES[:size_bytes]
        elif size_bytes <= DISCARD_ABOVE_BYTES:
            self._map[offset:end] = bytes(size_bytes)
        else:
            self._discard(offset, end)

    def trim(self) -> None:
        """Give back the pages above `KEEP_BYTES`; only while no frame lives.

        Small frames clear by writing, so their pages stay resident; without this, frames whose parents
        used ever different sizes would leave resident pages all over the range.
        """
        if self._high_water > KEEP_BYTES:
            self._discard(KEEP_BYTES, self._high_water)
            self._high_water = KEEP_BYTES

    def _discard(self, offset: int, end: int) -> None:
        first = -(-offset // _PAGE_BYTES) * _PAGE_BYTES
        last = end // _PAGE_BYTES * _PAGE_BYTES
        if first >= last:
            self._fill(offset, end)
            return
        # The edges share their pages with neighbours: a parent's memory ends in the first one.
        self._fill(offset, first)
        self._fill(last, end)
        try:
            # Private anonymous pages read as zeroes after MADV_DONTNEED (madvise(2)).
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
        except OSError:  # locked pages (mlockall) refuse it
            self._fill(first, last)

    def _fill(self, offset: int, end: int) -> None:
        for start in range(offset, end, DISCARD_ABOVE_BYTES):
            stop = min(end, start + DISCARD_ABOVE_BYTES)
            self._map[start:stop] = bytes(stop - start)


def map_anonymous(size_bytes: int) -> mmap.mmap:
    """Private zero-filled memory that is committed as it is touched.  Raises EvmaotError `memory_reserve`."""
    try:
        return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    except (OSError, OverflowError) as error:
        raise EvmaotError(
            "memory_reserve",
            f"cannot reserve {size_bytes} bytes of address space",
            context={"size_bytes": size_bytes},
            cause=str(error),
            hint="raise the address-space limit of the process: ulimit -v",
        ) from error


def _reserve(reserve_bytes: int) -> tuple[mmap.mmap, int]:
    limit_bytes = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit_bytes != resource.RLIM_INFINITY:
        # Addresses taken here are missing everywhere else in the process.
        reserve_bytes = min(reserve_bytes, limit_bytes // 4)
    size_bytes = max(reserve_bytes, SMALLEST_RESERVE_BYTES) // _PAGE_BYTES * _PAGE_BYTES
    while True:
        try:
            return map_anonymous(size_bytes), size_bytes
        except EvmaotError:
            # Strict overcommit (vm.overcommit_memory=2), or an address space that is full.
            if size_bytes // 2 < SMALLEST_RESERVE_BYTES:
                raise
            size_bytes //= 2
