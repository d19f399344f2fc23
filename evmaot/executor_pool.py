"""Jobs on somebody else's machines: a `concurrent.futures.Executor` in the place of the pool of worker processes.

Job: what the build asks of `evmaot.workers.WorkerPool`, done by any executor whose workers can import evmaot.
Invariants: there, too, a job runs in a process of its own with a deadline and a memory limit, so it costs at most
itself; a worker that would compile under another profile refuses, because its object would have another key; what ends
outside the job (a lost machine) is never remembered as the code's fault.  May import: `evmaot.workers`, errors.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

from evmaot.errors import CompilerBug, EvmaotError
from evmaot.workers import JobFailure, JobResult, WorkerLimits, WorkerPool


class JobPool(Protocol):
    """What the build needs of whatever runs its jobs."""

    @property
    def has_room(self) -> bool:
        """Whether `submit` takes another job."""

    @property
    def pending(self) -> int:
        """Jobs without a result that was handed out."""

    def submit(self, token: Any, argument: Any) -> None:
        """Queue a job."""

    def wait(self, timeout_seconds: float | None = None) -> list[JobResult]:
        """Results, at least one unless the time is over or nothing is pending."""

    def close(self) -> None:
        """Forget the jobs without a result."""


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """How a worker of the executor runs jobs; the same for all jobs of a build."""

    function: Callable[[Any], Any]
    preload: tuple[str, ...]
    limits: WorkerLimits
    profile: str
    """Digest of the profile that the objects are for."""
    profile_there: Callable[[], str] | None
    """Tells the digest of what this worker would compile; None where there is nothing to compare."""


class ExecutorPool:
    """An executor as a `JobPool`.  The executor stays its owner's to shut down."""

    def __init__(self, executor: Executor, task: RemoteTask, *, capacity: int) -> None:
        """`capacity`: jobs that are under way at a time, twice the executor's workers or so."""
        self._executor = executor
        self._task = task
        self._capacity = capacity
        self._tokens: dict[Future[Any], Any] = {}
        self._failure: EvmaotError | None = None

    def __enter__(self) -> ExecutorPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def has_room(self) -> bool:
        """Whether `submit` takes another job."""
        return len(self._tokens) < self._capacity

    @property
    def pending(self) -> int:
        """Jobs without a result that was handed out."""
        return len(self._tokens) + (self._failure is not None)

    def submit(self, token: Any, argument: Any) -> None:
        """Hand a job to the executor.  EvmaotError ``scheduler_lost`` where it takes none."""
        if not self.has_room:
            raise CompilerBug("a job was submitted to a pool that is full")
        try:
            future = self._executor.submit(run_limited, self._task, argument)
        except Exception as error:
            raise _lost(error) from error
        self._tokens[future] = token

    def wait(self, timeout_seconds: float | None = None) -> list[JobResult]:
        """Results that are there, at least one unless the time is over or nothing is pending.

        EvmaotError ``scheduler_lost``, ``scheduler_worker_failed`` or ``worker_profile_other``.
        """
        if self._failure is not None:
            raise self._failure
        done, _ = concurrent.futures.wait(self._tokens, timeout_seconds, return_when=concurrent.futures.FIRST_COMPLETED)
        results: list[JobResult] = []
        for future in done:
            token = self._tokens.pop(future)
            try:
                results.append(self._result(future, token))
            except EvmaotError as error:
                self._failure = error
        if self._failure is not None and not results:
            raise self._failure
        # What has a result is handed out before the failure is.
        return results

    def close(self) -> None:
        """Cancel what is not done.  Calling again does nothing."""
        for future in self._tokens:
            future.cancel()
        self._tokens.clear()

    def _result(self, future: Future[Any], token: Any) -> JobResult:
        try:
            value, failure, seconds = future.result(timeout=0)
        except concurrent.futures.CancelledError as error:
            raise _lost(error) from error
        except ModuleNotFoundError as error:
            hint = "install the same version of evmaot where the workers run"
            text = "a worker cannot import evmaot"
            raise EvmaotError("scheduler_worker_failed", text, cause=str(error), hint=hint) from error
        except EvmaotError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0][:400]
            return JobResult(token, None, _worker_lost(text), 0.0)
        return JobResult(token, value, failure, seconds)


def _lost(error: BaseException) -> EvmaotError:
    return EvmaotError(
        "scheduler_lost",
        "the scheduler takes no more jobs",
        cause=f"{type(error).__name__}: {error}"[:400],
        hint="check the scheduler and build again: what was compiled is stored",
    )


def _worker_lost(cause: str) -> JobFailure:
    return JobFailure(
        "worker_lost", "its worker was lost", cause, "build again: what was compiled is stored", is_repeatable=False
    )


# In a worker of the executor.

_thread = threading.local()


def run_limited(task: RemoteTask, argument: Any) -> tuple[Any, JobFailure | None, float]:
    """Run one job in a limited process beside this worker: value, failure, seconds.

    EvmaotError ``worker_profile_other`` where this machine has another compiler.
    """
    _check_profile(task)
    start = time.perf_counter()
    pool = _pool(task)
    pool.submit(None, argument)
    (result,) = pool.wait()
    return result.value, result.failure, time.perf_counter() - start


class _Own:
    """The pool of one thread; its process ends with the thread."""

    def __init__(self, task: RemoteTask) -> None:
        self.task = task
        self.pool = WorkerPool(task.function, workers=1, limits=task.limits, preload=task.preload)
        self.close = weakref.finalize(self, self.pool.close)


def _pool(task: RemoteTask) -> WorkerPool:
    """The pool of this thread for this task; the one of another task is closed first."""
    own: _Own | None = getattr(_thread, "own", None)
    if own is None or own.task != task:
        release()
        own = _thread.own = _Own(task)
    return own.pool


def release() -> None:
    """End the process of this thread's pool, if there is one."""
    own: _Own | None = getattr(_thread, "own", None)
    if own is not None:
        own.close()
        _thread.own = None


def _check_profile(task: RemoteTask) -> None:
    if task.profile_there is None:
        return
    found = task.profile_there()
    if found != task.profile:
        raise EvmaotError(
            "worker_profile_other",
            "a worker has another compiler than the one that publishes",
            context={"expected": task.profile, "found": found},
            hint="install the same version of evmaot, llvmlite included, where the workers run",
        )
