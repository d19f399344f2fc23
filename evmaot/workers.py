"""Worker processes: compilations that may hang, crash or eat memory, each at its own cost only.

Job: run a function on many arguments in a bounded number of processes, one job each at a time, with a deadline and an
address-space limit per job.  Processes, because LLVM holds one lock for all threads, and because nothing else
contains a crash.  Invariants: every job ends in exactly one result or the pool is closed; a process that dies, hangs
or runs out of memory costs the job it had and is replaced; parent and workers never wait for each other without a
limit; a worker ends with the thread that started it.  A worker is a fresh interpreter (not a fork, and it does not
import `__main__`), so a pool is safe in programs with threads.  A pool belongs to one thread, but for `kill`.
May import: `evmaot.worker_handle`, `evmaot.worker_process`, errors.
"""

from __future__ import annotations

import contextlib
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from evmaot.errors import CompilerBug, EvmaotError
from evmaot.worker_handle import Job, WorkerHandle, ending, spawn
from evmaot.worker_process import (
    MAX_CAUSE_CHARACTERS,
    JobFailure,
    WorkerLimits,
    memory_failure,
    timeout_failure,
)

_MAX_START_FAILURES: Final = 3
_MAX_ATTEMPTS: Final = 3
_LONGEST_BEGIN_SECONDS: Final = 30.0
"""A worker that has not even taken its job by then is stopped, or starved: another one gets it."""
_LONGEST_SELECT_SECONDS: Final = 3600.0
"""The kernel takes no more than some weeks."""
_MEMORY_WORDS: Final = ("out of memory", "bad_alloc", "cannot allocate memory", "memoryerror")
"""What LLVM, libstdc++ and the interpreter say before they abort for want of memory."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one job."""

    token: Any
    """As given to `submit`."""
    value: Any
    failure: JobFailure | None
    seconds: float
    """Wall time in the worker."""


@dataclass(slots=True)
class PoolStatistics:
    """Counts since the pool was made."""

    spawns: int = 0
    restarts: int = 0
    timeouts: int = 0
    crashes: int = 0
    memory_kills: int = 0


class WorkerPool:
    """A bounded set of workers for one function; a context manager that leaves no process behind.

    The function must be importable by its name, and it, its arguments and its values picklable.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        workers: int,
        limits: WorkerLimits,
        preload: Sequence[str] = (),
        queue_capacity: int | None = None,
        recycle_after: int = 1000,
        start_timeout_seconds: float = 60.0,
    ) -> None:
        """`preload` names modules that a worker imports before its first job and outside its limits.

        A worker is replaced after `recycle_after` jobs.
        """
        if workers < 1:
            raise CompilerBug("a pool has at least one worker")
        self.limits = limits
        self.statistics = PoolStatistics()
        self._hello = pickle.dumps((pickle.dumps(function), tuple(preload), limits))
        self._worker_limit = workers
        self._capacity = max(2 * workers, 2) if queue_capacity is None else queue_capacity
        self._recycle_after = recycle_after
        self._start_timeout_seconds = start_timeout_seconds
        self._start_failures = 0
        self._workers: list[WorkerHandle] = []
        self._queue: deque[Job] = deque()
        self._results: list[JobResult] = []
        self._selector = selectors.DefaultSelector()
        self._closed = False
        self._watching = False
        self._paused_at: float | None = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def has_room(self) -> bool:
        """Whether `submit` takes another job."""
        return len(self._queue) < self._capacity

    @property
    def pending(self) -> int:
        """Jobs that were submitted and have no result yet."""
        return len(self._queue) + sum(worker.job is not None for worker in self._workers) + len(self._results)

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that exist now."""
        return [worker.process.pid for worker in self._workers]

    @property
    def free_workers(self) -> int:
        """Jobs that would not have to wait for another job to end."""
        return self._worker_limit - sum(worker.job is not None for worker in self._workers) - len(self._queue)

    def submit(self, token: Any, argument: Any, timeout_seconds: float | None = None) -> None:
        """Queue a job, with less time than the pool's limit if given.

        CompilerBug where there is no room: ask `has_room` first.
        """
        if self._closed or not self.has_room:
            raise CompilerBug("a job was submitted to a pool that is closed or full")
        seconds = self.limits.timeout_seconds if timeout_seconds is None else timeout_seconds
        self._queue.append(Job(token, pickle.dumps(argument), replace(self.limits, timeout_seconds=seconds)))
        self._dispatch()

    def start_workers(self, count: int) -> None:
        """Have that many workers (within the limit) before there are jobs for them."""
        while not self._closed and len(self._workers) < min(count, self._worker_limit):
            self._start()

    def watch(self, descriptor: int) -> None:
        """From now on `wait` ends as well when this descriptor is readable, and waits also where nothing is pending."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)
        self._watching = True

    def pause(self) -> None:
        """Stop the workers where they are (SIGSTOP), and start nothing; deadlines stand still."""
        if self._paused_at is None and not self._closed:
            self._paused_at = time.monotonic()
            for worker in self._workers:
                if worker.born:
                    worker.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        if self._paused_at is not None and not self._closed:
            away, self._paused_at = time.monotonic() - self._paused_at, None
            for worker in self._workers:
                worker.started += away
                worker.deadline += away
                worker.send_signal(signal.SIGCONT)
            self._dispatch()

    def abandon(self) -> None:
        """Let go of the workers without touching them: in a child of `fork` they are the parent's."""
        self._closed = True
        self._queue.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.abandon()
        # The kernel's list behind it is the parent's as well: it is closed, and nothing is taken out of it.
        self._selector.close()

    def wait(self, timeout_seconds: float | None = None) -> list[JobResult]:
        """Results that are there, at least one unless the time is over or nothing is pending.

        Raises EvmaotError ``worker_start_failed`` where workers can't be started.
        """
        limit = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        woken = False
        while not (self._results or woken) and (
            self._watching or self._queue or any(not worker.is_idle for worker in self._workers)
        ):
            self._dispatch()
            for key, _ in self._selector.select(self._pause(limit)):
                if key.data is None:
                    woken = True
                elif key.data in self._workers:
                    self._attend(key.data, has_ended=key.fd == key.data.pidfd)
            self._enforce()
            if limit is not None and time.monotonic() >= limit:
                break
            if not (self._watching or self._queue or any(worker.job for worker in self._workers)):
                break  # only workers that are starting are left
        results, self._results = self._results, []
        self._dispatch()
        return results

    def close(self) -> None:
        """Kill the workers; jobs without a result are forgotten.  Calling again does nothing."""
        self._closed = True
        self._queue.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
        for worker in workers:
            worker.end()
            worker.stderr.close()
        self._selector.close()

    def kill(self) -> None:
        """Kill the workers that exist now; may be called from any thread."""
        for worker in list(self._workers):
            worker.send_signal(signal.SIGKILL)

    # The parent's side.

    def _dispatch(self) -> None:
        if self._closed or self._paused_at is not None:
            return
        while self._queue:
            # One that is starting gets its first job at once: it finds it as soon as it listens.
            free = next((worker for worker in self._workers if worker.job is None), None)
            if free is None:
                if len(self._workers) >= self._worker_limit:
                    return
                free = self._start()
            job = self._queue.popleft()
            self._clock(free, job)
            if not self._send(free, job.message):
                free.job = None
                self._died_before(free, job)

    def _clock(self, worker: WorkerHandle, job: Job) -> None:
        """Give a job to a worker; its time begins when the worker is ready."""
        worker.job = job
        worker.begun = False
        if worker.ready:
            worker.started = time.monotonic()
            worker.deadline = worker.started + min(job.limits.timeout_seconds, _LONGEST_BEGIN_SECONDS)

    def _died_before(self, worker: WorkerHandle, job: Job) -> None:
        """A worker was gone before it had the job: another one gets it, within reason."""
        was_ready = worker.ready
        code, words = self._bury(worker)
        self._queue.appendleft(job)
        if not was_ready:
            self._start_failed(ending(code), words)

    def _start_failed(self, how: str, words: str) -> None:
        self._start_failures += 1
        if self._start_failures >= _MAX_START_FAILURES:
            raise EvmaotError(
                "worker_start_failed",
                f"worker processes end before they are ready ({how})",
                cause=words[-MAX_CAUSE_CHARACTERS:] or None,
            )

    def _start(self) -> WorkerHandle:
        if not sys.executable:
            raise EvmaotError(
                "worker_start_failed", "compiling needs a Python interpreter", cause="sys.executable is empty"
            )
        try:
            worker = spawn()
        except OSError as error:
            raise EvmaotError(
                "worker_start_failed", "a worker process could not be started", cause=str(error)
            ) from error
        worker.deadline = worker.started + self._start_timeout_seconds
        self._workers.append(worker)
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        if worker.pidfd >= 0:
            # Whoever else has the worker's end of the socket by now: its end is seen.
            self._selector.register(worker.pidfd, selectors.EVENT_READ, worker)
        self.statistics.spawns += 1
        self._send(worker, self._hello)
        return worker

    def _send(self, worker: WorkerHandle, message: bytes) -> bool:
        is_there = worker.send(message)
        self._listen(worker)
        return is_there

    def _listen(self, worker: WorkerHandle) -> None:
        """Wait for what the worker says, and for room where it has not taken all yet."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outgoing else 0)
        self._selector.modify(worker.socket, events, worker)

    def _unlisten(self, worker: WorkerHandle) -> None:
        self._selector.unregister(worker.socket)
        if worker.pidfd >= 0:
            self._selector.unregister(worker.pidfd)

    def _pause(self, limit: float | None) -> float:
        moments = [worker.deadline for worker in self._workers if not worker.is_idle and self._paused_at is None]
        if limit is not None:
            moments.append(limit)
        now = time.monotonic()
        return max(0.0, min([now + _LONGEST_SELECT_SECONDS, *moments]) - now)

    def _attend(self, worker: WorkerHandle, *, has_ended: bool) -> None:
        """A worker said something, has room for more, or has ended."""
        if worker.outgoing:
            worker.flush()
            self._listen(worker)
        messages = worker.messages()
        is_lost = messages is None or not self._take(worker, messages)
        if is_lost or (has_ended and worker in self._workers):
            self._died(worker)

    def _take(self, worker: WorkerHandle, messages: list[tuple[str, Any]]) -> bool:
        """Do what a worker's messages say; False where they make no sense."""
        for kind, value in messages:
            if kind == "born":
                worker.born = True
                if self._paused_at is not None:
                    worker.send_signal(signal.SIGSTOP)
                continue
            if kind == "ready":
                worker.ready = True
                self._start_failures = 0
                if worker.job is not None:
                    self._clock(worker, worker.job)
                continue
            if kind == "begun":
                worker.begun = True
                if worker.job is not None:
                    worker.deadline = worker.started + worker.job.limits.timeout_seconds
                continue
            job, worker.job = worker.job, None
            worker.jobs_done += 1
            if job is None:
                return False
            seconds = time.monotonic() - worker.started
            if kind == "value":
                self._results.append(JobResult(job.token, value, None, seconds))
            else:
                self._results.append(JobResult(job.token, None, value, seconds))
            if kind == "last":
                self.statistics.memory_kills += 1
            if kind == "last" or worker.jobs_done >= self._recycle_after:
                self._bury(worker)
                return True
        return True

    def _died(self, worker: WorkerHandle) -> None:
        job, was_ready, seconds = worker.job, worker.ready, time.monotonic() - worker.started
        code, words = self._bury(worker)
        if not was_ready:
            if job is not None:
                self._queue.appendleft(job)
            self._start_failed(ending(code), words)
        elif job is not None and not self._has_another_attempt(worker, job):
            self._results.append(JobResult(job.token, None, self._verdict(code, words), seconds))

    def _has_another_attempt(self, worker: WorkerHandle, job: Job) -> bool:
        """Whether a lost worker never had its job (somebody killed or stopped it), so that another one may do it."""
        if worker.begun or job.attempts >= _MAX_ATTEMPTS:
            return False
        job.attempts += 1
        self._queue.appendleft(job)
        return True

    def _verdict(self, code: int, words: str) -> JobFailure:
        """Why a worker died."""
        if any(word in words.lower() for word in _MEMORY_WORDS):
            self.statistics.memory_kills += 1
            return memory_failure(self.limits, words)
        if code == -signal.SIGPROF:
            self.statistics.timeouts += 1
            return timeout_failure(self.limits)
        self.statistics.crashes += 1
        killed = code in (-signal.SIGKILL, -signal.SIGTERM)
        return JobFailure(
            "compile_crash",
            f"the compiler process ended with {ending(code)}",
            words[-MAX_CAUSE_CHARACTERS:] or ("someone killed it, or the system ran out of memory" if killed else None),
            "please report the bytecode" if not killed else "try again, with fewer jobs at a time (-j)",
            is_repeatable=not killed,
        )

    def _enforce(self) -> None:
        now = time.monotonic()
        if self._paused_at is not None:
            return
        for worker in [worker for worker in self._workers if not worker.is_idle and now >= worker.deadline]:
            job = worker.job
            self._bury(worker)
            if not worker.ready:
                if job is not None:
                    self._queue.appendleft(job)
                self._start_failed("they take too long", "")
            elif job is not None and not self._has_another_attempt(worker, job):
                self.statistics.timeouts += 1
                self._results.append(JobResult(job.token, None, timeout_failure(job.limits), now - worker.started))

    def _bury(self, worker: WorkerHandle) -> tuple[int, str]:
        """Take a worker out of the pool, dead or alive; answers return code and last words."""
        self._workers.remove(worker)
        self._unlisten(worker)
        if worker.process.poll() is None:
            # At its end of the channel it may be about to exit by itself, with a code that says more than SIGKILL.
            with contextlib.suppress(OSError):
                worker.socket.shutdown(socket.SHUT_RDWR)
            if time.monotonic() < worker.deadline and self._paused_at is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(1.0)
        code = worker.kill()
        self.statistics.restarts += 1
        return code, worker.last_words()


__all__ = ["JobFailure", "JobResult", "PoolStatistics", "WorkerLimits", "WorkerPool"]
