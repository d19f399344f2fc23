"""Storage of a message: gas, refund and values, also beyond what the native cache of slots holds."""

from __future__ import annotations

import pytest

from evmaot.abi.status import Status
from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.runtime.storage_cache import DIRTY_CAPACITY, ENTRY_COUNT
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
@pytest.mark.parametrize("count", [3, DIRTY_CAPACITY + 50, ENTRY_COUNT + 50])
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
