"""The thread that schedules: admission, dispatch, results, eviction.

Job: turn requests and events of look-ups into jobs, jobs into loads from the store and compilations in workers, and
results into resident programs.  Invariants: all of this object belongs to one thread, which waits for nothing but its
descriptors; a job that a clear took out of the table has no effect when its result comes; a failure costs its own
job.  May import: `evmaot.runtime`, `evmaot.workers`, errors, jit.*; never the compiler.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from evmaot.errors import EvmaotError
from evmaot.jit.admission import HotKeys, NegativeCache
from evmaot.jit.compiler import CompileOutput, KeyOutput
from evmaot.jit.crew import Crew
from evmaot.jit.eviction import Evictor
from evmaot.jit.jobs import CompilationOutcome, Job, JobKey, OutcomeStatus, Phase, Request, Urgency
from evmaot.jit.lookup_events import LookupEvents
from evmaot.jit.publisher import Bundle
from evmaot.jit.publishing import Publishing, Stored
from evmaot.jit.residency import Pair
from evmaot.jit.single_flight import SingleFlight
from evmaot.jit.store_search import find_in_store
from evmaot.jit.upgrades import LateUpgrades, deadline_seconds
from evmaot.runtime.catalog import LibraryRecord
from evmaot.runtime.config import JitMode, OptLevel
from evmaot.runtime.events import CompilationKind
from evmaot.runtime.image import load_image
from evmaot.runtime.lookup import is_eligible
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.worker_process import JobFailure
from evmaot.workers import JobResult

if TYPE_CHECKING:
    from evmaot.jit.core import Core

logger = logging.getLogger("evmaot.jit")

_LONGEST_REST_SECONDS: Final = 60.0
"""Every change wakes the thread.  Should one ever not, it costs this much time and not the rest of the process."""


class Scheduler:
    """Everything that the thread owns; `run` is the thread."""

    def __init__(self, core: Core) -> None:
        assert core.waker is not None
        self._core = core
        self._config = core.config
        self._tuning = core.tuning
        self._waker = core.waker
        self._map = core.map
        self._counters = core.counters
        self._jobs: dict[JobKey, Job] = {}
        self._queues: dict[Urgency, deque[Job]] = {urgency: deque() for urgency in Urgency}
        self._hot = HotKeys(self._config.hot_threshold)
        # A failure of the optimised tier says nothing of the fast one, nor a short deadline of a long one.
        self._failures = {
            "first": core.negative,
            "upgrade": NegativeCache(time.monotonic),
            "aot": NegativeCache(time.monotonic),
        }
        self.crew = Crew(core.crew_settings, self._waker, core.notify)
        self._late = LateUpgrades()
        self._flight = SingleFlight(core, self._is_current, self._looked)
        self._publishing = Publishing(core, self.crew, self._is_current, self._published)
        self._events = LookupEvents(core, self._missed)
        self._evictor = Evictor(core)

    # The thread.

    def run(self) -> None:
        """Work until the core is closed."""
        core = self._core
        try:
            if core.jit_off is None:
                self.crew.open()
            while not core.is_closed:
                self._step()
        except BaseException:
            logger.critical("the thread that schedules compilations failed; the backend is closed", exc_info=True)
            core.is_closed = True
            core.enabled = False
        finally:
            # Each step whatever becomes of the others: nobody may be left waiting, and no process left over.
            with contextlib.ExitStack() as stack:
                stack.callback(core.finish)
                stack.callback(self._flight.close)
                stack.callback(self.crew.close)
                stack.callback(self._end_all, OutcomeStatus.CLOSED)

    def _step(self) -> None:
        core = self._core
        self._waker.rest()
        while core.controls:
            core.controls.popleft()()
        self.crew.pause(core.is_paused)
        self._take_requests()
        self._events.drain(time.monotonic())
        self._publishing.step(others_are_coming=self._artifacts_are_coming())
        self._dispatch()
        self._evictor.sweep(time.monotonic())
        self._flight.step(time.monotonic())
        timeout = self._rest_seconds()
        for result in self.crew.wait(timeout):
            self._take(result)
        core.is_dozing = False

    def _rest_seconds(self) -> float:
        """How long nothing happens unless somebody wakes us."""
        core = self._core
        now = time.monotonic()
        late = self._late.deadline if self.crew.free else None
        known = (self._evictor.next_sweep, self._publishing.deadline, self._flight.deadline, late)
        moments = [now + _LONGEST_REST_SECONDS, *(moment for moment in known if moment is not None)]
        # First the sign, then the look: an event that comes between finds the sign and wakes us.
        core.is_dozing = True
        if core.miss_events or core.hit_events:
            core.is_dozing = False
            moments.append(self._events.next_drain)
        # What came after the waker was laid to rest and was seen by nobody yet.
        if core.is_closed or core.controls or (core.requests and len(self._jobs) < self._tuning.jit_max_pending_jobs):
            return 0.0
        return max(0.0, min(moments) - now)

    # Admission.

    def _take_requests(self) -> None:
        core = self._core
        while core.requests and len(self._jobs) < self._tuning.jit_max_pending_jobs:
            with core.room:
                request = core.requests.popleft()
                core.room.notify()
            self._admit(request)

    def _admit(self, request: Request) -> None:
        if not self._core.enabled:
            self._answer(request, OutcomeStatus.DISABLED)
            return
        name = self._map.canonical(request.fork_name)
        if name is None or not isinstance(request.code_hash, bytes) or len(request.code_hash) != 32:
            self._answer(request, OutcomeStatus.INELIGIBLE, reason="unknown_fork" if name is None else "bad_code_hash")
            return
        if not is_eligible(request.code, limit_bytes=self._tuning.jit_max_bytecode_len):
            self._answer(request, OutcomeStatus.INELIGIBLE)
            return
        resident = self._map.peek(request.code_hash, request.fork_name, request.code)
        if resident is not None:
            program = resident.decision.program
            if request.kind is CompilationKind.JIT or program.kind is ProgramKind.AOT:
                self._answer(request, OutcomeStatus.RESIDENT, program)
                return
        pair = (request.code_hash, name)
        job = self._jobs.get((pair, request.kind))
        if job is None:
            job = self._new_job(request.kind, pair, request.fork_name, request.code, Urgency.EXPLICIT)
            job.requests.append(request)
            self._look_in_store(job)
            return
        job.requests.append(request)
        job.is_load_only = False
        if job.phase is Phase.QUEUED and job.urgency is not Urgency.EXPLICIT:
            self._queues[job.urgency].remove(job)
            self._queues[Urgency.EXPLICIT].append(job)
        job.urgency = Urgency.EXPLICIT

    def _answer(
        self,
        request: Request,
        status: OutcomeStatus,
        program: CompiledProgram | None = None,
        reason: str | None = None,
        message: str | None = None,
    ) -> None:
        request.end(CompilationOutcome(request.key, status, program, reason, message))

    def _new_job(self, kind: CompilationKind, pair: Pair, fork_name: str, code: bytes, urgency: Urgency) -> Job:
        tuning = self._tuning
        if kind is CompilationKind.AOT:
            tier = tuning.aot_opt_level
        elif self._config.jit_mode is JitMode.TIERED:
            tier = OptLevel.FAST
        else:
            tier = tuning.jit_opt_level
        job = Job(kind, pair, fork_name, code, tier, urgency)
        self._jobs[job.job_key] = job
        return job

    def _missed(self, code_hash: bytes, fork_name: str, code: bytes) -> None:
        """A look-up of eligible code found nothing."""
        name = self._map.canonical(fork_name)
        pair = (code_hash, name or "")
        if name is None or (pair, CompilationKind.JIT) in self._jobs:
            return
        if self._map.peek(code_hash, fork_name, code) is not None:
            return
        is_loadable = self._map.loadable(code_hash, fork_name, code) is not None
        is_hot = self._hot.miss(pair)
        if not is_loadable:
            if not is_hot or self._core.negative.standing(pair) is not None:
                return
            if self._compiler_is_off() is not None and self._core.store is None:
                return
        if len(self._jobs) >= self._tuning.jit_max_pending_jobs:
            self._counters.commands_dropped.add()
            return
        job = self._new_job(CompilationKind.JIT, pair, fork_name, code, Urgency.HOT)
        job.is_load_only = not is_hot
        self._look_in_store(job)

    def _look_in_store(self, job: Job) -> None:
        core = self._core
        if core.store is None or not core.store_thread.submit(partial(find_in_store, core, job, self._looked)):
            self._queue(job)

    def _looked(self, job: Job, record: LibraryRecord | None) -> None:
        """The store thread loaded a library for a job, or found none."""
        if not self._is_current(job):
            self._map.release(record)
            return
        if record is not None:
            self._map.adopt(record)
        # Without a record too: another job may just have loaded the library that it is in.
        resident = self._map.peek(job.pair[0], job.fork_name, job.code)
        if resident is not None and resident.decision.program.kind is ProgramKind.AOT:
            self._core.negative.forget(job.pair)
            self._end(job, OutcomeStatus.LOADED, resident.decision.program)
            self._evictor.keep_budget()
            return
        self._queue(job)

    def _queue(self, job: Job) -> None:
        """It has to be compiled."""
        if job.is_load_only:
            self._end(job, OutcomeStatus.FAILED, reason="not_stored")
            return
        failure = self._failures_of(job).standing(job.pair)
        if failure is not None:
            if job.requests:
                self._counters.negative_hits.add()
            self._end(job, OutcomeStatus.FAILED, reason=failure.reason, message=failure.message)
            return
        off = self._compiler_is_off()
        if off is not None:
            self._end(job, OutcomeStatus.FAILED, reason=off, message="nothing can be compiled here")
            return
        job.phase = Phase.QUEUED
        self._queues[job.urgency].append(job)

    def _give_up(self, reason: str) -> None:
        """There are no workers, and for a while there will be none: who waits for one is told."""
        self._publishing.give_up()
        while (job := self._next_queued()) is not None:
            self._end(job, OutcomeStatus.FAILED, reason=reason, message="no worker process could be had")

    def _compiler_is_off(self) -> str | None:
        if self._core.jit_off is None and self.crew.off is not None:
            self.crew.open()
        return self._core.jit_off or self.crew.off

    def _failures_of(self, job: Job) -> NegativeCache:
        if job.kind is CompilationKind.AOT:
            return self._failures["aot"]
        return self._failures["upgrade" if job.is_upgrade else "first"]

    # Compiling.

    def _dispatch(self) -> None:
        for result in self._publishing.dispatch():
            self._take(result)
        while self.crew.free:
            job = self._next_queued() or self._late_upgrade()
            if job is None:
                break
            for result in self._start(job):
                self._take(result)
        if self.crew.off is not None:
            self._give_up(self.crew.off)

    def _next_queued(self) -> Job | None:
        for queue in self._queues.values():
            while queue:
                job = queue.popleft()
                if not self._is_current(job):
                    continue
                resident = self._map.peek(job.pair[0], job.fork_name, job.code)
                if job.kind is CompilationKind.JIT and not job.is_upgrade and resident is not None:
                    # Compiled meanwhile for a fork that the code can't tell from this one.
                    self._end(job, OutcomeStatus.RESIDENT, resident.decision.program)
                    continue
                return job
        return None

    def _start(self, job: Job) -> list[JobResult]:
        job.phase, gas_params = Phase.RUNNING, self._core.gas_params
        if self._flight.wants(job):
            return self.crew.start(job, self.crew.key_order(job, gas_params), self._tuning.jit_timeout)
        self._counters.dispatched.add()
        timeout = deadline_seconds(self._tuning, job, self._failures_of(job).failures.get(job.pair))
        order = self.crew.order(job, gas_params, wants_object=self._publishing.is_for_store(job))
        return self.crew.start(job, order, timeout)

    def _late_upgrade(self) -> Job | None:
        """There is nothing else to do: an upgrade that failed before."""
        failed = self._late.take(time.monotonic(), self._map)
        if failed is None or failed.job_key in self._jobs:
            return None
        return self._new_upgrade(failed, failed.kind, failed.tier)

    def _take(self, result: JobResult) -> None:
        if isinstance(result.token, Bundle):
            self._publishing.linked(result.token, result)
            return
        job: Job = result.token
        if not self._is_current(job):
            return
        if result.failure is not None:
            self._failed(job, result.failure, result.seconds)
            return
        if isinstance(result.value, KeyOutput):
            self._flight.ask(job, result.value.unit_key)
            return
        try:
            self._compiled(job, result.value, result.seconds)
        except EvmaotError as error:
            self._failed(job, JobFailure(error.reference, error.message, error.cause), result.seconds)
        except Exception as error:
            logger.exception("a compiled program could not be made resident")
            self._failed(job, JobFailure("compiler_bug", f"{type(error).__name__}: {error}"[:400]), result.seconds)

    def _compiled(self, job: Job, output: CompileOutput, seconds: float) -> None:
        start = time.perf_counter()
        program = None
        is_for_store = job.kind is CompilationKind.AOT
        if not is_for_store or job.is_upgrade:
            program = self._install(job, output)
        loaded = time.perf_counter() - start
        self._counters.compiled.add()
        self._failures_of(job).forget(job.pair)
        phases = {**output.unit.phase_seconds, "load": loaded}
        self._core.notify(job.event(seconds + loaded, len(output.library), phases))
        if is_for_store:
            job.output = output
            self._publishing.add(job)
        else:
            self._end(job, OutcomeStatus.COMPILED, program)
            self._follow_up(job, output)
        del program
        self._evictor.keep_budget()

    def _install(self, job: Job, output: CompileOutput) -> CompiledProgram:
        library = load_image(output.library, subject=f"the code 0x{job.pair[0].hex()}")
        code_bytes = min(output.code_size_bytes, library.size_bytes)
        return self._map.install(output.unit, library, library.size_bytes, code_bytes, job.fork_name)

    def _follow_up(self, job: Job, output: CompileOutput) -> None:
        """What comes after the first answer: better code, and the store."""
        publishes = self._publishing.is_wanted
        if job.is_upgrade or (job.pair, CompilationKind.AOT) in self._jobs:
            return
        kind = CompilationKind.AOT if publishes else CompilationKind.JIT
        tier = self._tuning.aot_opt_level if publishes else self._tuning.jit_opt_level
        if job.tier is tier and not publishes:
            return
        upgrade = self._new_upgrade(job, kind, tier)
        if job.tier is tier and output.object_data is not None:
            upgrade.output = output
            self._publishing.add(upgrade)
        else:
            self._queue(upgrade)

    def _new_upgrade(self, job: Job, kind: CompilationKind, tier: OptLevel) -> Job:
        upgrade = Job(kind, job.pair, job.fork_name, job.code, tier, Urgency.UPGRADE, is_upgrade=True)
        self._jobs[upgrade.job_key] = upgrade
        return upgrade

    def _failed(self, job: Job, failure: JobFailure, seconds: float) -> None:
        self._counters.failed.add()
        if self._flight.wants(job):
            # It failed before it came to a compilation: that was one all the same.
            self._counters.dispatched.add()
        if failure.reason != self.crew.off:
            remembered = self._failures_of(job).remember(
                job.pair, failure.reason, failure.message, is_repeatable=failure.is_repeatable
            )
            if job.is_upgrade:
                self._late.failed(job, remembered, is_repeatable=failure.is_repeatable)
        logger.info("%s not compiled: %s: %s", job.key, failure.reason, failure.message)
        error = "\n".join(text for text in (failure.message, failure.cause) if text)
        self._core.notify(job.event(seconds, 0, {}, failure.reason, error))
        self._end(job, OutcomeStatus.FAILED, reason=failure.reason, message=failure.message)

    # Publishing.

    def _artifacts_are_coming(self) -> bool:
        """Whether something that could share a library is still being compiled."""
        waiting = (Phase.LOADING, Phase.QUEUED, Phase.RUNNING)
        return bool(self._core.requests) or any(
            job.kind is CompilationKind.AOT and job.phase in waiting for job in self._jobs.values()
        )

    def _published(self, job: Job, stored: Stored) -> None:
        if not self._is_current(job):
            for record in stored.records:
                self._map.release(record)
            return
        for record in stored.records:
            self._map.adopt(record)
        resident = self._map.peek(job.pair[0], job.fork_name, job.code)
        program = None if resident is None else resident.decision.program
        if program is None and job.output is not None:
            # It could not be stored, or not be loaded from there; what was compiled is good all the same.
            try:
                program = self._install(job, job.output)
            except EvmaotError as error:
                self._end(job, OutcomeStatus.FAILED, reason=error.reference, message=error.message)
                return
        if stored.error is None:
            self._core.negative.forget(job.pair)
            self._end(job, OutcomeStatus.PUBLISHED, program)
        else:
            self._end(job, OutcomeStatus.FAILED, program, stored.error.reference, stored.error.message)
        del program, resident
        self._evictor.keep_budget()

    # Ends.

    def _is_current(self, job: Job) -> bool:
        return self._jobs.get(job.job_key) is job

    def _end(
        self,
        job: Job,
        status: OutcomeStatus,
        program: CompiledProgram | None = None,
        reason: str | None = None,
        message: str | None = None,
    ) -> None:
        del self._jobs[job.job_key]
        self._flight.ended(job)
        job.output = None
        requests, job.requests = job.requests, []
        # Not kept: through their futures they hold the program, and then it could not be given back.
        for request in requests:
            self._answer(request, status, program, reason, message)

    def _end_all(self, status: OutcomeStatus) -> None:
        for job in list(self._jobs.values()):
            self._end(job, status)

    def clear(self, *, resident: bool) -> None:
        """Discard everything that was begun; with `resident`, let go of what is loaded too."""
        core = self._core
        with core.room:
            waiting, core.requests = list(core.requests), deque()
            core.room.notify_all()
        for queue in self._queues.values():
            queue.clear()
        self._publishing.clear()
        self._hot.clear()
        self._late.clear()
        for cache in self._failures.values():
            cache.clear()
        core.miss_events.clear()
        core.hit_events.clear()
        if resident:
            self._map.clear()
        self._end_all(OutcomeStatus.DISCARDED)
        for request in waiting:
            self._answer(request, OutcomeStatus.DISCARDED)

    def abandon(self) -> None:
        """In a child of `fork`: workers and locks are the parent's."""
        self.crew.abandon()
        self._flight.abandon()

    @property
    def pending_jobs(self) -> int:
        """Jobs without an outcome; may be asked by any thread."""
        return len(self._jobs)
