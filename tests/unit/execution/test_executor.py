"""Message calls: value, depth, precompiles, delegation, return data, static context, failure of hosts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from evmaot.abi.status import Status
from evmaot.errors import HostError
from evmaot.evm.forks import FORKS
from evmaot.execution.executor import Executor
from evmaot.execution.hashing import create_address
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.protocol import (
    DELEGATION_PREFIX,
    NO_CHANGES,
    Account,
    Environment,
    Failure,
    NotNative,
    PrecompileCall,
    PrecompileResult,
)
from evmaot.runtime.program import CompiledProgram
from tests.support.assembly import assemble, call, return_word
from tests.support.worlds import GAS, OTHER, SENDER, TARGET, World, executor

FRONTIER_ON = tuple(FORKS)
WITH_REVERT = FRONTIER_ON[list(FRONTIER_ON).index("byzantium") :]


def designator(address: int) -> bytes:
    return DELEGATION_PREFIX + address.to_bytes(20, "big")


# --- value ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fork", FRONTIER_ON)
def test_value_moves_to_an_account_without_code(fork: str) -> None:
    world = World(fork)
    result = world.run(value=5)
    assert result.succeeded and result.gas_left == GAS and result.native_frames == 0
    assert world.state.accounts[TARGET] == Account(0, 5, b"", None)
    assert world.state.accounts[SENDER].balance == 10**18 - 5


def test_a_message_that_its_sender_cannot_pay_runs_nothing() -> None:
    world = World(codes={TARGET: assemble(1, 0, "SSTORE")})
    result = world.run(value=10**18 + 1)
    assert result.failure is Failure.BALANCE and result.gas_left == GAS and result.changes is NO_CHANGES


def test_value_without_transfer_is_only_seen() -> None:
    world = World(codes={TARGET: assemble("CALLVALUE") + return_word()})
    result = world.run(value=77, transfers_value=False)
    assert int.from_bytes(result.output, "big") == 77
    assert TARGET not in result.changes.accounts


def test_a_reverted_call_gives_its_value_back() -> None:
    world = World(codes={TARGET: call("CALL", OTHER, value=7) + return_word(), OTHER: assemble(0, 0, "REVERT")})
    world.put(TARGET, balance=10, code=world.state.accounts[TARGET].code)
    result = world.run()
    assert result.output == bytes(32) and result.changes.accounts == {}


def test_a_call_beyond_the_balance_fails_and_gives_all_its_gas_back() -> None:
    cheap = World(codes={TARGET: call("CALL", OTHER, gas=0, value=1) + assemble("POP", "GAS") + return_word()})
    dear = World(codes={TARGET: call("CALL", OTHER, gas=90_000, value=1) + assemble("POP", "GAS") + return_word()})
    left = [int.from_bytes(world.run().output, "big") for world in (cheap, dear)]
    assert left[0] == left[1]


@pytest.mark.parametrize("fork", ["frontier", "tangerine_whistle"])
def test_before_eip_161_a_call_without_value_makes_an_account(fork: str) -> None:
    world = World(fork)
    world.run()
    assert world.state.accounts[TARGET] == Account()


@pytest.mark.parametrize("fork", ["spurious_dragon", "osaka"])
def test_from_eip_161_on_a_call_without_value_makes_no_account(fork: str) -> None:
    world = World(fork)
    assert world.run().changes is NO_CHANGES


def test_a_touched_empty_account_is_reported_for_deletion() -> None:
    world = World("byzantium", codes={TARGET: call("CALL", OTHER)})
    world.put(OTHER)
    result = world.run()
    assert result.changes.touched == {OTHER}
    world.state.end_transaction(result.changes)
    assert OTHER not in world.state.accounts


# --- kinds of calls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "address", "caller", "value"),
    [
        ("CALL", OTHER, TARGET, 3),
        ("CALLCODE", TARGET, TARGET, 3),
        ("DELEGATECALL", TARGET, SENDER, 9),
        ("STATICCALL", OTHER, TARGET, 0),
    ],
)
def test_context_of_each_kind_of_call(kind: str, address: int, caller: int, value: int) -> None:
    context = assemble("ADDRESS", 0, "MSTORE", "CALLER", 32, "MSTORE", "CALLVALUE", 64, "MSTORE", 96, 0, "RETURN")
    world = World(codes={OTHER: context})
    world.put(TARGET, balance=10, code=call(kind, OTHER, value=3, output=(0, 96)) + assemble(96, 0, "RETURN"))
    output = world.run(value=9).output
    assert [int.from_bytes(output[i : i + 32], "big") for i in (0, 32, 64)] == [address, caller, value]


@pytest.mark.parametrize("kind", ["CALL", "DELEGATECALL", "STATICCALL"])
def test_static_context_is_inherited(kind: str) -> None:
    middle, writer, last = 0x3A, 0x3B, 0x3C
    # The writer fails exactly if its own call does.
    body = call(kind, last, gas=90_000)
    end = len(body) + len(assemble(0xFF, "JUMPI", "INVALID"))
    for outer, inner_result in (("CALL", 1), ("STATICCALL", 0)):
        world = World(
            codes={
                TARGET: call(outer, middle, gas=500_000, output=(0, 32)) + assemble(32, 0, "RETURN"),
                middle: call("CALL", writer) + return_word(),
                writer: body + assemble(end, "JUMPI", "INVALID", "JUMPDEST"),
                last: assemble(1, 0, "TSTORE"),
            }
        )
        expected = inner_result if kind != "STATICCALL" else 0
        assert int.from_bytes(world.run().output, "big") == expected


def test_return_data_of_a_child_is_cut_to_the_output_range() -> None:
    child = assemble(b"\x7f" + b"\x11" * 32, 0, "MSTORE", 32, 0, "RETURN")
    world = World(
        codes={TARGET: call("CALL", OTHER, output=(0, 4)) + assemble("RETURNDATASIZE", 32, "MSTORE", 64, 0, "RETURN")}
    )
    world.put(OTHER, code=child)
    output = world.run().output
    assert output[:32] == b"\x11" * 4 + bytes(28) and int.from_bytes(output[32:], "big") == 32


@pytest.mark.parametrize("fork", WITH_REVERT)
def test_revert_keeps_gas_and_data_and_undoes_the_rest(fork: str) -> None:
    code = assemble(1, 0, "SSTORE", 0xAB, 0, "MSTORE", 32, 0, "REVERT")
    result = World(fork, codes={TARGET: code}).run()
    assert result.status is Status.REVERT and not result.succeeded
    assert result.gas_left > 0 and result.output[-1] == 0xAB
    assert result.changes is NO_CHANGES and result.refund == 0 and result.logs == ()


def test_a_halt_takes_all_gas() -> None:
    result = World(codes={TARGET: assemble(1, 0, "SSTORE", "INVALID")}).run()
    assert result.status is Status.INVALID_OPCODE and result.gas_left == 0 and result.changes is NO_CHANGES


def test_logs_and_refunds_of_failed_children_do_not_count() -> None:
    child = assemble(0xDA, 0, "MSTORE", 7, 32, 0, "LOG1", 0, 1, "SSTORE")
    world = World(
        codes={
            TARGET: call("CALL", OTHER) + call("CALL", OTHER + 1),
            OTHER: child,
            OTHER + 1: child + assemble(0, 0, "REVERT"),
        }
    )
    world.state.storages = {OTHER: {1: 5}, OTHER + 1: {1: 5}}
    result = world.run()
    assert [(log.address, log.topics, log.data[-1]) for log in result.logs] == [(OTHER, (7,), 0xDA)]
    assert result.refund == 4800
    assert result.changes.storage == {OTHER: {1: 0}}


# --- depth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["CALL", "CALLCODE", "DELEGATECALL", "STATICCALL"])
def test_depth_1024_is_reached_and_not_passed(kind: str) -> None:
    # Counts frames: returns 1 + what the next one returned, 1 if its call failed.
    code = assemble(
        32, 0, 0, 0, *([0] if kind in ("CALL", "CALLCODE") else []), "ADDRESS" if kind == "CALL" else TARGET
    )
    code += assemble("GAS", kind, "POP", 0, "MLOAD", 1, "ADD") + return_word()
    world = World("petersburg", codes={TARGET: code})
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(220)
    try:
        result = world.run(gas=10**17)
    finally:
        sys.setrecursionlimit(before)
    assert result.native_frames == 1025
    assert int.from_bytes(result.output, "big") == 1025


# --- precompiles and delegation -------------------------------------------------------------------


@pytest.mark.parametrize("fork", FRONTIER_ON)
def test_a_precompile_runs_at_any_depth(fork: str) -> None:
    world = World(
        fork,
        codes={
            TARGET: assemble(0xABCD, 0, "MSTORE")
            + call("CALL", 4, input=(0, 32), output=(32, 32))
            + assemble(32, 32, "RETURN")
        },
    )
    assert int.from_bytes(world.run().output, "big") == 0xABCD
    direct = World(fork).run(recipient=4, code_address=4, input=b"abc")
    assert direct.output == b"abc" and direct.gas_left == GAS - 18


def test_a_precompile_without_gas_takes_all_and_returns_the_value() -> None:
    world = World(codes={TARGET: call("CALL", 2, gas=0, value=1, input=(0, 32 * 1000)) + return_word()})
    world.put(TARGET, balance=1, code=world.state.accounts[TARGET].code)
    result = world.run()
    assert result.output == bytes(32) and result.changes.accounts == {}


def test_delegated_code_runs_in_the_authority_s_context() -> None:
    world = World("prague", codes={TARGET: call("CALL", OTHER, output=(0, 32)) + assemble(32, 0, "RETURN")})
    world.put(OTHER, code=designator(0xC0DE))
    world.put(0xC0DE, code=assemble("ADDRESS") + return_word())
    result = world.run(warm_addresses=(TARGET,))
    assert int.from_bytes(result.output, "big") == OTHER
    assert result.warm_addresses == {OTHER, 0xC0DE}


def test_a_delegation_to_a_precompile_runs_nothing() -> None:
    world = World(
        "prague",
        codes={TARGET: call("CALL", OTHER, input=(0, 32), output=(0, 32)) + assemble("RETURNDATASIZE") + return_word()},
    )
    world.put(OTHER, code=designator(4))
    assert world.run().output == bytes(32)


def test_a_delegation_of_a_delegation_is_not_followed() -> None:
    world = World("prague", codes={TARGET: call("CALL", OTHER) + return_word()})
    world.put(OTHER, code=designator(0xC0DE))
    world.put(0xC0DE, code=designator(0xBEEF))
    world.put(0xBEEF, code=assemble("STOP"))
    # 0xEF is no opcode: the call halts.
    assert world.run().output == bytes(32)


def test_before_prague_a_designator_is_plain_code() -> None:
    world = World("cancun", codes={TARGET: call("CALL", OTHER) + return_word()})
    world.put(OTHER, code=designator(0xC0DE))
    world.put(0xC0DE, code=assemble("STOP"))
    assert world.run().output == bytes(32)


# --- warm and transient ---------------------------------------------------------------------------


def test_what_a_failed_child_warmed_is_cold_again() -> None:
    child = assemble(5, "SLOAD", 0xAA, "BALANCE", 0, 0, "REVERT")
    world = World(codes={TARGET: call("CALL", OTHER) + assemble(6, "SLOAD"), OTHER: child})
    result = world.run(warm_addresses=(SENDER, TARGET))
    assert result.warm_addresses == {OTHER} and result.warm_slots == {(TARGET, 6)}


@pytest.mark.parametrize("kept_as", [frozenset, list, iter])
@pytest.mark.parametrize(
    "how", ["BALANCE", "EXTCODESIZE", "EXTCODEHASH", "EXTCODECOPY", "CALL", "SELFDESTRUCT", "CREATE"]
)
def test_what_is_warm_from_the_start_costs_less_and_is_not_told_again(how: str, kept_as: Callable[..., Any]) -> None:
    operands = {"EXTCODECOPY": assemble(0, 0, 0, OTHER), "CREATE": assemble(0, 0, 0)}.get(how, assemble(OTHER))
    code = call("CALL", OTHER) if how == "CALL" else operands + assemble(how)
    place = create_address(TARGET, 0) if how == "CREATE" else OTHER
    cold, warm = (
        World(codes={TARGET: code, OTHER: b"\0"}).run(warm_addresses=kept_as(addresses))
        for addresses in ([TARGET], [TARGET, place])
    )
    assert cold.warm_addresses == {place} and not warm.warm_addresses
    price = {"CREATE": 0, "SELFDESTRUCT": 2600}.get(how, 2500)
    assert warm.gas_left - cold.gas_left == price


def test_a_failing_message_still_tells_what_its_own_frame_warmed() -> None:
    result = World(codes={TARGET: assemble(6, "SLOAD", 0, 0, "REVERT")}).run(warm_addresses=(TARGET,))
    assert result.warm_slots == {(TARGET, 6)}


def test_transient_storage_lives_as_long_as_the_message_and_reverts() -> None:
    reverting = assemble(9, 1, "TSTORE", 0, 0, "REVERT")
    world = World(
        codes={
            TARGET: assemble(3, 1, "TSTORE") + call("DELEGATECALL", OTHER) + assemble(1, "TLOAD") + return_word(),
            OTHER: reverting,
        }
    )
    result = world.run()
    assert int.from_bytes(result.output, "big") == 3 and result.changes.transient == {TARGET: {1: 3}}
    assert World(codes={TARGET: assemble(1, "TLOAD") + return_word()}).run().output == bytes(32)


# --- what goes wrong outside of the EVM -----------------------------------------------------------


class Failing(MemoryState):
    """A host whose storage raises."""

    def storage(self, address: int, key: int) -> int:
        raise ConnectionError(f"slot {key} of {address}")


def test_an_exception_of_the_host_surfaces_unchanged_and_leaves_the_executor_as_new() -> None:
    world = World(codes={TARGET: call("CALL", OTHER), OTHER: assemble(1, 0, "MSTORE", 5, "SLOAD")})
    failing = Failing(world.fork, world.state.accounts)
    with pytest.raises(ConnectionError, match="slot 5") as caught:
        executor().execute(world.message(), Environment(), failing, world.fork)
    assert "storage" in [entry.name for entry in caught.traceback]
    assert world.run().succeeded


def test_an_exception_of_a_precompile_surfaces_unchanged() -> None:
    class Broken(MemoryState):
        def precompile(self, call: PrecompileCall) -> PrecompileResult:
            raise KeyError(call.address)

    world = World(codes={TARGET: call("CALL", 4)})
    with pytest.raises(KeyError):
        executor().execute(world.message(), Environment(), Broken(world.fork, world.state.accounts), world.fork)
    assert world.run().succeeded


def test_a_missing_program_is_said_and_nothing_is_committed() -> None:
    class Nothing:
        def program_for(self, code: bytes, code_hash: bytes | None, fork: object) -> CompiledProgram | None:
            return None

    world = World(codes={TARGET: assemble("STOP")})
    with pytest.raises(NotNative) as caught:
        Executor(Nothing()).execute(world.message(), Environment(), world.state, world.fork)
    assert caught.value.reference == "no_program"


def test_an_executor_refuses_a_message_from_within_a_message() -> None:
    class Nested(MemoryState):
        def storage(self, address: int, key: int) -> int:
            executor().execute(world.message(), Environment(), self, self.fork)
            return 0

    world = World(codes={TARGET: assemble(1, "SLOAD")})
    with pytest.raises(HostError) as caught:
        executor().execute(world.message(), Environment(), Nested(world.fork, world.state.accounts), world.fork)
    assert caught.value.reference == "executor_busy"


def test_memory_of_one_message_is_zero_in_the_next() -> None:
    World(
        codes={
            TARGET: assemble(b"\x7f" + b"\xff" * 32, 0x400, "MSTORE") + call("CALL", OTHER),
            OTHER: assemble(1, 0, "MSTORE8"),
        }
    ).run()
    world = World(codes={TARGET: assemble(0x400, "MLOAD", 0, "MLOAD", "OR") + return_word()})
    assert world.run().output == bytes(32)


def test_block_hashes_are_those_of_the_last_256_blocks() -> None:
    def state_hashes(number: int) -> int:
        return number + 1

    for number, expected in ((43, 0), (44, 45), (299, 300), (300, 0), (2**255, 0)):
        world = World(codes={TARGET: assemble(number, "BLOCKHASH") + return_word()})
        world.state = MemoryState(world.fork, world.state.accounts, block_hash=state_hashes)
        output = world.run(environment=Environment(number=300)).output
        assert int.from_bytes(output, "big") == expected
