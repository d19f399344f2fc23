"""What all holders of a backend share: map, counts, queues, and the life of its threads.

Job: start, stop, pause, survive `fork`, and pass requests to the thread that schedules.  Invariants: look-ups read
attributes of this object and take none of its locks; a start that fails leaves everything as it was; after `close`
there is no thread, process or descriptor, and every request has its outcome; nothing here refers to a `JitBackend`,
so that dropping the last one ends it all.  May import: `evmaot.runtime`, errors, jit.*.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from evmaot.errors import EvmaotError
from evmaot.jit.admission import NegativeCache
from evmaot.jit.crew import CrewSettings
from evmaot.jit.jobs import CompilationOutcome, OutcomeStatus, Request
from evmaot.jit.residency import Pair, ResidentMap
from evmaot.jit.scheduler import Scheduler
from evmaot.jit.threads import TaskThread, Waker, remaining
from evmaot.runtime.artifacts import ArtifactStore
from evmaot.runtime.catalog import Catalogue
from evmaot.runtime.config import RuntimeConfig
from evmaot.runtime.directory_store import DirectoryStore
from evmaot.runtime.events import CompilationEvent, PreloadedEvent, RuntimeEvent, SkippedEvent
from evmaot.runtime.preload import index_store
from evmaot.runtime.preloading import Preload
from evmaot.runtime.schedule import check_gas_params
from evmaot.runtime.statistics import ExactCounter, RuntimeStatsSnapshot
from evmaot.runtime.temporary_store import RuntimeArtifactStore
from evmaot.target import host_target
from evmaot.workers import PoolStatistics

logger = logging.getLogger("evmaot.jit")

COUNTERS = (
    "hits misses ineligible disabled events_dropped commands_dropped evictions dispatched compiled failed "
    "negative_hits pause_requests resume_requests"
).split()


class Counters:
    """Everything that is counted exactly."""

    __slots__ = (*COUNTERS,)

    hits: ExactCounter
    misses: ExactCounter
    ineligible: ExactCounter
    disabled: ExactCounter
    events_dropped: ExactCounter
    commands_dropped: ExactCounter
    evictions: ExactCounter
    dispatched: ExactCounter
    compiled: ExactCounter
    failed: ExactCounter
    negative_hits: ExactCounter
    pause_requests: ExactCounter
    resume_requests: ExactCounter

    def __init__(self) -> None:
        for name in COUNTERS:
            setattr(self, name, ExactCounter())


class Core:
    """The shared state of one backend."""

    def __init__(self, config: RuntimeConfig, crew_settings: CrewSettings | None = None) -> None:
        """Nothing is started.  Raises UsageError ``bad_gas_params``."""
        self.config = config
        self.crew_settings = crew_settings or CrewSettings(config)
        self.tuning = config.tuning
        self.gas_params = check_gas_params(config.gas_params)
        self.limit_bytes = config.tuning.jit_max_bytecode_len or sys.maxsize
        self.counters = Counters()
        self.catalogue = Catalogue(
            mapping=config.mapping, profiles=config.profiles, single_error=config.single_error, on_skip=self._skipped
        )
        self.map = ResidentMap(self.catalogue, self.gas_params, time.monotonic)
        self.negative = NegativeCache(time.monotonic)
        self.store = _as_store(config.store, config.require_signed)
        # Look-ups read these.
        self.enabled = False
        self.hit_events: deque[Pair] = deque()
        self.miss_events: deque[tuple[Pair, bytes]] = deque()
        self.is_dozing = False
        # The rest is the business of the thread that schedules.
        self.controls: deque[Callable[[], None]] = deque()
        self.requests: deque[Request] = deque()
        self.is_closed = False
        self.jit_off: str | None = None
        self.preloaded_programs = 0
        self._is_preloaded = False
        self._pause_depth = 0
        self._disabled_callbacks: set[str] = set()
        self._make_locks()
        _live.add(self)

    def _make_locks(self) -> None:
        # Reentrant, because the collector may end a backend in the middle of anything.
        self.lock = threading.RLock()
        self.room = threading.Condition(self.lock)
        self._start_lock = threading.RLock()
        self.waker: Waker | None = None
        self.scheduler: Scheduler | None = None
        self.thread: threading.Thread | None = None
        name, capacity = self.config.thread_name, self.tuning.channel_capacity
        self.notifier = TaskThread(f"{name}-events", capacity)
        self.store_thread = TaskThread(f"{name}-store", 2 * self.tuning.jit_max_pending_jobs + capacity)

    # Start and stop.

    def start(self) -> None:
        """Preload, then start the thread; nothing where it runs.

        Raises StoreError, EvmaotError ``backend_closed``, ``thread_start_failed``.
        """
        with self._start_lock:
            if not self.is_closed and not self._is_preloaded:
                self._preload()
                self._is_preloaded = True
            if not self.is_closed and self.thread is None:
                self._start_thread()
            self.enabled = True
            # First the flag, then the look: a `close` that came meanwhile has taken the flag back, or is seen here.
            if self.is_closed:
                self.enabled = False
                raise closed_error()

    def _start_thread(self) -> None:
        self.jit_off = why_jit_is_off(self.config)
        if self.jit_off is not None:
            logger.warning("compilation is off: %s", self.jit_off)
        self.waker = waker = Waker()
        self.scheduler = Scheduler(self)
        self.thread = threading.Thread(target=self.scheduler.run, name=self.config.thread_name, daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:
            self.waker = self.scheduler = self.thread = None
            waker.close()
            raise EvmaotError(
                "thread_start_failed",
                "the backend's thread could not be started",
                cause=str(error),
                hint="raise the limit of processes and threads, or try again later",
            ) from error

    def _preload(self) -> None:
        if self.store is None:
            return
        start = time.perf_counter()
        limit_bytes = self.tuning.resident_code_cache_bytes if self.config.preload is Preload.EAGER else 0
        index_store(self.catalogue, self.store, subject=str(self.config.store), limit_bytes=limit_bytes)
        loaded = [record for record in self.catalogue.records if self.map.adopt(record)]
        self.preloaded_programs = sum(len(record.source.members) for record in loaded)
        self.notify(
            PreloadedEvent(
                programs_indexed=self.catalogue.programs_indexed,
                programs_loaded=self.preloaded_programs,
                libraries_loaded=len(loaded),
                loaded_bytes=self.map.sizes.aot,
                seconds=time.perf_counter() - start,
            )
        )

    def request_stop(self) -> None:
        """Make the threads end; waits for nothing, and may be called from a finalizer."""
        self.is_closed = True
        self.enabled = False
        self.wake()

    def close(self, timeout_seconds: float | None = None) -> None:
        """Stop within the time, kill what does not."""
        deadline = time.monotonic() + (self.tuning.shutdown_timeout if timeout_seconds is None else timeout_seconds)
        self.request_stop()
        with self.room:
            self.room.notify_all()
        # A start that is under way, held up by a slow store perhaps, sees that it is closed when it gets on.
        if self._start_lock.acquire(timeout=remaining(deadline)):
            self._start_lock.release()
        thread, scheduler = self.thread, self.scheduler
        if thread is None:
            self.finish()
        elif thread is not threading.current_thread():
            thread.join(remaining(deadline))
            if thread.is_alive() and scheduler is not None:
                scheduler.crew.kill()
                thread.join(1.0)
        self.store_thread.close(remaining(deadline), drop=True)
        self.notifier.close(remaining(deadline), drop=False)

    def finish(self) -> None:
        """The last act of the thread that schedules: tell who still waits."""
        with self.room:
            waiting, self.requests = list(self.requests), deque()
            self.room.notify_all()
        for request in waiting:
            request.end(CompilationOutcome(request.key, OutcomeStatus.CLOSED))
        self.hit_events.clear()
        self.miss_events.clear()
        if self.waker is not None:
            self.waker.close()
        # Without a `close` (the last reference is gone, or the scheduler failed) they end by themselves.
        self.store_thread.close(0.0, drop=True)
        self.notifier.close(0.0, drop=False)

    def become_child(self) -> None:
        """In a child of `fork`: keep the resident map, and let go of threads and processes that are the parent's."""
        scheduler, waker = self.scheduler, self.waker
        self.enabled = False
        self._make_locks()
        self.map.renew_locks()
        for queue in (self.controls, self.requests, self.hit_events, self.miss_events):
            queue.clear()
        self._pause_depth = 0
        self.is_dozing = False
        with contextlib.suppress(OSError):
            if scheduler is not None:
                scheduler.abandon()
            if waker is not None:
                waker.forget()

    # Passing things to the scheduler.

    def wake(self) -> None:
        """Make the scheduler look around."""
        waker = self.waker
        if waker is not None:
            waker.wake()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; waits for room.  All end with an outcome."""
        with self.room:
            while len(self.requests) >= self.tuning.channel_capacity and self._may_wait():
                self.room.wait()
            if not self.is_closed and self.thread is not None and self.enabled:
                self.requests.extend(requests)
                requests = ()
        status = OutcomeStatus.CLOSED if self.is_closed else OutcomeStatus.DISABLED
        for request in requests:
            self.counters.commands_dropped.add()
            request.end(CompilationOutcome(request.key, status))
        self.wake()

    def _may_wait(self) -> bool:
        """Whether room can come: not from a thread that is gone, and not from the one that makes it."""
        return not self.is_closed and self.thread is not None and self.thread is not threading.current_thread()

    def control(self, action: Callable[[], None]) -> None:
        """Run an action in the scheduler's thread before anything else, and wait for it.

        Where that thread does not run, here.
        """
        thread = self.thread
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            action()
            return
        done = threading.Event()

        def act() -> None:
            try:
                action()
            finally:
                done.set()

        self.controls.append(act)
        self.wake()
        while not done.wait(0.1):
            if not thread.is_alive():
                # It ended without seeing the action.
                if act in self.controls:
                    action()
                return

    def is_scheduler_thread(self) -> bool:
        """Whether the caller is the thread that schedules."""
        return threading.current_thread() is self.thread

    def clear(self, *, resident: bool) -> None:
        """Discard what was begun; with `resident`, let go of what is loaded."""
        scheduler = self.scheduler
        if scheduler is not None:
            self.control(partial(scheduler.clear, resident=resident))
        elif resident:
            self.map.clear()

    def clear_store(self) -> None:
        """Remove every artifact, after what the store thread is doing.

        Raises StoreError, BusyError; EvmaotError ``backend_closed`` where it was closed before its turn came.
        """
        if self.store is None:
            return
        store, cleared = self.store, Future[None]()

        def act() -> None:
            try:
                store.clear()
                self.catalogue.forget()
            except BaseException as error:
                cleared.set_exception(error)
            else:
                cleared.set_result(None)

        def drop() -> None:
            cleared.set_exception(closed_error())

        if self.thread is None or self.store_thread.is_current() or not self.store_thread.submit(act, drop):
            act()
        cleared.result()

    def stats(self) -> RuntimeStatsSnapshot:
        """Numbers as of now."""
        counters, scheduler, sizes = self.counters, self.scheduler, self.map.sizes
        workers = PoolStatistics() if scheduler is None else scheduler.crew.statistics
        return RuntimeStatsSnapshot(
            lookup_hits=counters.hits.value,
            lookup_misses=counters.misses.value,
            lookup_ineligible=counters.ineligible.value,
            lookup_disabled=counters.disabled.value,
            events_dropped=counters.events_dropped.value,
            commands_dropped=counters.commands_dropped.value,
            resident_entries=len(self.map.entries),
            events_queued=len(self.hit_events) + len(self.miss_events),
            command_queue_len=len(self.requests),
            pending_jobs=0 if scheduler is None else scheduler.pending_jobs,
            jit_code_bytes=sizes.jit_code,
            jit_data_bytes=sizes.jit_data,
            aot_code_bytes=sizes.aot,
            evictions=counters.evictions.value,
            compilations_dispatched=counters.dispatched.value,
            compilations_succeeded=counters.compiled.value,
            compilations_failed=counters.failed.value,
            negative_cache_hits=counters.negative_hits.value,
            worker_spawns=workers.spawns,
            worker_restarts=workers.restarts,
            worker_timeouts=workers.timeouts,
            worker_crashes=workers.crashes,
            worker_memory_kills=workers.memory_kills,
            pause_requests=counters.pause_requests.value,
            resume_requests=counters.resume_requests.value,
            preload_loaded=self.preloaded_programs,
            preload_skipped=dict(self.catalogue.skipped),
        )

    def pause(self, change: int) -> None:
        """Count one pause (+1) or one resumption (-1)."""
        with self.lock:
            self._pause_depth = max(0, self._pause_depth + change)
        self.wake()

    @property
    def is_paused(self) -> bool:
        """Whether no compilation may run now."""
        return self._pause_depth > 0

    # Events.

    def notify(self, event: RuntimeEvent) -> None:
        """Call back, in a thread of its own: a callback may be slow, raise, or use this backend."""
        config = self.config
        if config.on_event is None and (config.on_compilation is None or not isinstance(event, CompilationEvent)):
            return
        if not self.notifier.submit(partial(self._deliver, event)):
            self.counters.events_dropped.add()

    def _deliver(self, event: RuntimeEvent) -> None:
        for name in ("on_compilation", "on_event"):
            callback = getattr(self.config, name)
            if callback is None or name in self._disabled_callbacks:
                continue
            if name == "on_compilation" and not isinstance(event, CompilationEvent):
                continue
            try:
                callback(event)
            except BaseException:  # `sys.exit` in a callback too
                self._disabled_callbacks.add(name)
                logger.exception("the callback %s raised, and is not called any more", name)

    def _skipped(self, reason: str, subject: str, message: str) -> None:
        self.notify(SkippedEvent(reason, subject, message))

    def artifact_store(self) -> ArtifactStore:
        """The store to publish to; a temporary one where none was named."""
        if self.store is None:
            self.store = RuntimeArtifactStore()
        return self.store


def closed_error() -> EvmaotError:
    """What is raised by calls that need a backend that is gone."""
    return EvmaotError("backend_closed", "the backend was closed", hint="make a new JitBackend")


def _as_store(store: ArtifactStore | str | os.PathLike[str] | None, require_signed: bool) -> ArtifactStore | None:
    return DirectoryStore(store, require_signed=require_signed) if isinstance(store, (str, os.PathLike)) else store


def why_jit_is_off(config: RuntimeConfig) -> str | None:
    """Why nothing can be compiled here, None where it can.  Imports nothing."""
    if config.tuning.jit_worker_count == 0:
        return "no_workers"
    try:
        host_target()
    except EvmaotError as error:
        return error.reference
    if not sys.executable:
        return "no_interpreter"
    # A module that a test or a program put out of reach raises ValueError.
    try:
        found = importlib.util.find_spec("llvmlite")
    except ValueError:
        found = None
    return None if found is not None else "llvmlite_missing"


_live: weakref.WeakSet[Core] = weakref.WeakSet()


def _at_exit() -> None:
    for core in list(_live):
        core.close()


def _after_fork_in_child() -> None:
    for core in list(_live):
        core.become_child()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
