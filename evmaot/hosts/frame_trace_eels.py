"""EELS's side of frame traces, and a case's first differing frame.

Job: `trace_case` runs a state test's transaction natively, recording each message, then on EELS's interpreter,
comparing each of its messages with what was recorded, until one differs.  Invariant: EELS's modules are as they
were afterwards.  May import: hosts.*, `evmaot.execution`, `evmaot.evm`; EELS.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from evmaot.errors import EvmaotError
from evmaot.execution.protocol import ProgramSource
from evmaot.hosts import eels
from evmaot.hosts.frame_trace import Comparison, FrameDifference, FrameEvent, NativeRecorder, start_values
from evmaot.hosts.state_test_eels import EelsFork, EelsRunner, judge
from evmaot.hosts.state_tests import CaseKey, StateTest, fork_of_test


@dataclass(frozen=True, slots=True)
class CaseTrace:
    """What comparing a case's frames found."""

    test: str
    fork_name: str
    index: int
    mode: str
    """Which programs ran."""
    frames: int
    """Frames that were compared."""
    is_complete: bool
    """False: the transaction has more frames than are recorded."""
    difference: FrameDifference | None
    native_problem: str
    """What the native run differs in from what the test expects; empty if in nothing."""
    interpreter_problem: str
    """The same of EELS's interpreter, empty as well where it was stopped at the first difference."""


class _Stop(BaseException):
    """Ends EELS's run at the first difference; nothing of EELS may catch it."""


def trace_case(test: StateTest, key: CaseKey, programs: ProgramSource, mode: str) -> CaseTrace:
    """Compare a case's frames.  LookupError for a fork that EELS lacks, UsageError where EELS runs natively already."""
    fork = fork_of_test(key.fork_name)
    runner = EelsRunner()
    found = runner.fork(fork) if fork is not None else None
    if fork is None or found is None:
        raise LookupError(f"EELS has no fork with the rules of {key.fork_name}")
    entry = test.content["post"][key.fork_name][key.index]
    clears_empty = fork.parameters.empty_accounts_are_cleared
    recorder = NativeRecorder(clears_empty=clears_empty)
    native_problem = _run_natively(runner, found, test, key, programs, recorder)
    comparison = Comparison(recorder.trace)
    seen: list[FrameDifference] = []

    def compare(event: FrameEvent | None) -> None:
        difference = comparison.next(event)
        if difference is not None:
            seen.append(difference)
            raise _Stop

    interpreter_problem = ""
    try:
        with watched(found, compare, clears_empty=clears_empty):
            interpreter_problem = judge(entry, runner.observe(test, key))
        compare(None)
    except _Stop:
        pass
    return CaseTrace(
        test.id, key.fork_name, key.index, mode, comparison.frames, recorder.trace.is_complete,
        seen[0] if seen else None, native_problem, interpreter_problem,
    )  # fmt: skip


def _run_natively(
    runner: EelsRunner, fork: EelsFork, test: StateTest, key: CaseKey, programs: ProgramSource, recorder: NativeRecorder
) -> str:
    try:
        package = fork.vm.__name__.split(".")[-2]
        with eels.native(programs, forks=[package], strict=True, observer=recorder):
            observed = runner.observe(test, key)
    except EvmaotError as error:
        recorder.trace.failure = f"{type(error).__name__}: {error}"
        return recorder.trace.failure
    return judge(test.content["post"][key.fork_name][key.index], observed)


@contextmanager
def watched(fork: EelsFork, tell: Callable[[FrameEvent], None], *, clears_empty: bool) -> Iterator[None]:
    """Tell of every message that the fork's interpreter runs."""
    interpreter: Any = importlib.import_module(f"{fork.vm.__name__}.interpreter")
    process_message, process_create = interpreter.process_message, interpreter.process_create_message
    recorder = _Recorder(interpreter, clears_empty=clears_empty)

    def message(message: Any) -> Any:
        if not message.target:
            return process_message(message)  # the init code of the create that is told already
        tell(recorder.start(message, creates=False))
        evm = process_message(message)
        tell(recorder.end(message, evm))
        return evm

    def create(message: Any) -> Any:
        tell(recorder.start(message, creates=True))
        evm = process_create(message)
        tell(recorder.end(message, evm))
        return evm

    interpreter.process_message, interpreter.process_create_message = message, create
    try:
        yield
    finally:
        interpreter.process_message, interpreter.process_create_message = process_message, process_create


class _Recorder:
    """Turns EELS's messages and frames into events."""

    def __init__(self, interpreter: Any, *, clears_empty: bool) -> None:
        self._precompiles = interpreter.PRE_COMPILED_CONTRACTS
        self._revert = getattr(interpreter, "Revert", ())
        self._clears_empty = clears_empty
        self._accounts: dict[Any, Any] = {}
        self._storages: dict[Any, dict[Any, Any]] = {}
        self._warm: tuple[frozenset[Any], frozenset[Any]] = (frozenset(), frozenset())

    def start(self, message: Any, *, creates: bool) -> FrameEvent:
        """A message as it starts."""
        if not int(message.depth):
            self._remember(message)
        precompile = None
        if not creates and message.code_address in self._precompiles and not getattr(
            message, "disable_precompiles", False
        ):  # fmt: skip
            precompile = _number(message.code_address)
        values = start_values(
            creates=creates, sender=_number(message.caller), recipient=_number(message.current_target),
            code=bytes(message.code) if precompile is None else b"", precompile=precompile, gas=int(message.gas),
            value=int(message.value), input=bytes(message.data), is_static=getattr(message, "is_static", False),
        )  # fmt: skip
        warm = _warm_of(message)
        return FrameEvent(True, int(message.depth), {**values, **self._world(message, *warm)})

    def end(self, message: Any, evm: Any) -> FrameEvent:
        """A message as it ends."""
        error = evm.error
        status = "success" if not error else "revert" if isinstance(error, self._revert) else "halt"
        values: dict[str, Any] = {
            "status": status,
            "gas left": int(evm.gas_left),
            # Frontier keeps the output of a frame that halts; nobody can see it.
            "output": b"" if status == "halt" else bytes(evm.output),
        }
        if not error:
            values["refund"] = int(evm.refund_counter)
            values["logs"] = tuple(
                (_number(log.address), tuple(_number(topic) for topic in log.topics), bytes(log.data))
                for log in evm.logs
            )
            values["destroyed"] = frozenset(map(_number, evm.accounts_to_delete)) - _destroyed_before(message)
            warm = _warm_of(evm)
            values.update(self._world(message, *warm))
        return FrameEvent(False, int(message.depth), values, type(error).__name__ if error else "success")

    def _remember(self, message: Any) -> None:
        """What the transaction's message finds."""
        state = message.block_env.state
        self._accounts = dict(state._main_trie._data)
        self._storages = {address: dict(trie._data) for address, trie in state._storage_tries.items()}
        addresses, slots = _warm_of(message)
        self._warm = frozenset(addresses), frozenset(slots)

    def _world(self, message: Any, warm_addresses: Any, warm_slots: Any) -> dict[str, Any]:
        state = message.block_env.state
        tries = getattr(getattr(message.tx_env, "transient_storage", None), "_tries", {})
        return {
            "accounts": self._changed_accounts(state._main_trie._data),
            "storage": self._changed_storage(state._storage_tries),
            "transient storage": {
                _number(address): {_number(key): int(value) for key, value in trie._data.items()}
                for address, trie in tries.items()
                if trie._data
            },
            "warm addresses": frozenset(map(_number, set(warm_addresses) - self._warm[0])),
            "warm slots": frozenset(
                (_number(address), _number(key)) for address, key in set(warm_slots) - self._warm[1]
            ),
        }

    def _changed_accounts(self, now: dict[Any, Any]) -> dict[int, Any]:
        before = self._accounts
        changed = {}
        for address in {*before, *now}:
            old, new = before.get(address), now.get(address)
            if old is not new and self._account(old) != self._account(new):
                changed[_number(address)] = self._account(new)
        return changed

    def _account(self, account: Any) -> Any:
        if account is None:
            return None
        plain = int(account.nonce), int(account.balance), bytes(account.code)
        return None if self._clears_empty and plain == (0, 0, b"") else plain

    def _changed_storage(self, tries: Any) -> dict[int, dict[int, int]]:
        changed = {}
        for address in {*self._storages, *tries}:
            before = self._storages.get(address, {})
            now = tries[address]._data if address in tries else {}
            slots = {
                _number(key): int(now.get(key, 0)) for key in {*before, *now} if before.get(key, 0) != now.get(key, 0)
            }
            if slots:
                changed[_number(address)] = slots
        return changed


def _destroyed_before(message: Any) -> frozenset[int]:
    """Accounts that the frames around a message had destroyed before it."""
    found: set[Any] = set()
    parent = message.parent_evm
    while parent is not None:
        found |= parent.accounts_to_delete
        parent = parent.message.parent_evm
    return frozenset(map(_number, found))


def _warm_of(owner: Any) -> tuple[Any, Any]:
    """The warm sets of a message or a frame; empty before EIP-2929."""
    return getattr(owner, "accessed_addresses", ()), getattr(owner, "accessed_storage_keys", ())


def _number(data: Any) -> int:
    return int.from_bytes(data, "big")
