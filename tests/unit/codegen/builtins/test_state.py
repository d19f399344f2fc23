"""Storage helpers and the slot table: one helper at a time, on a frame without code."""

from __future__ import annotations

import itertools
import random

import pytest

from evmaot.abi.status import STORAGE_COLD, Status, StorageStatus
from evmaot.errors import HostError
from evmaot.evm.forks import FORKS
from evmaot.runtime.slot_table import GENERATION, UNKNOWN_IS_ZERO, WARM, WARM_FROM_START, SlotTable, touched_slots
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

    def frame(self, slots: SlotTable | None = None) -> HelperFrame:
        if slots is None:
            return HelperFrame(get_storage=self.get_storage, set_storage=self.set_storage)

        def grow(_frame: int) -> int:
            self.calls.append("grow")
            slots.grow()
            return 0

        # Without set_storage: an SSTORE that left native code would fail.
        return HelperFrame(slots, get_storage=self.get_storage, grow_slots=grow)


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
    frame = storage.frame(SlotTable())
    assert sload(frame, 5) == (GAS - 2000, 7)
    assert sload(frame, 5) == (GAS, 7)
    assert storage.calls == ["get"]


def test_without_a_table_the_host_is_asked_each_time() -> None:
    storage = Storage({5: 7})
    frame = storage.frame()
    assert [sload(frame, 5), sload(frame, 5)] == [(GAS - 2000, 7), (GAS, 7)]
    assert storage.calls == ["get", "get"]


def test_a_surcharge_that_cannot_be_paid() -> None:
    frame = Storage().frame(SlotTable())
    assert sload(frame, 5, gas=1999)[0] == OUT_OF_GAS
    assert frame.get("status_detail") == 0, "out of gas is what no detail means"


def test_a_failing_host_ends_the_frame() -> None:
    frame = HelperFrame(SlotTable(), get_storage=lambda *_: -1)
    assert sload(frame, 5)[0] == -1
    assert frame.get("status_detail") == Status.HOST_ERROR
    frame = HelperFrame(set_storage=lambda *_: -1)
    assert sstore(frame, 5, 1) == -1
    assert frame.get("status_detail") == Status.HOST_ERROR


@pytest.mark.parametrize("gas", [2299, 2300])
def test_the_sentry(gas: int) -> None:
    assert sstore(Storage().frame(), 5, 1, gas=gas) == OUT_OF_GAS
    warm = Storage({5: 1}).frame(SlotTable())
    sload(warm, 5)
    assert sstore(warm, 5, 1, gas=gas) == OUT_OF_GAS
    assert sstore(warm, 5, 1, gas=2301) == 2301 - 100


def test_a_static_frame_does_not_write() -> None:
    storage = Storage()
    frame = storage.frame(SlotTable())
    frame.set("is_static", 1)
    assert sstore(frame, 5, 1) == -1
    assert frame.get("status_detail") == Status.STATIC_VIOLATION
    assert storage.calls == []


def values(slots: SlotTable) -> dict[int, int]:
    return {slot.key: slot.value for slot in touched_slots(slots.image()) if slot.value}


def test_only_the_first_touch_of_a_slot_asks_the_host() -> None:
    storage = Storage({5: 7})
    slots = SlotTable()
    frame = storage.frame(slots)
    sload(frame, 5)
    assert sstore(frame, 5, 9) == GAS - 2900
    assert sstore(frame, 6, 1) == GAS - 2100 - 20000
    assert sload(frame, 5) == (GAS, 9)
    assert storage.calls == ["get", "get"]
    assert values(slots) == {5: 9, 6: 1}


def test_storage_that_is_known_empty_never_asks_the_host() -> None:
    storage = Storage()
    slots = SlotTable()
    frame = storage.frame(slots)
    slots.cells[UNKNOWN_IS_ZERO] = 1
    assert [sload(frame, 5), sload(frame, 5)] == [(GAS - 2000, 0), (GAS, 0)]
    assert sstore(frame, 6, 1) == GAS - 2100 - 20000
    assert storage.calls == [] and values(slots) == {6: 1}
    assert [slot.flags for slot in touched_slots(slots.image())] == [WARM, WARM]


def test_where_access_is_not_tracked_every_slot_is_warm_from_the_start() -> None:
    slots = SlotTable()
    frame = HelperFrame(slots, get_storage=lambda *_: 0)
    slots.begin(tracks_access=False)
    slots.cells[UNKNOWN_IS_ZERO] = 1
    assert sload(frame, 5)[0] == GAS
    slots.cells[UNKNOWN_IS_ZERO] = 0
    assert sload(frame, 6)[0] == GAS
    assert [slot.flags for slot in touched_slots(slots.image())] == [WARM_FROM_START, WARM_FROM_START]


VALUES = (0, 1, 2)


@pytest.mark.parametrize("original", VALUES)
def test_every_order_of_three_writes_costs_what_a_host_says(original: int) -> None:
    """The same status, gas and refund whether the slot table or the host decides."""
    for writes in itertools.product(VALUES, repeat=3):
        for reads_first in (False, True):
            by_host = Storage({5: original})
            slots = SlotTable(1, 1)
            frames = [by_host.frame(), Storage({5: original}).frame(slots)]
            results = []
            for frame in frames:
                gas = [sload(frame, 5)[0]] if reads_first else []
                results.append((gas + [sstore(frame, 5, value) for value in writes], frame.get("refund")))
            assert results[0] == results[1], (writes, reads_first)
            assert values(slots) == by_host.values()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (64, 64)])
@pytest.mark.parametrize("seed", range(6))
def test_random_accesses_and_reverts_are_those_of_a_host(seed: int, size: tuple[int, int]) -> None:
    """Checkpoints nest as frames do; a revert restores values and warmth, also in a table that has grown."""
    random_ = random.Random(seed)
    by_host = Storage({1: 1, 3: 3})
    slots = SlotTable(*size)
    plain, native = by_host.frame(), Storage({1: 1, 3: 3}).frame(slots)
    open_frames: list[tuple[int, int, dict[int, int], set[int]]] = []
    generation = slots.cells[GENERATION]
    keys = (0, 1, 2, 3, 1 << 64, 1 << 128, 1 << 192, 1 << 255)
    for _ in range(600):
        kind = random_.random()
        if kind < 0.35:
            key = random_.choice(keys)
            assert sload(native, key) == sload(plain, key)
        elif kind < 0.8:
            key, value = random_.choice(keys), random_.choice((0, 1, 3, 1 << 200))
            assert sstore(native, key, value) == sstore(plain, key, value)
        elif kind < 0.9 and len(open_frames) < 6:
            open_frames.append((slots.mark, slots.cells[GENERATION], dict(by_host.current), set(by_host.warm)))
            generation += 1
            slots.cells[GENERATION] = generation
        elif open_frames:
            mark, parent_generation, current, warm = open_frames.pop()
            if random_.random() < 0.5:
                slots.revert(mark)
                by_host.current, by_host.warm = current, warm
            slots.cells[GENERATION] = parent_generation
        assert native.get("refund") == plain.get("refund")
        touched = {slot.key: slot.value for slot in touched_slots(slots.image())}
        assert {1: 1, 3: 3, **touched} == {**dict.fromkeys(touched, 0), **by_host.current}
        assert {slot.key for slot in touched_slots(slots.image()) if slot.flags == WARM} == by_host.warm


def test_a_slot_is_saved_once_in_a_frame() -> None:
    """Undo records are bounded by slots and frames, not by writes."""
    slots = SlotTable()
    frame = Storage().frame(slots)
    for value in range(1000):
        sstore(frame, 5, value)
    assert slots.mark == 1
    slots.cells[GENERATION] = 2
    for value in range(1000):
        sstore(frame, 5, value)
    assert slots.mark == 2


def test_a_full_table_grows_and_keeps_what_it_has() -> None:
    storage = Storage({key: key + 1 for key in range(0, 300, 2)})
    slots = SlotTable(4, 2)
    frame = storage.frame(slots)
    for key in range(300):
        assert sload(frame, key << 200 | key)[0] == GAS - 2000
    asked = storage.calls.count("get")
    for key in range(300):
        sload(frame, key << 200 | key)
    assert asked == storage.calls.count("get") == 300, "no slot was lost"
    assert storage.calls.count("grow") > 5
    slots.revert(0)
    assert {slot.flags for slot in touched_slots(slots.image())} == {0}


def test_a_table_that_has_grown_gives_its_memory_back() -> None:
    storage = Storage({5: 7})
    slots = SlotTable(2, 2)
    frame = storage.frame(slots)
    before = slots.capacity
    for key in range(9):
        sload(frame, key)
    assert slots.capacity > before
    slots.begin(tracks_access=True)
    slots.cells[GENERATION] = 1
    assert slots.capacity == before and slots.count == 0
    storage.warm.clear()
    assert sload(frame, 5) == (GAS - 2000, 7)


def test_a_new_transaction_knows_no_slot_of_the_last() -> None:
    storage = Storage({5: 7})
    slots = SlotTable()
    frame = storage.frame(slots)
    for transaction in range(1, 4):
        storage.warm.clear()
        assert sload(frame, 5) == (GAS - 2000, 7)
        assert storage.calls == ["get"] * transaction
        slots.begin(tracks_access=True)


def test_more_slots_than_the_bound_end_the_frame() -> None:
    slots = SlotTable(2, 2, maximum=4)
    errors: list[HostError] = []

    def grow(_frame: int) -> int:
        try:
            slots.grow()
        except HostError as error:
            errors.append(error)
            raise
        return 0

    frame = HelperFrame(slots, get_storage=lambda *_: 0, grow_slots=grow)
    assert [sload(frame, key)[0] for key in range(5)] == [GAS, GAS, GAS, GAS, -1]
    assert frame.get("status_detail") == Status.HOST_ERROR
    assert [error.reference for error in errors] == ["slot_limit"]


def test_two_accounts_have_their_own_slots() -> None:
    storage = Storage({5: 7})
    frame = storage.frame(SlotTable())
    sload(frame, 5)
    frame.set("recipient", 1)
    assert sload(frame, 5)[0] == GAS
    assert storage.calls == ["get", "get"], "another account's slot is not known"


@pytest.mark.parametrize(("original", "old", "new"), list(itertools.product((0, 1, 2), repeat=3)))
def test_the_status_that_native_code_finds(original: int, old: int, new: int) -> None:
    """The price of every change of a slot that the table knows, by a schedule that tells all statuses apart."""
    frame = Storage({5: original}).frame(SlotTable())
    sload(frame, 5)
    schedule = [number for status in StorageStatus for number in (1000 + status, status)]
    table = numbers(0, 0, *schedule)
    frame.call("sstore", GAS, to_native(5), to_native(old), table)
    frame.set("refund", 0)
    left = frame.call("sstore", GAS, to_native(5), to_native(new), table)
    assert (GAS - left - 1000, frame.get("refund")) == (storage_status(original, old, new),) * 2
