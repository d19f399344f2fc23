"""An executor uses its frames and records again: what any message leaves must not reach the next."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable

import pytest

from evmaot.abi.status import CallKind
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import HostError
from evmaot.evm.forks import Fork
from evmaot.execution.executor import Executor
from evmaot.execution.journal import Journal
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import (
    Environment,
    FrameEnd,
    FrameStart,
    Message,
    NotNative,
    PrecompileCall,
    PrecompileResult,
)
from evmaot.runtime.program import CompiledProgram
from tests.support.assembly import assemble, call, deploying, return_word, store_bytes
from tests.support.worlds import OTHER, TARGET, World, executor

CHILD, LEAF, REFUSED = 0xC41D, 0x1EAF, 0x4EF5
NO_PROGRAM = assemble(1, "POP", "STOP")


class Deaf:
    """Watches, which makes the executor take the long way, and keeps nothing."""

    def entered(self, start: FrameStart, journal: Journal) -> None: ...

    def ended(self, end: FrameEnd, journal: Journal) -> None: ...


class Programs:
    """The compiler of all tests, without a program for one code."""

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram | None:
        return None if code == NO_PROGRAM else executor().programs.program_for(code, code_hash, fork)


class Faulty(MemoryState):
    """A state that does something else where slot 0xBAD is read, or the identity precompile is called."""

    deed: Callable[[], object]

    def storage(self, address: int, key: int) -> int:
        if key == 0xBAD:
            self.deed()
        return super().storage(address, key)

    def precompile(self, call: PrecompileCall) -> PrecompileResult:
        if call.address == 4:
            self.deed()
        return super().precompile(call)


def seen() -> bytes:
    """Code that returns what a frame can see of those before it."""
    questions: list[bytes] = [
        assemble(name) for name in ("CALLDATASIZE", "RETURNDATASIZE", "CALLER", "CALLVALUE", "MSIZE", "ADDRESS")
    ]
    questions += [assemble(index, "TLOAD") for index in (0, 1)]
    questions += [assemble(64, "MLOAD"), assemble(1, "SLOAD"), assemble(OTHER, "BALANCE"), assemble("GAS")]
    code = b"".join([question + assemble(1024 + 32 * index, "MSTORE") for index, question in enumerate(questions)])
    return code + assemble(4096, 0, "RETURN")


DIRT = (
    store_bytes(b"\xab" * 96)
    + assemble(7, 1, "TSTORE", 9, 1, "SSTORE", 0, 2, "SSTORE", 5, 6, 96, 0, "LOG2", OTHER, "BALANCE", "POP")
)  # fmt: skip
"""Memory, transient and other storage, a refund, a log and warm addresses."""
OUTPUT = assemble(96, 0)


def inner(kind: str, *, value: int = 0) -> bytes:
    return call(kind, CHILD, value=value, input=(0, 64), output=(2048, 1536)) + assemble("POP")


ENDS = {
    "returns": assemble("RETURN"),
    "reverts": assemble("REVERT"),
    "halts": assemble("INVALID"),
}
CODES = {name: DIRT + OUTPUT + end for name, end in ENDS.items()} | {
    **{f"child {name}": inner("CALL", value=3) + DIRT + OUTPUT + ENDS["returns"] for name in ENDS},
    "static child": inner("STATICCALL") + seen(),
    "delegated child": inner("DELEGATECALL") + seen(),
    "delegated grandchild": inner("CALL") + seen(),
    "create": store_bytes(deploying(DIRT)) + assemble(len(deploying(DIRT)), 0, 1, "CREATE") + return_word(),
    "failing create": store_bytes(DIRT + OUTPUT + ENDS["reverts"]) + assemble(300, 0, 1, "CREATE") + return_word(),
    "selfdestruct": DIRT + assemble(OTHER, "SELFDESTRUCT"),
    "precompile": DIRT + call("CALL", 2, input=(0, 64), output=(0, 32)) + seen(),
    "large memory": assemble(1, 300_000, "MSTORE") + inner("CALL") + seen(),
    "see": seen(),
    "see in a child": inner("CALL", value=1) + seen(),
    "fault": DIRT + assemble(0xBAD, "SLOAD"),
    "fault in a child": DIRT + inner("CALL"),
    "fault in a precompile": DIRT + call("CALL", 4) + seen(),
    "no program": DIRT + call("CALL", REFUSED),
    "gas beyond the frame": seen(),
    "warm and transient": seen(),
    "static": seen(),
    "static write": DIRT,
    "code of a create": deploying(seen()),
}  # fmt: skip
FAULTS = ("fault", "fault in a child", "fault in a precompile")
RAISING = (*FAULTS, "no program", "gas beyond the frame")


class Interruption(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def raise_interruption() -> None:
    raise Interruption


def handle_a_signal() -> None:
    def handler(_number: int, _frame: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def run_another_executor() -> None:
    world, message = prepared("child returns", fork="osaka")
    result = Executor(Programs()).execute(message, Environment(), world.state, world.fork)
    assert result.succeeded and len(result.logs) == 2
    raise Interruption


DEEDS = {"raises": raise_interruption, "signal": handle_a_signal, "nested executor": run_another_executor}


def prepared(name: str, fork: str, deed: str = "raises") -> tuple[World, Message]:
    world = World(fork)
    state = Faulty(world.fork)
    state.accounts, state.deed = world.state.accounts, DEEDS[deed]
    world.state = state
    child = {"child reverts": DIRT + OUTPUT + ENDS["reverts"], "child halts": DIRT + OUTPUT + ENDS["halts"],
             "see in a child": seen(), "delegated child": DIRT + seen(), "large memory": seen(),
             "delegated grandchild": call("DELEGATECALL", LEAF, output=(0, 1536)) + assemble(4000, 0, "RETURN"),
             "fault in a child": DIRT + call("STATICCALL", LEAF) + assemble("STOP")}.get(
        name, DIRT + OUTPUT + ENDS["returns"])  # fmt: skip
    world.put(CHILD, code=child)
    world.put(LEAF, code=seen() if "grand" in name else assemble(1, 0, "MSTORE", 0xBAD, "SLOAD", "STOP"))
    world.put(REFUSED, code=NO_PROGRAM)
    world.put(OTHER, balance=77)
    state.storages[TARGET] = {1: 4, 2: 5}
    state.storages[CHILD] = {1: 6, 2: 7}
    if name == "code of a create":
        return world, world.message(kind=CallKind.CREATE, code=CODES[name], value=2)
    world.put(TARGET, balance=50, code=CODES[name])
    values: dict[str, object] = {"input": bytes(range(70)), "value": 11}
    if name == "gas beyond the frame":
        values["gas"] = 1 << 63
    if name == "warm and transient":
        values |= {"warm_addresses": (OTHER, CHILD), "warm_slots": ((TARGET, 1),), "transient": {TARGET: {1: 3}}}
    if name.startswith("static"):
        values |= {"is_static": not name.endswith("child"), "value": 0}
    if name == "see":
        values |= {"input": b"", "value": 0}
    return world, world.message(**values)


def outcome(runner: Executor, name: str, fork: str = "osaka", deed: str = "raises") -> tuple[object, ...]:
    world, message = prepared(name, fork, deed)
    try:
        result = runner.execute(message, Environment(number=5), world.state, world.fork)
    except (Interruption, NotNative, HostError) as error:
        return (type(error), getattr(error, "reference", None))
    return (
        result.status, result.gas_left, result.output, result.refund, result.changes, result.warm_addresses,
        result.warm_slots, result.logs, result.failure, result.native_frames,
    )  # fmt: skip


def new(watched: bool = False) -> Executor:
    return Executor(Programs(), Deaf() if watched else None)


EXPECTED: dict[str, tuple[object, ...]] = {}


def expected(name: str) -> tuple[object, ...]:
    """What an executor says that ran nothing before."""
    if name not in EXPECTED:
        EXPECTED[name] = outcome(new(), name)
    return EXPECTED[name]


def test_the_messages_do_what_they_are_called() -> None:
    """Else nothing below says anything."""
    for name in CODES:
        assert (len(expected(name)) == 2) is (name in RAISING), name
    assert expected("halts")[1] == 0 and expected("reverts")[2] == b"\xab" * 96
    logs = [expected(f"child {name}")[7] for name in ("returns", "halts")]
    assert [len(mine) for mine in logs if isinstance(mine, tuple)] == [2, 1]
    assert expected("see") != expected("warm and transient") != expected("static")


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("before", CODES)
def test_no_message_leaves_anything_for_the_next(before: str, watched: bool) -> None:
    runner = new(watched)
    for name in CODES:
        assert outcome(runner, before) == expected(before)
        assert outcome(runner, name) == expected(name), (before, name)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_callback_does_leaves_nothing(fault: str, deed: str) -> None:
    runner = new()
    for name in CODES:
        if name in FAULTS:
            continue
        assert outcome(runner, fault, deed=deed)[0] is Interruption
        assert outcome(runner, name) == expected(name), (fault, name)


def test_forks_in_turn_do_not_mix() -> None:
    runner, forks = new(), ("cancun", "osaka", "prague")
    for _ in range(2):
        for name in CODES:
            for fork in forks:
                assert outcome(runner, name, fork) == outcome(new(), name, fork)


def test_two_threads_with_an_executor_each_do_not_disturb_each_other() -> None:
    names = [name for name in CODES if name not in FAULTS]
    wanted = [expected(name) for name in names]
    wrong: list[str] = []

    def work() -> None:
        runner = new()
        for _ in range(10):
            wrong.extend(name for name, want in zip(names, wanted, strict=True) if outcome(runner, name) != want)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_after_a_fork_both_processes_go_on() -> None:
    runner = new()
    names = [name for name in CODES if name not in RAISING]
    wanted = [expected(name) for name in names]
    assert outcome(runner, "large memory") == expected("large memory")
    process = os.fork()
    if not process:
        os._exit(0 if [outcome(runner, name) for name in names] == wanted else 1)
    assert [outcome(runner, name) for name in names] == wanted
    assert os.waitpid(process, 0)[1] == 0


@pytest.mark.parametrize("name", ["returns", "fault"])
def test_an_idle_executor_holds_no_program(name: str) -> None:
    made: list[weakref.ref[CompiledProgram]] = []

    class Fresh:
        def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
            program = JitPrograms(CompileOptions(Tier.FAST)).program_for(code, code_hash, fork)
            made.append(weakref.ref(program))
            return program

    runner = Executor(Fresh())
    outcome(runner, name)
    gc.collect()
    assert made and all(program() is None for program in made)


def test_values_of_an_environment_are_not_those_of_the_last_one() -> None:
    code = b"".join(
        [assemble(name, 32 * index, "MSTORE") for index, name in enumerate(("NUMBER", "ORIGIN", "GASPRICE"))]
    ) + assemble(0, "BLOBHASH", 96, "MSTORE", 128, 0, "RETURN")
    world = World(codes={TARGET: code})
    for values in ((5, 6, 7, (8,)), (5, 9, 7, ()), (4, 9, 7, (1, 2)), (5, 6, 7, (8,))):
        number, origin, price, hashes = values
        environment = Environment(number=number, origin=origin, gas_price=price, blob_hashes=hashes)
        output = world.run(environment=environment).output
        words = [int.from_bytes(output[at : at + 32], "big") for at in range(0, 128, 32)]
        assert words == [number, origin, price, hashes[0] if hashes else 0]
