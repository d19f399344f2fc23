"""The code that a constructor returns: for inputs that have nothing but the init code.

Job: run init code without arguments, and say what it deploys.  Invariants: nothing of an input runs in this process,
but in a worker with limits; each runs in two worlds that differ in all that init code can ask for (chain, block,
sender, its own address), and what differs in the results is left open as a hole, for each deployment has its own
there.  Which bytes are holes decides what a template serves, never whether it is right.  May import:
`evmaot.execution`, `evmaot.workers`, `evmaot.codegen`, `evmaot.inputs`, `evmaot.evm`, `evmaot.abi`, errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Final

from evmaot.abi.status import CallKind, Status
from evmaot.codegen.frontend.decode import decode
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import EvmaotError
from evmaot.evm.forks import FORKS
from evmaot.evm.template import masked_code
from evmaot.execution.executor import Executor
from evmaot.execution.hashing import create_address
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import Account, Environment, Message
from evmaot.inputs.context import ConstructorFailed, Deployed
from evmaot.inputs.source import Hole
from evmaot.workers import WorkerLimits, WorkerPool

GAS: Final = 30_000_000
"""What a transaction that deploys may have, about."""
_WEI: Final = 10**24
_NONCE: Final = 1
_RESIDENT_PROGRAMS: Final = 64
"""Compiled init codes that a worker keeps: the next constructor has another."""
_SMALL_GAP: Final = 4
"""Bytes of one word of data that are the same by chance."""


@dataclass(frozen=True, slots=True)
class ConstructorJob:
    """One init code to run."""

    init_code: bytes
    fork: str


@dataclass(frozen=True, slots=True)
class _World:
    sender: int
    block_hash: int
    environment: Environment


def _world(salt: int) -> _World:
    """A world no value of which is that of another: what depends on one of them differs in every byte."""

    def value(size_bytes: int, number: int) -> int:
        return int.from_bytes(bytes([(salt + number) % 256]) * size_bytes, "big")

    sender = value(20, 1)
    environment = Environment(
        origin=sender,
        gas_price=value(4, 2),
        coinbase=value(20, 3),
        number=value(4, 4),
        timestamp=value(4, 5),
        gas_limit=value(4, 6),
        prevrandao=value(32, 7),
        chain_id=value(4, 8),
        base_fee=value(4, 9),
        blob_base_fee=value(4, 10),
    )
    return _World(sender, value(32, 11), environment)


_WORLDS: Final = (_world(0x20), _world(0x50))


def run_constructor(job: ConstructorJob) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The code that is deployed, with zeros in its holes, and the holes.  Raises EvmaotError ``constructor_failed``."""
    one = _deployed(job, _WORLDS[0])
    try:
        other = _deployed(job, _WORLDS[1])
    except EvmaotError:
        # It does not like that world; what it deployed in the first is right for the like of that.
        other = one
    holes = tuple(_holes(one, other)) if len(one) == len(other) else ()
    return masked_code(one, holes), holes


@cache
def _executor() -> Executor:
    # Of the process: each reserves address space, of which the worker's memory limit leaves room for few.
    return Executor(JitPrograms(CompileOptions(Tier.FAST), resident=_RESIDENT_PROGRAMS))


def _deployed(job: ConstructorJob, world: _World) -> bytes:
    fork = FORKS[job.fork]
    address = create_address(world.sender, _NONCE)
    state = MemoryState(fork, {world.sender: Account(_NONCE + 1, _WEI)}, block_hash=lambda _number: world.block_hash)
    message = Message(CallKind.CREATE, world.sender, address, GAS, code=job.init_code)
    result = _executor().execute(message, world.environment, state, fork)
    if not result.succeeded:
        what = "it reverted" if result.status is Status.REVERT else f"it ended with {result.status.name}"
        if result.failure is not None:
            what = f"it failed: {result.failure.value}"
        raise EvmaotError("constructor_failed", f"{what} under {fork.name}")
    account = result.changes.accounts.get(address)
    if account is None or not account.code or address in result.changes.destroyed:
        raise EvmaotError("constructor_failed", f"it deployed no code under {fork.name}")
    return account.code


def _holes(one: bytes, other: bytes) -> Iterator[tuple[int, int]]:
    """Where two deployments differ: whole operands of PUSH, and runs of bytes in data."""
    differing = [position for position, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    operand_of: dict[int, tuple[int, int]] = {}
    # Without the bytes that differ: in data they are no instructions.
    for instruction in decode(masked_code(one, [(position, 1) for position in differing])):
        width = instruction.row.immediate_size if instruction.row else 0
        start, end = instruction.pc + 1, min(instruction.pc + 1 + width, len(one))
        for position in range(start, end):
            operand_of[position] = (start, end)
    spans: list[tuple[int, int]] = []
    for position in differing:
        start, end = operand_of.get(position, (position, position + 1))
        if spans and start <= spans[-1][1] + (0 if position in operand_of else _SMALL_GAP):
            start, end = spans[-1][0], max(end, spans[-1][1])
            spans.pop()
        spans.append((start, end))
    return ((start, end - start) for start, end in spans)


class Constructors:
    """Runs constructors in a worker process, which is started when the first is to be run; a context manager."""

    def __init__(self, fork: str, limits: WorkerLimits) -> None:
        self._fork = fork
        self._limits = limits
        self._stack = ExitStack()
        self._pool: WorkerPool | None = None

    def __enter__(self) -> Constructors:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def __call__(self, init_code: bytes) -> Deployed:
        """What it deploys.  Raises ConstructorFailed."""
        if self._pool is None:
            preload = ("evmaot.constructors", "evmaot.codegen.driver")
            pool = WorkerPool(run_constructor, workers=1, limits=self._limits, preload=preload)
            self._pool = self._stack.enter_context(pool)
        self._pool.submit(None, ConstructorJob(init_code, self._fork))
        (result,) = self._pool.wait()
        if result.failure is not None:
            raise ConstructorFailed(result.failure.message, result.failure.cause)
        code, holes = result.value
        return Deployed(code, tuple(Hole(offset, length, "immutable") for offset, length in holes))
