"""Who watches an executor is told of every message, at its start and at its end."""

from __future__ import annotations

from evmaot.abi.status import Status
from evmaot.execution.executor import Executor
from evmaot.execution.journal import Journal
from evmaot.execution.protocol import Environment, Failure, FrameEnd, FrameStart
from tests.support.assembly import assemble, call, store_bytes
from tests.support.worlds import GAS, OTHER, TARGET, World, executor


class Watcher:
    """Keeps what it was told, and the storage writes that stood at each end."""

    def __init__(self) -> None:
        self.told: list[FrameStart | FrameEnd] = []
        self.slots: list[int] = []

    def entered(self, start: FrameStart, journal: Journal) -> None:
        self.told.append(start)

    def ended(self, end: FrameEnd, journal: Journal) -> None:
        self.told.append(end)
        self.slots.append(sum(map(len, journal.changes().storage.values())))


def watched(world: World) -> Watcher:
    watcher = Watcher()
    Executor(executor().programs, watcher).execute(world.message(), Environment(), world.state, world.fork)
    return watcher


def test_calls_creates_and_precompiles_are_told_in_order() -> None:
    init_code = assemble(1, 2, "SSTORE")
    code = call("CALL", OTHER) + call("CALL", 4) + store_bytes(init_code) + assemble(len(init_code), 0, 0, "CREATE")
    watcher = watched(World(codes={TARGET: code, OTHER: assemble(1, 1, "SSTORE", "INVALID")}))
    starts = [told for told in watcher.told if isinstance(told, FrameStart)]
    assert [(start.depth, start.creates, start.precompile) for start in starts] == [
        (0, False, None), (1, False, None), (1, False, 4), (1, True, None),
    ]  # fmt: skip
    assert starts[0].code == code and starts[0].gas == GAS and starts[0].recipient == TARGET
    assert starts[3].code == init_code and starts[3].sender == TARGET
    ends = [told for told in watcher.told if isinstance(told, FrameEnd)]
    assert [(end.depth, end.status) for end in ends] == [
        (1, Status.INVALID_OPCODE), (1, Status.RETURN), (1, Status.STOP), (0, Status.STOP),
    ]  # fmt: skip
    # What the failed call stored is undone by the time that its end is told.
    assert watcher.slots == [0, 0, 1, 1]


def test_a_create_that_deploys_forbidden_code_is_told_as_a_failure() -> None:
    init_code = assemble(0xEF, 0, "MSTORE8", 1, 0, "RETURN")
    code = store_bytes(init_code) + assemble(len(init_code), 0, 0, "CREATE")
    ends = [told for told in watched(World(codes={TARGET: code})).told if isinstance(told, FrameEnd)]
    assert ends[0] == (1, Status.OUT_OF_GAS, Failure.CODE_PREFIX, 0, b"")


def test_a_message_to_an_account_without_code_is_told_too() -> None:
    told = watched(World()).told
    assert len(told) == 2 and isinstance(told[1], FrameEnd) and told[1].gas_left == GAS
