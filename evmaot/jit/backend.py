"""`JitBackend`: look-ups that never wait, and programs that are compiled behind them.

Job: the handle that programs use.  Invariants: `lookup` of a resident key reads one dictionary, counts, and takes no
lock; no method but those that say so waits for a compilation; a look-up ends in a decision and never in an exception.
May import: `evmaot.runtime`, errors, jit.*; never the compiler.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from types import TracebackType
from typing import Final

from evmaot.jit.core import Core, closed_error
from evmaot.jit.crew import CrewSettings
from evmaot.jit.jobs import AotRequest, CompilationOutcome, OutcomeFuture, OutcomeStatus, Request
from evmaot.jit.residency import Resident
from evmaot.runtime.config import RuntimeConfig, with_environment
from evmaot.runtime.events import CompilationKind
from evmaot.runtime.lookup import Compiled, Interpret, InterpretReason, LookupDecision, LookupRequest
from evmaot.runtime.program import CompiledProgram
from evmaot.runtime.statistics import RuntimeStatsSnapshot

_DISABLED: Final = Interpret(InterpretReason.DISABLED)
_INELIGIBLE: Final = Interpret(InterpretReason.INELIGIBLE)
_NOT_READY: Final = Interpret(InterpretReason.NOT_READY)
_JIT_FAILED: Final = Interpret(InterpretReason.JIT_FAILED)

BatchFuture = Future[tuple[CompilationOutcome, ...]]


class JitBackend:
    """Look-ups with background compilation.  A context manager; all holders of one share everything.

    It ends with `close`, with the last reference to it, or with the interpreter.  After `fork` the child has a
    disabled one with what was resident; futures of before stay the parent's, and never end in the child.
    """

    def __init__(self, config: RuntimeConfig | None = None, *, _crew: CrewSettings | None = None) -> None:
        """Preload the store and start, if the configuration says enabled or blocking; else wait for `set_enabled`.

        ``EVMAOT_*`` variables override the configuration.  Raises UsageError (``bad_variable``, ``bad_tuning``,
        ``bad_gas_params``) and, where it starts, StoreError.
        """
        self.config = with_environment(config or RuntimeConfig())
        self._core = core = Core(self.config, _crew)
        self._is_blocking = self.config.blocking
        self._limit_bytes = core.limit_bytes
        self._capacity = self.config.tuning.channel_capacity
        # What the hot path uses, one attribute away.
        self._count_hit = core.counters.hits.add
        self._hit_events = core.hit_events
        self._finalizer = weakref.finalize(self, core.request_stop)
        # At exit `core` closes properly; a finalizer would only ask for it.
        self._finalizer.atexit = False
        if self.config.starts_enabled:
            core.start()

    @classmethod
    def disabled(cls) -> JitBackend:
        """A backend that does nothing: no thread, no process; it can be enabled later."""
        return cls(RuntimeConfig())

    def __enter__(self) -> JitBackend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Look-ups.

    def lookup(self, request: LookupRequest) -> LookupDecision:
        """What to do with a code now.  Never waits (unless the configuration says blocking), never raises."""
        core = self._core
        if not core.enabled:
            core.counters.disabled.add()
            return _DISABLED
        if self._is_blocking:
            return self.lookup_blocking(request)
        code = request.code
        if not code or code[0] == 0xEF or len(code) > self._limit_bytes:
            core.counters.ineligible.add()
            return _INELIGIBLE
        key = request.key
        pair = (key.code_hash, key.fork)
        resident = core.map.entries.get(pair)
        if resident is None:
            return self._look_further(pair, code)
        self._count_hit()
        resident.touched = True
        events = self._hit_events
        if len(events) < self._capacity:
            events.append(pair)
            if core.is_dozing:
                self._rouse()
        else:
            core.counters.events_dropped.add()
        return resident.decision

    def _look_further(self, pair: tuple[bytes, str], code: bytes) -> LookupDecision:
        """A key that no look-up found yet."""
        core = self._core
        resident = self._resolve(pair, code)
        if resident is not None:
            core.counters.hits.add()
            resident.touched = True
            return resident.decision
        core.counters.misses.add()
        if len(core.miss_events) < self._capacity:
            core.miss_events.append((pair, code))
            if core.is_dozing:
                self._rouse()
        else:
            core.counters.events_dropped.add()
        return _JIT_FAILED if self._has_failed(pair) else _NOT_READY

    def _resolve(self, pair: tuple[bytes, str], code: bytes | None) -> Resident | None:
        return self._core.map.resolve(pair[0], pair[1], code)

    def _has_failed(self, pair: tuple[bytes, str]) -> bool:
        core = self._core
        failures = core.negative.failures
        if not failures or (pair[0], core.map.canonical(pair[1])) not in failures:
            return False
        core.counters.negative_hits.add()
        return True

    def _rouse(self) -> None:
        self._core.is_dozing = False
        self._core.wake()

    def get_compiled(self, code_hash: bytes, fork: str) -> CompiledProgram | None:
        """The resident program of a key, if any: no event, no statistics; also while disabled."""
        resident = self._core.map.peek(code_hash, fork)
        return None if resident is None else resident.decision.program

    def get_compiled_tracked(self, code_hash: bytes, fork: str) -> CompiledProgram | None:
        """The same; hits and misses are counted."""
        resident = self._core.map.peek(code_hash, fork)
        if resident is None:
            self._core.counters.misses.add()
            return None
        self._core.counters.hits.add()
        resident.touched = True
        return resident.decision.program

    def lookup_blocking(self, request: LookupRequest) -> LookupDecision:
        """What to do with a code; if there is no program it is compiled, and this waits for it."""
        core, code, key = self._core, request.code, request.key
        if not core.enabled:
            core.counters.disabled.add()
            return _DISABLED
        if not code or code[0] == 0xEF or len(code) > self._limit_bytes or core.map.canonical(key.fork) is None:
            core.counters.ineligible.add()
            return _INELIGIBLE
        resident = core.map.peek(key.code_hash, key.fork, code)
        if resident is not None:
            core.counters.hits.add()
            resident.touched = True
            return resident.decision
        core.counters.misses.add()
        if core.is_scheduler_thread():
            # A callback of a future: nobody would be left to do what it waits for.
            return _NOT_READY
        outcome = self._submit_one(CompilationKind.JIT, key.code_hash, key.fork, code).result()
        if outcome.program is not None:
            return Compiled(outcome.program)
        return _INELIGIBLE if outcome.status is OutcomeStatus.INELIGIBLE else _JIT_FAILED

    # Requests.

    def compile_jit(self, request: LookupRequest) -> OutcomeFuture:
        """Have a code compiled, hot or not.  Waits only for room in the queue.

        The future's callbacks must not wait for this backend.
        """
        return self._submit_one(CompilationKind.JIT, request.key.code_hash, request.key.fork, request.code)

    def compile_jit_sync(self, request: LookupRequest) -> CompilationOutcome:
        """The same, and wait for the outcome.  Raises EvmaotError ``backend_closed`` where the backend is gone."""
        outcome = self.compile_jit(request).result()
        if outcome.status is OutcomeStatus.CLOSED:
            raise closed_error()
        return outcome

    def prepare_aot(self, request: AotRequest) -> OutcomeFuture:
        """Compile a code for the store, publish it, and load it from there.

        Without a configured store, a temporary one keeps it as long as the process lives.
        """
        return self._submit_one(CompilationKind.AOT, request.code_hash, request.fork, request.code)

    def prepare_aot_batch(self, requests: Iterable[AotRequest]) -> BatchFuture:
        """Prepare many codes, which share libraries; the future has an outcome for each, in order."""
        made = [_request(CompilationKind.AOT, one.code_hash, one.fork, one.code) for one in requests]
        batch = _gathered([request.future for request in made if request.future is not None])
        self._core.submit(made)
        return batch

    def _submit_one(self, kind: CompilationKind, code_hash: bytes, fork: str, code: bytes) -> OutcomeFuture:
        request = _request(kind, code_hash, fork, code)
        self._core.submit([request])
        assert request.future is not None
        return request.future

    # Clearing.

    def clear_resident(self) -> None:
        """Let go of all programs; callers' stay valid.  What was begun before is discarded, failures are forgotten."""
        self._core.clear(resident=True)

    def clear_persisted(self) -> None:
        """Remove every artifact of the store.  What was begun before is discarded.  Raises StoreError, BusyError."""
        self._core.clear(resident=False)
        self._core.clear_store()

    def clear_all(self) -> None:
        """Both."""
        self._core.clear(resident=True)
        self._core.clear_store()

    # Control.

    @property
    def enabled(self) -> bool:
        """Whether look-ups find programs."""
        return self._core.enabled

    def set_enabled(self, flag: bool) -> None:
        """Switch look-ups and compilation on or off; what is being compiled is finished.

        The first time starts the backend, and raises what `JitBackend` raises; then it stays disabled, and can be
        tried again.  Raises EvmaotError ``backend_closed``.
        """
        if flag:
            self._core.start()
        else:
            self._core.enabled = False

    def pause(self) -> None:
        """Stop all compilation at once, running workers included, until as many `resume`.  Never waits."""
        self._core.counters.pause_requests.add()
        self._core.pause(1)

    def resume(self) -> None:
        """Undo one `pause`."""
        self._core.counters.resume_requests.add()
        self._core.pause(-1)

    @property
    def jit_off(self) -> str | None:
        """Why nothing can be compiled, None where it can or before the start.

        ``llvmlite_missing``, ``no_workers``, ``no_interpreter``, ``unsupported_host`` or ``worker_start_failed``.
        """
        core = self._core
        return core.jit_off or (core.scheduler.crew.off if core.scheduler is not None else None)

    @property
    def worker_process_ids(self) -> list[int]:
        """Of the workers that exist now."""
        scheduler = self._core.scheduler
        return [] if scheduler is None else scheduler.crew.process_ids

    def stats(self) -> RuntimeStatsSnapshot:
        """Numbers as of now."""
        return self._core.stats()

    def close(self, timeout: float | None = None) -> None:
        """Stop within `timeout` seconds (`shutdown_timeout` by default) and leave no thread or process.

        Look-ups say DISABLED from then on.  Calling again does nothing.
        """
        self._core.close(timeout)
        self._finalizer.detach()


def _request(kind: CompilationKind, code_hash: bytes, fork: str, code: bytes) -> Request:
    future: OutcomeFuture = Future()
    # Nothing takes a request back: `cancel` says so.
    future.set_running_or_notify_cancel()
    return Request(kind, code_hash, fork, code, future)


def _gathered(futures: Sequence[OutcomeFuture]) -> BatchFuture:
    """A future of the results of others."""
    batch: BatchFuture = Future()
    batch.set_running_or_notify_cancel()
    missing = set(range(len(futures)))

    def ended(number: int, _future: OutcomeFuture) -> None:
        missing.discard(number)
        if not missing:
            # Two may be the last at once, where a backend is closed in the middle of a call.
            with contextlib.suppress(InvalidStateError):
                batch.set_result(tuple(future.result() for future in futures))

    if not futures:
        batch.set_result(())
    callbacks: list[Callable[[OutcomeFuture], None]] = [partial(ended, number) for number in range(len(futures))]
    for future, callback in zip(futures, callbacks, strict=True):
        future.add_done_callback(callback)
    return batch
