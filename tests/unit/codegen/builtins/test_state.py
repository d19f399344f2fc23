"""Storage helpers and the storage cache: one helper at a time, on a frame without code."""

from __future__ import annotations

import itertools
import random

import pytest

from evmaot.abi.status import STORAGE_COLD, Status, StorageStatus
from evmaot.evm.forks import FORKS
from evmaot.runtime.storage_cache import StorageCache
from tests.support.helper_frame import HelperFrame, from_native, numbers, store_word, to_native, to_word_array
from tests.support.storage_status import storage_status

GAS = 1_000_000
BERLIN = FORKS["berlin"].parameters
OUT_OF_GAS = -1


class Storage:
    """A host's storage of one account, by the rules of EIP-2929."""

    def __init__(self, values: dict[int, int] | None = None) -> None:
        self.original = dict(values or {})
        self.current = dict(self.original)
        self.warm: set[int] = set()
        self.calls: list[str] = []

    def get_storage(self, _frame: int, key: int, value: int) -> int:
        self.calls.append("get")
        slot = from_native(to_word_array(key))
        store_word(value, self.current.get(slot, 0))
        cold = slot not in self.warm
        self.warm.add(slot)
        return int(cold)

    def set_storage(self, _frame: int, key: int, value: int) -> int:
        self.calls.append("set")
        slot, new = from_native(to_word_array(key)), from_native(to_word_array(value))
        status = storage_status(self.original.get(slot, 0), self.current.get(slot, 0), new)
        self.current[slot] = new
        cold = slot not in self.warm
        self.warm.add(slot)
        return int(status) | (STORAGE_COLD if cold else 0)

    def values(self) -> dict[int, int]:
        """Slots that are not 0."""
        return {slot: value for slot, value in self.current.items() if value}

    def frame(self, cache: StorageCache | None = None) -> HelperFrame:
        return HelperFrame(cache, get_storage=self.get_storage, set_storage=self.set_storage)


def rules() -> object:
    flat = [number for row in BERLIN.storage_schedule for number in row]
    return numbers(BERLIN.sstore_sentry, BERLIN.cold_sstore, *flat)


def sload(frame: HelperFrame, key: int, gas: int = GAS) -> tuple[int, int]:
    out = to_native(key)
    left = frame.call("sload", gas, out, out, BERLIN.cold_sload)
    return left, from_native(out)


def sstore(frame: HelperFrame, key: int, value: int, gas: int = GAS) -> int:
    return frame.call("sstore", gas, to_native(key), to_native(value), rules())


def test_a_cold_slot_costs_its_surcharge_and_is_remembered() -> None:
    storage = Storage({5: 7})
    frame = storage.frame(StorageCache(16, 4))
    assert sload(frame, 5) == (GAS - 2000, 7)
    assert sload(frame, 5) == (GAS, 7)
    assert storage.calls == ["get"]


def test_without_a_cache_the_host_is_asked_each_time() -> None:
    storage = Storage({5: 7})
    frame = storage.frame()
    assert [sload(frame, 5), sload(frame, 5)] == [(GAS - 2000, 7), (GAS, 7)]
    assert storage.calls == ["get", "get"]


def test_a_surcharge_that_cannot_be_paid() -> None:
    frame = Storage().frame(StorageCache(16, 4))
    assert sload(frame, 5, gas=1999)[0] == OUT_OF_GAS
    assert frame.get("status_detail") == 0, "out of gas is what no detail means"


def test_a_failing_host_ends_the_frame() -> None:
    frame = HelperFrame(StorageCache(16, 4), get_storage=lambda *_: -1, set_storage=lambda *_: -1)
    assert sload(frame, 5)[0] == -1
    assert frame.get("status_detail") == Status.HOST_ERROR
    frame = HelperFrame(set_storage=lambda *_: -1)
    assert sstore(frame, 5, 1) == -1
    assert frame.get("status_detail") == Status.HOST_ERROR


@pytest.mark.parametrize("gas", [2299, 2300])
def test_the_sentry(gas: int) -> None:
    assert sstore(Storage().frame(), 5, 1, gas=gas) == OUT_OF_GAS
    warm = Storage({5: 1}).frame(StorageCache(16, 4))
    sload(warm, 5)
    assert sstore(warm, 5, 1, gas=gas) == OUT_OF_GAS
    assert sstore(warm, 5, 1, gas=2301) == 2301 - 100


def test_a_static_frame_does_not_write() -> None:
    storage = Storage()
    frame = storage.frame(StorageCache(16, 4))
    frame.set("is_static", 1)
    assert sstore(frame, 5, 1) == -1
    assert frame.get("status_detail") == Status.STATIC_VIOLATION
    assert storage.calls == []


def test_a_write_behind_a_cold_read_does_not_ask_the_host() -> None:
    storage = Storage({5: 7})
    cache = StorageCache(16, 4)
    frame = storage.frame(cache)
    sload(frame, 5)
    assert sstore(frame, 5, 9) == GAS - 2900
    assert storage.calls == ["get"]
    assert sload(frame, 5) == (GAS, 9)
    assert cache.take_dirty() == [(5, 9)]
    assert cache.take_dirty() == []


VALUES = (0, 1, 2)


@pytest.mark.parametrize("original", VALUES)
@pytest.mark.parametrize("size", [(1, 0), (1, 1), (2, 1), (16, 16)])
def test_every_order_of_three_writes_costs_what_a_host_says(original: int, size: tuple[int, int]) -> None:
    """The same status, gas and refund whether the cache or the host decides, also where it has no room."""
    for writes in itertools.product(VALUES, repeat=3):
        for reads_first in (False, True):
            by_host, by_cache = Storage({5: original}), Storage({5: original})
            cache = StorageCache(*size)
            frames = [by_host.frame(), by_cache.frame(cache)]
            results = []
            for frame in frames:
                gas = [sload(frame, 5)[0]] if reads_first else []
                results.append((gas + [sstore(frame, 5, value) for value in writes], frame.get("refund")))
            assert results[0] == results[1], (writes, reads_first)
            for key, value in cache.take_dirty():
                by_cache.current[key] = value
            assert by_cache.values() == by_host.values()


@pytest.mark.parametrize("size", [(1, 0), (1, 1), (2, 1), (2, 2), (4, 3), (16, 16)])
@pytest.mark.parametrize("seed", range(6))
def test_random_accesses_are_those_of_a_host(seed: int, size: tuple[int, int]) -> None:
    """Suspensions take dirty slots; reverts void the cache."""
    random_ = random.Random(seed)
    by_host, by_cache = Storage({1: 1, 3: 3}), Storage({1: 1, 3: 3})
    cache = StorageCache(*size)
    plain, cached = by_host.frame(), by_cache.frame(cache)
    for _ in range(400):
        key = random_.choice((0, 1, 2, 3, 1 << 64, 1 << 255))
        kind = random_.random()
        if kind < 0.4:
            assert sload(cached, key) == sload(plain, key)
        elif kind < 0.9:
            value = random_.choice((0, 1, 3, 1 << 200))
            assert sstore(cached, key, value) == sstore(plain, key, value)
        else:
            for slot, value in cache.take_dirty():
                by_cache.current[slot] = value
            assert by_cache.values() == by_host.values()
            if kind > 0.97:
                cache.void()
        assert cached.get("refund") == plain.get("refund")


def test_two_accounts_have_their_own_slots() -> None:
    storage = Storage({5: 7})
    cache = StorageCache(16, 4)
    frame = storage.frame(cache)
    sload(frame, 5)
    frame.set("recipient", 1)
    assert sload(frame, 5)[0] == GAS
    assert storage.calls == ["get", "get"], "another account's slot is not known"


def test_a_dirty_slot_keeps_its_place() -> None:
    """With one entry, a slot that the host does not know yet is not given up for another."""
    storage = Storage({5: 7})
    cache = StorageCache(1, 4)
    frame = storage.frame(cache)
    sload(frame, 5)
    sstore(frame, 5, 8)
    sload(frame, 6)
    sstore(frame, 7, 1)
    assert sload(frame, 5) == (GAS, 8)
    assert cache.take_dirty() == [(5, 8)]


@pytest.mark.parametrize(("original", "old", "new"), list(itertools.product((0, 1, 2), repeat=3)))
def test_the_status_that_native_code_finds(original: int, old: int, new: int) -> None:
    """The price of every change of a slot that the cache knows, by a schedule that tells all statuses apart."""
    frame = Storage({5: original}).frame(StorageCache(16, 4))
    sload(frame, 5)
    schedule = [number for status in StorageStatus for number in (1000 + status, status)]
    table = numbers(0, 0, *schedule)
    frame.call("sstore", GAS, to_native(5), to_native(old), table)
    frame.set("refund", 0)
    left = frame.call("sstore", GAS, to_native(5), to_native(new), table)
    assert (GAS - left - 1000, frame.get("refund")) == (storage_status(original, old, new),) * 2
