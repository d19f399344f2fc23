"""The build: sources and forks in, published libraries and a report out.

Job: plan, compile in worker processes, publish pack by pack.  Invariants: one contract's failure costs that contract;
which units share a pack is decided before the first is compiled, so that equal builds publish equal bytes whatever
finishes first; what is compiled is stored within seconds (in a pack of its own, which the full pack then replaces), so
that a kill loses little; Ctrl-C publishes what is ready.  No terminal here: progress goes to an observer.  May import:
`evmaot.build_report`, `evmaot.build_inputs`, `evmaot.build_plan`, `evmaot.build_packs`, `evmaot.executor_pool`,
`evmaot.process_memory`, `evmaot.toolchain`, `evmaot.workers`, `evmaot.store`, `evmaot.evm`, errors.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from evmaot.build_packs import Publisher, Ready
from evmaot.build_plan import Lookup, Plan, Unit, check_request, chunked, make_plan, mark_cached
from evmaot.build_report import (
    WORK_PER_UNIT,
    BuildCounts,
    BuildEvent,
    BuildReport,
    BuildRequest,
    EventKind,
    Observer,
    PackReport,
    UnitReport,
    UnitStatus,
)
from evmaot.errors import EvmaotError, StoreError
from evmaot.evm.keccak import keccak256
from evmaot.executor_pool import ExecutorPool, JobPool, RemoteTask
from evmaot.process_memory import return_free_memory
from evmaot.store.collection import mark_used
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import StoreIndex
from evmaot.store.locks import UnitLocks
from evmaot.store.negative import NegativeRecord
from evmaot.toolchain import Toolchain, UnitOutput, toolchain
from evmaot.workers import JobFailure, JobResult, WorkerLimits, WorkerPool

__all__ = [
    "BuildCounts", "BuildEvent", "BuildReport", "BuildRequest", "EventKind", "PackReport", "UnitReport", "UnitStatus",
    "build",
]  # fmt: skip

_DEFERRED_PAUSE_SECONDS: Final = 0.1
_DEFERRED_GRACE_SECONDS: Final = 60.0


def build(
    request: BuildRequest,
    store: ArtifactDirectory | None,
    observer: Observer | None = None,
    *,
    layers: Sequence[ArtifactDirectory] = (),
    tools: Toolchain | None = None,
    executor: Executor | None = None,
    report: BuildReport | None = None,
) -> BuildReport:
    """Compile what the store and the layers below it lack of the request, and publish it to the store.

    `report` is filled as the build goes on and returned: whoever gives one knows what is stored also where this raises.
    `executor` compiles in the place of worker processes, `request.jobs` units at a time; its workers import evmaot.

    `store` may be None in a dry run: then nothing is there yet.  Nothing is written to a layer.  Problems of inputs
    and failures of units are in the report.  Raises UsageError (``bad_build_option``, ``unknown_linker``,
    ``linker_not_found``), StoreError and BusyError (the store can't be written), EvmaotError
    ``worker_start_failed``.  KeyboardInterrupt ends the build with what is ready published and `interrupted` set; a
    second one is raised.
    """
    start = time.perf_counter()
    check_request(request)
    if store is not None and not request.dry_run:
        store.require_writable()
    tools = tools or toolchain(request.options, request.linker)
    report = report if report is not None else BuildReport()
    report.profile_id, report.profile, report.dry_run = tools.profile.short, tools.profile.digest, request.dry_run
    with contextlib.nullcontext() if store is None else store.shared_lock():
        index = store.index([tools.profile.short]) if store is not None else StoreIndex((), ())
        plan = make_plan(request, tools, store, index, layers)
        _tell_inputs(plan, report)
        report.units = sorted((unit.report for unit in plan.units), key=lambda unit: (unit.label, unit.unit_key))
        if store is not None and not request.dry_run:
            wanted = {unit.report.pack for unit in plan.units}
            mark_used(store, (pack for pack in index.packs if pack.manifest.object.sha256 in wanted))
            _note_forks(store, index, plan.units)
        progress = _Progress(observer, plan)
        progress.tell(EventKind.PLANNED, "", workers=request.jobs)
        session = None
        if store is not None and plan.misses and not request.dry_run:
            session = _Session(request, store, tools, plan, progress, report)
            try:
                session.run(executor)
            finally:
                report.wall_seconds = time.perf_counter() - start
            if not report.interrupted:
                # What another process published meanwhile.
                _note_forks(store, store.index([tools.profile.short]), plan.units)
    if session is not None and session.retired:
        # Not under the shared lock of before: what replaced packs leave behind is removed when nobody loads.
        with contextlib.suppress(EvmaotError):
            session.store.sweep(timeout_seconds=0.0)
    report.wall_seconds = time.perf_counter() - start
    return report


def _note_forks(store: ArtifactDirectory, index: StoreIndex, units: Sequence[Unit]) -> None:
    """What is there already is wanted for the forks of this build too: clearing another one must not take it.

    Never fails: a build that has nothing to write does not need a disk with room.
    """
    wanted = {(u.code.sha256, u.rules): u.forks for u in units if u.report.status is UnitStatus.CACHED}
    if wanted:
        with contextlib.suppress(EvmaotError):
            store.add_forks(index.packs, wanted)


def _tell_inputs(plan: Plan, report: BuildReport) -> None:
    inputs = plan.inputs
    report.sources, report.distinct_codes = inputs.sources, plan.distinct_codes
    report.undeployed = len({unit.code.sha256 for unit in plan.units if unit.code.is_undeployed})
    report.problems, report.problems_omitted = inputs.problems, dict(inputs.omitted)
    report.denied_unmatched = inputs.denied_unmatched


def _work_of(unit: Unit) -> int:
    return len(unit.code.data) + WORK_PER_UNIT


class _Progress:
    """Counts, and who is told about them."""

    def __init__(self, observer: Observer | None, plan: Plan) -> None:
        self._observer = observer
        statuses = [unit.report.status for unit in plan.units]
        self.counts = BuildCounts(
            total=len(plan.units),
            cached=statuses.count(UnitStatus.CACHED),
            failed=statuses.count(UnitStatus.FAILED),
            work=sum(map(_work_of, plan.misses)),
        )

    def tell(
        self, kind: EventKind, subject: str, *, reason: str | None = None, seconds: float = 0.0, workers: int = 0
    ) -> None:
        if self._observer is not None:
            self._observer(BuildEvent(kind, subject, self.counts, reason, seconds, workers))

    def add(self, *, compiled: int = 0, cached: int = 0, failed: int = 0, published: int = 0, work: int = 0) -> None:
        c = self.counts
        self.counts = replace(
            c,
            compiled=c.compiled + compiled,
            cached=c.cached + cached,
            failed=c.failed + failed,
            published=c.published + published,
            work_done=c.work_done + work,
        )


@dataclass(slots=True)
class _Chunk:
    """The units that one pack was planned for."""

    waiting: set[str]
    """Keys of units that have no result yet."""
    ready: dict[str, Ready] = field(default_factory=dict)
    unpublished: set[str] = field(default_factory=set)
    """Of `ready`, what is in no pack yet."""
    checkpoints: list[Path] = field(default_factory=list)
    """Manifests of packs with a part of `ready`."""


class _Session:
    """One build while it compiles."""

    def __init__(
        self,
        request: BuildRequest,
        store: ArtifactDirectory,
        tools: Toolchain,
        plan: Plan,
        progress: _Progress,
        report: BuildReport,
    ) -> None:
        self.store = store
        self.retired = False
        self._request = request
        self._tools = tools
        self._progress = progress
        self._report = report
        self._stopping = request.fail_fast and any(problem.severity == "error" for problem in plan.inputs.problems)
        self._units = {unit.key: unit for unit in plan.misses}
        self._queue: deque[Unit] = deque()
        self._chunks: list[_Chunk] = []
        self._chunk_of: dict[str, _Chunk] = {}
        self._deferred: list[Unit] = []
        self._warm = False
        for units in chunked(plan.misses, request.pack_size):
            self._add_chunk(units)

    def run(self, executor: Executor | None) -> None:
        """Compile and publish.  Raises StoreError, EvmaotError."""
        for unit in self._units.values():
            unit.report.status = UnitStatus.UNFINISHED
        failure: EvmaotError | None = None
        with (
            Publisher(self._request, self._tools, self.store) as publisher,
            self.store.unit_locks() as locks,
            self._pool(executor) as pool,
        ):
            try:
                self._compile(pool, publisher, locks)
                self._wait_for_others(pool, publisher, locks)
            except KeyboardInterrupt:
                self._report.interrupted = True
            except StoreError:
                raise
            except EvmaotError as error:
                failure = error
            # Also after an interruption, a lost scheduler or the first failure: what is compiled is kept.
            pool.close()
            self._checkpoint(publisher, locks)
        if failure is not None:
            raise failure

    def _pool(self, executor: Executor | None) -> WorkerPool | ExecutorPool:
        request, tools = self._request, self._tools
        limits = WorkerLimits(request.timeout_seconds, request.memory_limit_bytes)
        if executor is not None:
            task = RemoteTask(tools.compile_function, tools.preload, limits, tools.profile.digest, tools.profile_there)
            return ExecutorPool(executor, task, capacity=2 * request.jobs)
        workers = min(request.jobs, len(self._units))
        return WorkerPool(tools.compile_function, workers=workers, limits=limits, preload=tools.preload)

    # Compiling.

    def _add_chunk(self, units: list[Unit]) -> None:
        chunk = _Chunk({unit.key for unit in units})
        self._chunks.append(chunk)
        for unit in units:
            self._chunk_of[unit.key] = chunk
        # The largest first: the pack is complete sooner if they do not come last.
        self._queue += units if self._request.rank else sorted(units, key=lambda u: (-len(u.code.data), u.key))

    def _compile(self, pool: JobPool, publisher: Publisher, locks: UnitLocks) -> None:
        next_flush = time.monotonic() + self._request.flush_seconds
        while not self._stopping and (self._queue or pool.pending):
            while self._queue and pool.has_room:
                self._dispatch(pool, locks, self._queue.popleft())
            if pool.pending and not self._warm:
                self._warm = True
                self._tools.warm_up()
            for result in pool.wait(max(0.0, next_flush - time.monotonic())):
                self._take(result, locks)
            self._publish_complete(publisher, locks)
            if time.monotonic() >= next_flush:
                self._checkpoint(publisher, locks)
                next_flush = time.monotonic() + self._request.flush_seconds

    def _dispatch(self, pool: JobPool, locks: UnitLocks, unit: Unit) -> None:
        if not locks.try_lock(unit.key):
            self._deferred.append(unit)
            self._leave_chunk(unit)
            return
        # Another process may have published it since the plan was made; now none can until the lock is free.
        if not self._request.force and self._look_again(unit):
            locks.unlock(unit.key)
            self._leave_chunk(unit)
            return
        self._progress.tell(EventKind.STARTED, unit.report.label)
        pool.submit(unit.key, unit.job(self._request.options))

    def _look_again(self, unit: Unit) -> bool:
        index = self.store.index([self._tools.profile.short])
        entry = Lookup(self._tools, self.store, index).find(unit)
        if entry is None:
            return False
        mark_cached(unit, entry)
        self._progress.add(cached=1, work=_work_of(unit))
        self._progress.tell(EventKind.CACHED, unit.report.label)
        return True

    def _leave_chunk(self, unit: Unit) -> None:
        self._chunk_of.pop(unit.key).waiting.discard(unit.key)

    def _take(self, result: JobResult, locks: UnitLocks) -> None:
        unit = self._units[result.token]
        report = unit.report
        report.seconds = result.seconds
        if result.failure is not None:
            self._leave_chunk(unit)
            self._fail(unit, result.failure)
            locks.unlock(unit.key)
            return
        output: UnitOutput = result.value
        report.code_hash = output.code_hash
        report.phase_seconds = output.phase_seconds
        # Measured here: too little where this process was slow to hear that the worker began.
        report.seconds = max(result.seconds, sum(output.phase_seconds.values()))
        report.object_size_bytes = len(output.object_data)
        chunk = self._chunk_of[unit.key]
        chunk.waiting.discard(unit.key)
        chunk.ready[unit.key] = Ready(unit, output)
        chunk.unpublished.add(unit.key)
        self._progress.add(compiled=1, work=_work_of(unit))
        self._progress.tell(EventKind.COMPILED, report.label, seconds=result.seconds)

    def _fail(self, unit: Unit, failure: JobFailure) -> None:
        report = unit.report
        report.status = UnitStatus.FAILED
        report.reason, report.message, report.cause = failure.reason, failure.message, failure.cause
        report.hint = failure.hint
        if report.code_hash is None:
            report.code_hash = keccak256(unit.code.data).hex()
        self._progress.add(failed=1, work=_work_of(unit))
        self._progress.tell(EventKind.FAILED, report.label, reason=failure.reason, seconds=report.seconds)
        if failure.is_repeatable:
            record = NegativeRecord(
                unit_key=unit.key,
                code_sha256=unit.code.sha256,
                length=len(unit.code.data),
                rules=unit.rules,
                label=report.label,
                reason=failure.reason,
                message=failure.message,
                timeout_seconds=float(self._request.timeout_seconds),
                memory_limit_bytes=self._request.memory_limit_bytes,
                created=self._request.created or "",
                code_hash=report.code_hash,
            )
            self.store.remember_failure(self._tools.profile, record)
        if self._request.fail_fast:
            self._stopping = True

    # Publishing.

    def _publish_complete(self, publisher: Publisher, locks: UnitLocks) -> None:
        for chunk in [chunk for chunk in self._chunks if not chunk.waiting]:
            # With nothing new in it, it is as it was stored last: the part that there is turned out to be all.
            if chunk.unpublished or len(chunk.checkpoints) > 1:
                new = self._publish(chunk, list(chunk.ready), publisher, locks)
                self._retire([path for path in chunk.checkpoints if path not in new])
            self._chunks.remove(chunk)
            # Its objects are large, and stored.
            for key in chunk.ready:
                del self._chunk_of[key]
            chunk.ready.clear()

    def _checkpoint(self, publisher: Publisher, locks: UnitLocks) -> None:
        """Store what is compiled but waits for the rest of its pack."""
        for chunk in self._chunks:
            if chunk.unpublished:
                chunk.checkpoints += self._publish(chunk, list(chunk.unpublished), publisher, locks)

    def _retire(self, manifests: list[Path]) -> None:
        """Take out the packs that a full one replaced."""
        if manifests:
            self.store.retire(manifests)
            gone = {path.stem for path in manifests}
            self._report.packs = [pack for pack in self._report.packs if pack.sha256 not in gone]
            self.retired = True

    def _publish(self, chunk: _Chunk, keys: list[str], publisher: Publisher, locks: UnitLocks) -> list[Path]:
        """Publish these units of a chunk; answers the manifests."""
        packs, refused = publisher.publish([chunk.ready[key] for key in keys])
        # What linking left is as much as the packs, and would stay with the process.
        return_free_memory()
        for pack in packs:
            self._report.packs.append(pack.report)
            new = [unit for unit in pack.units if unit.key in chunk.unpublished]
            for unit in pack.units:
                unit.report.status = UnitStatus.COMPILED
                unit.report.pack = pack.report.sha256
            for unit in new:
                chunk.unpublished.discard(unit.key)
                self.store.forget_failure(self._tools.profile, unit.key)
                locks.unlock(unit.key)
            self._progress.add(published=len(new))
            seconds = pack.report.link_seconds + pack.report.publish_seconds
            self._progress.tell(EventKind.PUBLISHED, pack.report.sha256, seconds=seconds)
        for item in refused:
            # The linker may be at fault, and another be chosen: nothing is remembered.
            error = item.error
            del chunk.ready[item.unit.key]
            chunk.unpublished.discard(item.unit.key)
            self._progress.add(compiled=-1, work=-_work_of(item.unit))
            self._fail(
                item.unit, JobFailure(error.reference, error.message, error.cause, error.hint, is_repeatable=False)
            )
            locks.unlock(item.unit.key)
        return [pack.manifest_path for pack in packs]

    # Units that another process is compiling.

    def _wait_for_others(self, pool: JobPool, publisher: Publisher, locks: UnitLocks) -> None:
        """Take what they publish; compile what they don't."""
        patience = self._request.timeout_seconds + self._request.flush_seconds + _DEFERRED_GRACE_SECONDS
        deadline = time.monotonic() + patience
        if self._deferred and not self._stopping:
            self._progress.tell(EventKind.WAITING, self._deferred[0].report.label)
        while self._deferred and not self._stopping:
            waiting, self._deferred = self._deferred, []
            free = []
            for unit in waiting:
                if self._look_again(unit):
                    deadline = time.monotonic() + patience
                elif locks.try_lock(unit.key):
                    locks.unlock(unit.key)
                    free.append(unit)
                else:
                    self._deferred.append(unit)
            if free:
                # Whoever had them gave up, or has just published them: the usual way finds out.
                self._add_chunk(sorted(free, key=lambda unit: unit.key))
                self._compile(pool, publisher, locks)
                deadline = time.monotonic() + patience
            elif self._deferred:
                if time.monotonic() >= deadline:
                    break
                time.sleep(_DEFERRED_PAUSE_SECONDS)
