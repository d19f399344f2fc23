"""Storage of a message: gas, refund and values, also beyond what the slot table has room for at first."""

from __future__ import annotations

import pytest

from evmaot.abi.status import Status
from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.execution.journal import ASKS_BEFORE_EMPTY
from evmaot.execution.memory_state import MemoryState
from evmaot.runtime.slot_table import INITIAL_SLOTS
from tests.support.assembly import assemble, call
from tests.support.storage_status import storage_status
from tests.support.worlds import OTHER, TARGET, World

GAS = 2_000_000_000


def writes(count: int, values: tuple[int, ...]) -> bytes:
    """A loop for each value that writes it to the slots `count` to 1."""
    code = b""
    for value in values:
        head = assemble(b"\x62" + count.to_bytes(3, "big"))
        start = len(code) + len(head)
        body = assemble("JUMPDEST", value, "DUP2", "SSTORE", 1, "SWAP1", "SUB", "DUP1")
        code += head + body + b"\x62" + start.to_bytes(3, "big") + bytes([BY_MNEMONIC["JUMPI"].value])
        code += assemble("POP")
    return code


def expected(fork: str, count: int, original: int, values: tuple[int, ...]) -> tuple[int, int]:
    """Gas and refund of the SSTOREs alone, by the fork's schedule."""
    parameters = FORKS[fork].parameters
    gas, refund, current = parameters.cold_sstore, 0, original
    for value in values:
        price, back = parameters.storage_schedule[int(storage_status(original, current, value))]
        gas, refund, current = gas + price, refund + back, value
    return gas * count, refund * count


@pytest.mark.parametrize("fork", ["frontier", "constantinople", "istanbul", "osaka"])
@pytest.mark.parametrize("original", [0, 5])
@pytest.mark.parametrize("count", [3, INITIAL_SLOTS + 50])
@pytest.mark.parametrize("values", [(1, 2, 0, 3), (5, 0, 5, 0), (0, 7, 7, 5), (2, 0, 5)])
def test_many_slots_written_many_times(fork: str, original: int, count: int, values: tuple[int, ...]) -> None:
    world = World(fork, codes={TARGET: writes(count, values)})
    world.state.storages[TARGET] = {slot: original for slot in range(1, count + 1) if original}
    result = world.run(gas=GAS)
    assert result.status is Status.STOP
    gas, refund = expected(fork, count, original, values)
    # A round's other instructions: JUMPDEST, PUSH, DUP, PUSH, SWAP, SUB, DUP, PUSH, JUMPI; and PUSH, POP around.
    others = len(values) * (count * (1 + 3 * 7 + 10) + 3 + 2)
    assert (GAS - result.gas_left, result.refund) == (gas + others, refund)
    last = values[-1]
    changed = dict.fromkeys(range(1, count + 1), last) if last != original else None
    assert result.changes.storage.get(TARGET) == changed


def test_slots_of_a_reverted_child_are_as_before_and_cold() -> None:
    child = assemble(9, 1, "SSTORE", 8, 2, "SSTORE", 0, 0, "REVERT")
    measured = assemble("GAS", 2, "SLOAD", "GAS", "SWAP1", 0, "MSTORE", "SWAP1", "SUB", 32, "MSTORE")
    code = assemble(3, 1, "SSTORE") + call("DELEGATECALL", OTHER) + measured
    code += assemble(1, "SLOAD", 64, "MSTORE", 96, 0, "RETURN")
    world = World(codes={TARGET: code, OTHER: child})
    world.state.storages[TARGET] = {1: 1, 2: 2}
    result = world.run()
    words = [int.from_bytes(result.output[index : index + 32], "big") for index in (0, 32, 64)]
    assert words == [2, 2100 + 3 + 2, 3]
    assert result.changes.storage == {TARGET: {1: 3}}


def test_a_child_sees_what_its_parent_wrote_and_the_other_way_round() -> None:
    child = assemble(1, "SLOAD", 2, "SSTORE", 6, 1, "SSTORE")
    code = assemble(5, 1, "SSTORE") + call("DELEGATECALL", OTHER) + assemble(1, "SLOAD", 3, "SSTORE")
    result = World(codes={TARGET: code, OTHER: child}).run()
    assert result.changes.storage == {TARGET: {1: 6, 2: 5, 3: 6}}


def test_two_accounts_with_the_same_slots_are_two_storages() -> None:
    reader = assemble(1, "SLOAD", 1, "ADD", 1, "SSTORE")
    code = assemble(5, 1, "SSTORE") + call("CALL", OTHER) + call("DELEGATECALL", OTHER) + call("CALL", OTHER)
    result = World(codes={TARGET: code, OTHER: reader}).run()
    assert result.changes.storage == {TARGET: {1: 6}, OTHER: {1: 2}}


class Counting(MemoryState):
    """Counts the slots that it is asked for."""

    def __init__(self, fork: str, *, tells_empty: bool) -> None:
        super().__init__(FORKS[fork])
        self.asked = 0
        self.tells_empty = tells_empty

    def storage(self, address: int, key: int) -> int:
        self.asked += 1
        return super().storage(address, key)

    def storage_is_empty(self, address: int) -> bool:
        return self.tells_empty and super().storage_is_empty(address)


@pytest.mark.parametrize("fork", ["istanbul", "osaka"])
@pytest.mark.parametrize("has_storage", [False, True])
@pytest.mark.parametrize("tells_empty", [False, True])
def test_fresh_storage_is_written_without_asking_for_each_slot(fork: str, has_storage: bool, tells_empty: bool) -> None:
    count = 100
    results = []
    for state in (Counting(fork, tells_empty=tells_empty), Counting(fork, tells_empty=False)):
        world = World(fork, codes={TARGET: writes(count, (1, 0, 2))})
        state.accounts.update(world.state.accounts)
        world.state = state
        if has_storage:
            state.storages[TARGET] = {count + 1: 1}
        result = world.run(gas=GAS)
        results.append((result.gas_left, result.refund, result.changes, result.warm_slots))
        if state.tells_empty and not has_storage:
            assert state.asked == ASKS_BEFORE_EMPTY
        else:
            assert state.asked == count
    assert results[0] == results[1]


def test_slots_of_an_access_list_are_warm_in_fresh_storage_too() -> None:
    results = []
    for slots in ((), tuple((TARGET, key) for key in range(1, 4))):
        world = World("osaka", codes={TARGET: writes(10, (1,))})
        results.append(world.run(gas=GAS, warm_slots=slots))
    assert results[1].gas_left - results[0].gas_left == 2100 * 3
    assert results[1].warm_slots == {(TARGET, key) for key in range(4, 11)}


def test_a_result_does_not_change_when_the_executor_goes_on() -> None:
    code = assemble(0, "CALLDATALOAD", 1, "SSTORE", 7, 0, 0, "LOG1")
    world = World(codes={TARGET: code})
    first = world.run(input=(5).to_bytes(32, "big"))
    second = world.run(input=(6).to_bytes(32, "big"))
    assert first.changes.storage == {TARGET: {1: 5}} and second.changes.storage == {TARGET: {1: 6}}
    assert first.warm_slots == {(TARGET, 1)} and len(first.logs) == 1 and first.logs == second.logs
