"""The workers of a backend, and what they cost.

Job: open, pause, refill and close the pool of worker processes; keep what they share (the helpers' object) and what
they did (statistics).  Invariants: it belongs to the thread that schedules; workers that cannot be started are a
reason and not an exception, and are tried again after a pause that grows.
May import: `evmaot.workers`, `evmaot.worker_process`, `evmaot.runtime`, errors, jit.compiler, jit.jobs,
jit.threads.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from evmaot.errors import EvmaotError
from evmaot.jit.compiler import (
    COMPILER_MODULES,
    CompileJob,
    CompileOutput,
    KeyJob,
    LinkJob,
    Surroundings,
    WarmUpJob,
    WarmUpOutput,
    run_job,
)
from evmaot.jit.jobs import Job
from evmaot.jit.threads import Waker
from evmaot.runtime.config import RuntimeConfig
from evmaot.runtime.events import WorkerRestartedEvent
from evmaot.worker_process import JobFailure, WorkerLimits
from evmaot.workers import JobResult, PoolStatistics, WorkerPool

logger = logging.getLogger("evmaot.jit")

_FIRST_PAUSE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 600.0
_WARM_UP_SECONDS: Final = 60.0
_WARM_UP: Final = object()


@dataclass(frozen=True, slots=True)
class CrewSettings:
    """What a crew is made with; tests choose another function."""

    config: RuntimeConfig
    function: Callable[[Any], Any] = run_job
    modules: tuple[str, ...] = COMPILER_MODULES
    builtins_object: bytes | None = None
    """What the first worker makes otherwise."""


class Crew:
    """Worker processes of one backend."""

    def __init__(
        self, settings: CrewSettings, waker: Waker, on_restart: Callable[[WorkerRestartedEvent], None]
    ) -> None:
        self._settings = settings
        self._waker = waker
        self._on_restart = on_restart
        self._tuning = settings.config.tuning
        self._pool: WorkerPool | None = None
        self._tokens: dict[int, Any] = {}
        self._builtins = settings.builtins_object
        self._is_warm = self._builtins is not None
        self._is_paused = False
        self._before = PoolStatistics()
        self._seen = PoolStatistics()
        self._retry_at = 0.0
        self._start_failures = 0
        self.surroundings = Surroundings(self._tuning.jit_worker_cpu_count, is_polite=not settings.config.blocking)
        self.off: str | None = None
        """Why there are no workers."""

    # Life.

    def open(self) -> None:
        """Have workers; where they cannot be had, `off` says why."""
        if self._pool is not None or time.monotonic() < self._retry_at:
            return
        self.off = None
        tuning = self._tuning
        try:
            self._pool = WorkerPool(
                self._settings.function,
                workers=tuning.jit_worker_count,
                limits=WorkerLimits(max(tuning.jit_timeout, tuning.aot_timeout), tuning.jit_worker_memory_limit_bytes),
                preload=self._settings.modules,
                queue_capacity=tuning.jit_worker_queue_capacity,
                recycle_after=tuning.compiler_recycle_threshold,
            )
            self._pool.watch(self._waker.descriptor)
            if self._is_paused:
                self._pool.pause()
            if self._is_warm:
                self._pool.start_workers(1)
            else:
                self._pool.submit(_WARM_UP, WarmUpJob(self.surroundings), _WARM_UP_SECONDS)
        except OSError as error:
            # No descriptors left, perhaps: not for ever.
            self._give_up(EvmaotError("worker_start_failed", "no workers can be watched", cause=str(error)))
        except EvmaotError as error:
            self._give_up(error)

    def _give_up(self, error: EvmaotError) -> list[JobResult]:
        """No workers; answers the jobs that they had."""
        self._start_failures += 1
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._start_failures - 1, 32), _LONGEST_PAUSE_SECONDS)
        self._retry_at = time.monotonic() + pause
        self.off = error.reference
        logger.error("compilation is off for %g seconds: %s: %s", pause, error.message, error.cause)
        tokens, self._tokens = list(self._tokens.values()), {}
        self.close()
        failure = JobFailure(error.reference, error.message, error.cause, error.hint, is_repeatable=False)
        return [JobResult(token, None, failure, 0.0) for token in tokens]

    def close(self) -> None:
        """Kill the workers."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
            self._before = _sum(self._before, pool.statistics)
            self._seen = PoolStatistics()

    def abandon(self) -> None:
        """In a child of `fork`: the workers are the parent's."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.abandon()

    def kill(self) -> None:
        """Kill the workers from another thread, so that nothing waits for them any more."""
        pool = self._pool
        if pool is not None:
            pool.kill()

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that exist now."""
        return [] if self._pool is None else self._pool.process_ids

    @property
    def statistics(self) -> PoolStatistics:
        """Counts of all pools that there were."""
        return self._before if self._pool is None else _sum(self._before, self._pool.statistics)

    # Work.

    @property
    def has_shared_parts(self) -> bool:
        """Whether no worker has to make the helpers' object itself."""
        return self._builtins is not None

    @property
    def free(self) -> int:
        """Jobs that would begin at once."""
        if self._pool is None or self._is_paused or not self._is_warm:
            return 0
        return self._pool.free_workers

    def pause(self, is_paused: bool) -> None:
        """Stop the workers where they are, or let them go on."""
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            if self._pool is not None:
                self._pool.pause() if is_paused else self._pool.resume()

    def key_order(self, job: Job, gas_params: tuple[tuple[str, int], ...]) -> KeyJob:
        """What a worker is told to do to find a job's unit key."""
        return KeyJob(
            code=job.code,
            code_hash=job.pair[0],
            fork=job.pair[1],
            gas_params=gas_params,
            tier=job.tier.value,
            single_error=self._settings.config.single_error,
            surroundings=self.surroundings,
        )

    def order(self, job: Job, gas_params: tuple[tuple[str, int], ...], *, wants_object: bool) -> CompileJob:
        """What a worker is told to do for a job."""
        config = self._settings.config
        return CompileJob(
            code=job.code,
            code_hash=job.pair[0],
            fork=job.pair[1],
            gas_params=gas_params,
            tier=job.tier.value,
            single_error=config.single_error,
            wants_object=wants_object,
            is_checked=config.debug_assertions,
            dump_directory=None if config.dump_dir is None else str(config.dump_dir),
            builtins_object=None,
            surroundings=self.surroundings,
        )

    def start(self, token: Any, job: KeyJob | CompileJob | LinkJob, timeout_seconds: float) -> list[JobResult]:
        """Give a job to a worker; answers failures where there is none."""
        assert self._pool is not None
        self._tokens[id(token)] = token
        try:
            if not isinstance(job, KeyJob):
                job = replace(job, builtins_object=self._builtins)
            self._pool.submit(token, job, timeout_seconds)
        except EvmaotError as error:
            return self._give_up(error)
        return []

    def wait(self, timeout_seconds: float) -> list[JobResult]:
        """Wait for results or the waker."""
        if self._pool is None:
            self._wait_for_waker(timeout_seconds)
            return []
        try:
            results = self._pool.wait(timeout_seconds)
        except EvmaotError as error:
            return self._give_up(error)
        if results:
            self._start_failures = 0
        self._tell_restarts()
        return [result for result in results if not self._is_our_own(result)]

    def _wait_for_waker(self, timeout_seconds: float) -> None:
        poll = select.poll()
        poll.register(self._waker.descriptor, select.POLLIN)
        poll.poll(timeout_seconds * 1000)

    def _is_our_own(self, result: JobResult) -> bool:
        """Take what is the crew's out of a result; whether that was all."""
        self._tokens.pop(id(result.token), None)
        value = result.value
        if isinstance(value, (WarmUpOutput, CompileOutput)) and value.builtins_object is not None:
            self._builtins = value.builtins_object
        if result.token is not _WARM_UP:
            return False
        # After a failure each worker makes its own: slower, and nothing worse.
        self._is_warm = True
        if result.failure is not None:
            logger.warning("the first worker was lost: %s: %s", result.failure.reason, result.failure.message)
        return True

    def _tell_restarts(self) -> None:
        assert self._pool is not None
        now, seen = self._pool.statistics, self._seen
        if now.restarts == seen.restarts:
            return
        counts = {
            "timeout": now.timeouts - seen.timeouts,
            "crash": now.crashes - seen.crashes,
            "memory": now.memory_kills - seen.memory_kills,
        }
        reason = next((name for name, count in counts.items() if count), "recycled")
        self._seen = replace(now)
        self._on_restart(WorkerRestartedEvent(now.restarts - seen.restarts, reason))


def _sum(one: PoolStatistics, other: PoolStatistics) -> PoolStatistics:
    return PoolStatistics(
        spawns=one.spawns + other.spawns,
        restarts=one.restarts + other.restarts,
        timeouts=one.timeouts + other.timeouts,
        crashes=one.crashes + other.crashes,
        memory_kills=one.memory_kills + other.memory_kills,
    )
