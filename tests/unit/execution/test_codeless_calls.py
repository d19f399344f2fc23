"""Calls of accounts without code run nothing: no frame, no record of them, and the same outcome as by the long way."""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.execution.executor import Executor
from evmaot.execution.journal import Journal
from evmaot.execution.protocol import DELEGATION_PREFIX, Environment, FrameEnd, FrameStart, MessageResult
from tests.support.assembly import assemble, call, return_word
from tests.support.worlds import OTHER, SENDER, TARGET, World, executor

KINDS = ("CALL", "CALLCODE", "DELEGATECALL", "STATICCALL")
ENDS = {"returned": b"", "reverted": assemble(0, 0, "REVERT"), "halted": assemble("INVALID")}


class Deaf:
    """Watches, which makes the executor take the long way, and keeps nothing."""

    def entered(self, start: FrameStart, journal: Journal) -> None: ...

    def ended(self, end: FrameEnd, journal: Journal) -> None: ...


def outcome(world: World, watcher: Deaf | None) -> tuple[object, ...]:
    runner = Executor(executor().programs, watcher)
    result: MessageResult = runner.execute(world.message(), Environment(), world.state, world.fork)
    return (
        result.status, result.gas_left, result.output, result.refund, result.changes, result.warm_addresses,
        result.warm_slots, result.logs, result.failure, result.native_frames,
    )  # fmt: skip


def has(fork: str, mnemonic: str) -> bool:
    return FORKS[fork].opcode_gas[BY_MNEMONIC[mnemonic].value] is not None


def ended_after(calls: bytes, how: str) -> bytes:
    # What the call did is in return data and gas, and is followed by an end that keeps or undoes it.
    return calls + (assemble("POP", "GAS") + return_word() if how == "returned" else ENDS[how])


@pytest.mark.parametrize(
    ("fork", "kind", "how"),
    [
        (fork, kind, how)
        for fork in ("homestead", "spurious_dragon", "byzantium", "berlin", "osaka")
        for kind in KINDS
        for how in ENDS
        if has(fork, "STATICCALL") or (kind != "STATICCALL" and how != "reverted")
    ],
)
@pytest.mark.parametrize("value", [0, 7, 1000])
def test_the_short_way_and_the_long_way_agree(fork: str, kind: str, value: int, how: str) -> None:
    sent = value if kind in ("CALL", "CALLCODE") else 0
    outcomes = []
    for balance_before in (None, 0, 5):  # no account, an empty one, one with a balance
        for target in (OTHER, SENDER, TARGET if kind == "CALLCODE" else OTHER, 3):
            for watcher in (None, Deaf()):
                code = ended_after(call(kind, target, gas=1000, value=sent), how)
                # An inner frame that ends badly must undo what its codeless callee got.
                # It has a value of its own, which a DELEGATECALL shows and must not move again.
                world = World(fork)
                world.put(TARGET, balance=10, code=call("CALL", 0x7777, value=1) + return_word())
                world.put(0x7777, balance=100, code=code)
                if balance_before is not None:
                    world.put(OTHER, balance=balance_before)
                outcomes.append(outcome(world, watcher))
    assert outcomes[::2] == outcomes[1::2]


@pytest.mark.parametrize("points_to", [0x8888, 4])
def test_a_delegation_to_nothing_or_to_a_precompile_runs_nothing(points_to: int) -> None:
    designator = DELEGATION_PREFIX + points_to.to_bytes(20, "big")
    outcomes = [
        outcome(World("prague", codes={TARGET: call("CALL", OTHER, value=0) + return_word(), OTHER: designator}), who)
        for who in (None, Deaf())
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == (1).to_bytes(32, "big")


def test_return_data_of_an_earlier_call_is_gone_after_a_codeless_one() -> None:
    returns = assemble(5, 0, "MSTORE", 32, 0, "RETURN")
    code = call("CALL", OTHER) + call("CALL", 0x8888) + assemble("RETURNDATASIZE") + return_word()
    result = World(codes={TARGET: code, OTHER: returns}).run()
    assert int.from_bytes(result.output, "big") == 0
