"""Copies at every boundary, with guards around what may be read and written; memory growth and its gas."""

from __future__ import annotations

import bisect
import ctypes
import random

import pytest

from evmaot.abi.layout import FRAME, HOST_TABLE
from evmaot.abi.status import Status
from evmaot.codegen.options import Tier
from tests.support.builtins_jit import TIERS, from_native, guarded_page, load_builtins, to_native
from tests.support.scale import scaled

SIZES = (*range(140), 159, 160, 161, 191, 192, 193, 255, 256, 257, 320, 500, 1000, 1024, 2049, 4096)
MAX_U64 = (1 << 64) - 1
MAX_GAS = (1 << 63) - 1
GUARD = b"\xa5" * 64

# --- move -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("side", ["start", "end"])
def test_move_touches_exactly_the_two_ranges(side: str, tier: Tier) -> None:
    """Each range has faulting memory on one side and guard bytes on the other."""
    move, random_ = load_builtins(tier).functions["move"], random.Random(1)
    source, target = guarded_page("source"), guarded_page("destination")
    for size in SIZES:
        data = random_.randbytes(size)
        at_start = side == "start"
        from_, to = (page.start if at_start else page.end - size for page in (source, target))
        source.fill(from_, data)
        guard = to + size if at_start else to - len(GUARD)
        target.fill(guard, GUARD)
        move(to, from_, size)
        assert (target.read(to, size), target.read(guard, len(GUARD))) == (data, GUARD), size
        assert source.read(from_, size) == data


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "distance", [-300, -128, -65, -64, -63, -33, -16, -8, -1, 0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 300]
)
def test_move_of_overlapping_ranges_in_both_directions(distance: int, tier: Tier) -> None:
    move, random_ = load_builtins(tier).functions["move"], random.Random(distance)
    for size in SIZES[:-1]:
        area = bytearray(random_.randbytes(size + 1000))
        buffer = ctypes.create_string_buffer(bytes(area), len(area))
        base = ctypes.addressof(buffer) + 400
        move(base + distance, base, size)
        area[400 + distance : 400 + distance + size] = area[400 : 400 + size]
        assert buffer.raw == bytes(area), (size, distance)


def test_move_of_a_large_range() -> None:
    data = random.Random(4).randbytes(1 << 20)
    buffer = ctypes.create_string_buffer(data, len(data))
    address = ctypes.addressof(buffer)
    load_builtins(Tier.OPTIMISED).functions["move"](address + 12345, address, len(data) - 12345)
    assert buffer.raw == data[:12345] + data[:-12345]


# --- copy_padded and load_padded ------------------------------------------------------------------


def padded(source: bytes, offset: int, size: int) -> bytes:
    """The Yellow Paper's reading of data: 0 behind the end."""
    return source[offset : offset + size].ljust(size, b"\0")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("source_size", [0, 1, 31, 32, 33, 64, 100, 300])
def test_copy_padded_at_every_boundary(source_size: int, tier: Tier) -> None:
    copy, random_ = load_builtins(tier).functions["copy_padded"], random.Random(source_size)
    source, target = guarded_page("source"), guarded_page("destination")
    data = random_.randbytes(source_size)
    from_ = source.end - source_size
    source.fill(from_, data)
    edges = {0, 1, 5, 31, 32, 33, 64, 65}
    offsets = {
        *edges,
        *(max(0, source_size - edge) for edge in edges),
        *(source_size + edge for edge in edges),
        *(1 << 32, 1 << 63, MAX_U64 - 1, MAX_U64, MAX_U64 + 1 - source.end & MAX_U64),
    }
    for offset in sorted(offsets):
        for size in (0, 1, 7, 8, 16, 31, 32, 33, 63, 64, 65, 100, 129, 200, 500):
            to = target.end - size
            target.fill(to - 64, GUARD + b"\xee" * size)
            copy(to, from_, source_size, offset, size)
            assert target.read(to - 64, 64 + size) == GUARD + padded(data, offset, size), (offset, size)


@pytest.mark.parametrize("tier", TIERS)
def test_copy_padded_of_random_ranges(tier: Tier) -> None:
    copy, random_ = load_builtins(tier).functions["copy_padded"], random.Random(9)
    source, target = guarded_page("source"), guarded_page("destination")
    for _ in range(scaled(1500)):
        source_size, offset, size = (random_.randrange(random_.choice((40, 300, 3000))) for _ in range(3))
        data = random_.randbytes(source_size)
        source.fill(source.start, data)
        target.fill(target.start, b"\xee" * size + GUARD)
        copy(target.start, source.start, source_size, offset, size)
        assert target.read(target.start, size + 64) == padded(data, offset, size) + GUARD


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("side", ["start", "end"])
def test_load_padded_at_every_boundary(side: str, tier: Tier) -> None:
    load, random_, source = load_builtins(tier).functions["load_padded"], random.Random(3), guarded_page("source")
    for source_size in (0, 1, 4, 5, 31, 32, 33, 36, 63, 64, 68, 100):
        data = random_.randbytes(source_size)
        from_ = source.start if side == "start" else source.end - source_size
        source.fill(from_, data)
        for offset in (*range(source_size + 3), 1 << 63, MAX_U64 - 31, MAX_U64, MAX_U64 + 1 - from_):
            out = to_native(1)
            load(from_, source_size, offset, out)
            assert from_native(out) == int.from_bytes(padded(data, offset, 32), "big"), (source_size, offset)


def test_nothing_is_read_of_an_empty_source() -> None:
    """A frame without call data may have a null pointer."""
    builtins, out = load_builtins(Tier.OPTIMISED), to_native(1)
    builtins.functions["load_padded"](None, 0, 0, out)
    assert from_native(out) == 0
    buffer = ctypes.create_string_buffer(b"\xff" * 40, 40)
    builtins.functions["copy_padded"](buffer, None, 0, 7, 40)
    assert buffer.raw == bytes(40)


# --- memory_grow ----------------------------------------------------------------------------------


def memory_cost(size_bytes: int) -> int:
    """Gas of a memory of that size (Yellow Paper, C_mem)."""
    words = (size_bytes + 31) // 32
    return 3 * words + words * words // 512


class GrowingFrame:
    """A frame whose host grants or refuses memory, and records what it was asked for."""

    def __init__(self, size_bytes: int, capacity_bytes: int, *, host_answer: int = 0) -> None:
        self.asked: list[int] = []

        def grow(frame: int, size: int) -> int:
            self.asked.append(ctypes.c_uint64.from_address(size).value)
            return host_answer

        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self._grow = prototype(grow)
        self._table = HOST_TABLE.structure()
        self._table.grow_memory = ctypes.cast(self._grow, ctypes.c_void_p).value
        self.frame = FRAME.structure()
        self.frame.memory_size, self.frame.memory_capacity = size_bytes, capacity_bytes
        self.frame.host_table = ctypes.addressof(self._table)

    def call(self, tier: Tier, gas: int, end: int) -> int:
        """The gas left, signed."""
        answer = load_builtins(tier).functions["memory_grow"](ctypes.byref(self.frame), gas, end)
        return ctypes.c_int64(answer).value

    @property
    def unchanged_bytes(self) -> bytes:
        """The whole record, to compare."""
        return bytes(self.frame)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("size", [0, 32, 64, 704, 32 * 1024, 1 << 30])
@pytest.mark.parametrize("more", [1, 31, 32, 33, 64, 1000, 22_528, 1 << 20, 1 << 35])
def test_growth_costs_the_difference_and_rounds_up_to_words(size: int, more: int, tier: Tier) -> None:
    growing, end = GrowingFrame(size, 1 << 40), size + more
    price = memory_cost(end) - memory_cost(size)
    assert growing.call(tier, price + 7, end) == 7
    assert growing.frame.memory_size == (end + 31) // 32 * 32
    assert GrowingFrame(size, 1 << 40).call(tier, price, end) == 0
    assert growing.asked == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("size", [0, 32, 1 << 30])
@pytest.mark.parametrize("more", [1, 33, 22_528, 1 << 35])
def test_one_gas_too_little_changes_nothing(size: int, more: int, tier: Tier) -> None:
    growing = GrowingFrame(size, 0)
    before = growing.unchanged_bytes
    assert growing.call(tier, memory_cost(size + more) - memory_cost(size) - 1, size + more) == -1
    assert (growing.unchanged_bytes, growing.asked) == (before, [])


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("end", [1 << 42, 1 << 44, 1 << 59, 1 << 62, MAX_GAS, 1 << 63, MAX_U64 - 31, MAX_U64])
def test_no_gas_pays_for_sizes_whose_price_would_wrap(end: int, tier: Tier) -> None:
    assert memory_cost(end) > MAX_GAS
    growing = GrowingFrame(64, MAX_U64)
    before = growing.unchanged_bytes
    assert growing.call(tier, MAX_GAS, end) == -1
    assert growing.unchanged_bytes == before


def test_the_largest_size_that_gas_pays_for() -> None:
    words = bisect.bisect_right(range(1 << 40), MAX_GAS, key=lambda count: memory_cost(32 * count)) - 1
    assert memory_cost(32 * words) <= MAX_GAS < memory_cost(32 * (words + 1))
    growing = GrowingFrame(0, MAX_U64)
    assert growing.call(Tier.OPTIMISED, MAX_GAS, 32 * words) == MAX_GAS - memory_cost(32 * words)
    assert GrowingFrame(0, MAX_U64).call(Tier.OPTIMISED, MAX_GAS, 32 * words + 1) == -1


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("end", [0, 1, 32, 95, 96])
def test_an_end_inside_the_memory_costs_nothing(end: int, tier: Tier) -> None:
    growing = GrowingFrame(96, 0)
    before = growing.unchanged_bytes
    assert growing.call(tier, 5, end) == 5
    assert growing.unchanged_bytes == before


@pytest.mark.parametrize("tier", TIERS)
def test_the_host_is_asked_only_beyond_the_capacity(tier: Tier) -> None:
    growing = GrowingFrame(0, 64)
    assert growing.call(tier, 100, 64) == 100 - 6
    assert growing.asked == []
    assert growing.call(tier, 100, 65) == 100 - 3
    assert growing.asked == [96]
    assert (growing.frame.memory_size, growing.frame.status_detail) == (96, 0)


@pytest.mark.parametrize("tier", TIERS)
def test_a_host_that_refuses_ends_the_frame_with_memory_limit(tier: Tier) -> None:
    growing = GrowingFrame(32, 64, host_answer=-1)
    assert growing.call(tier, 1000, 65) == -1
    assert (growing.frame.memory_size, growing.frame.status_detail) == (32, Status.MEMORY_LIMIT)


@pytest.mark.parametrize("tier", TIERS)
def test_any_answer_of_the_host_from_zero_on_is_success(tier: Tier) -> None:
    growing = GrowingFrame(0, 0, host_answer=3)
    assert growing.call(tier, 1000, 1) == 997
    assert growing.frame.status_detail == 0
