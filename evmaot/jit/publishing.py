"""Compiled jobs on their way into the store.

Job: link what belongs together (in a worker), store it (in the store thread), load it from there, and say how it
ended.  Invariants: a job that a clear took out of the table is not stored; where storing fails the process goes on
with what was compiled, and leaves the store alone for a while.
May import: `evmaot.runtime`, errors, jit.*.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from evmaot.errors import EvmaotError
from evmaot.jit.compiler import LinkJob
from evmaot.jit.jobs import Job, Phase
from evmaot.jit.publisher import Bundle, Publisher, distinct, new_library
from evmaot.runtime.artifacts import NewLibrary
from evmaot.runtime.catalog import LibraryRecord
from evmaot.runtime.events import CompilationKind, PublicationFailedEvent, PublishedEvent
from evmaot.workers import JobResult

if TYPE_CHECKING:
    from evmaot.jit.core import Core
    from evmaot.jit.crew import Crew

logger = logging.getLogger("evmaot.jit")

_PAUSE_AFTER_FAILURE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store thread did with a bundle."""

    records: tuple[LibraryRecord, ...] = ()
    error: EvmaotError | None = None
    library_size_bytes: int = 0
    seconds: float = 0.0


class Publishing:
    """Belongs to the thread that schedules, but for `_store`, which runs in the store thread."""

    def __init__(
        self, core: Core, crew: Crew, is_current: Callable[[Job], bool], end: Callable[[Job, Stored], None]
    ) -> None:
        self._core = core
        self._crew = crew
        self._is_current = is_current
        self._end = end
        self._collected = Publisher()
        self._to_link: deque[Bundle] = deque()
        self._generation = 0
        self._retry_at = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether what is compiled for hot keys is to be stored."""
        core = self._core
        asked = core.config.aot or (core.store is not None and core.store.publishes_jit)
        return asked and time.monotonic() >= self._retry_at

    def is_for_store(self, job: Job) -> bool:
        """Whether what is compiled for a job can be linked into a library of the store."""
        return job.kind is CompilationKind.AOT or (job.tier is self._core.tuning.aot_opt_level and self.is_wanted)

    @property
    def deadline(self) -> float | None:
        """When there is something to do in any case."""
        return self._collected.deadline

    def add(self, job: Job) -> None:
        """A job with an output is to be stored."""
        job.phase = Phase.READY
        self._collected.add(job, time.monotonic())

    def step(self, *, others_are_coming: bool) -> None:
        """Bring what is due on its way."""
        if not self._collected.due(time.monotonic(), others_are_coming=others_are_coming):
            return
        for bundle in self._collected.take():
            for job in bundle.jobs:
                job.phase = Phase.PUBLISHING
            outputs = distinct(bundle)
            if len(outputs) == 1:
                self._send(bundle, outputs[0].library)
            else:
                self._to_link.append(bundle)

    def dispatch(self) -> list[JobResult]:
        """Give what is to be linked to free workers."""
        failures: list[JobResult] = []
        while self._to_link and self._crew.free:
            bundle = self._to_link.popleft()
            outputs = distinct(bundle)
            job = LinkJob(
                tuple(output.unit for output in outputs),
                tuple(output.object_data or b"" for output in outputs),
                None,
                self._crew.surroundings,
            )
            failures += self._crew.start(bundle, job, self._core.tuning.aot_timeout)
        return failures

    def linked(self, bundle: Bundle, result: JobResult) -> None:
        """A worker linked a bundle, or failed to."""
        if result.failure is None:
            self._send(bundle, result.value)
            return
        # Each alone, as its own worker linked it: one of them may be what the linker does not take.
        logger.warning("linking %d units failed: %s", len(bundle.jobs), result.failure.message)
        self._send_each(bundle)

    def give_up(self) -> None:
        """There is nobody who links."""
        while self._to_link:
            self._send_each(self._to_link.popleft())

    def _send_each(self, bundle: Bundle) -> None:
        for output in distinct(bundle):
            alone = tuple(
                job for job in bundle.jobs if job.output is not None and job.output.unit.key == output.unit.key
            )
            self._send(Bundle(alone), output.library)

    def _send(self, bundle: Bundle, library: bytes) -> None:
        jobs = tuple(job for job in bundle.jobs if self._is_current(job))
        if len(jobs) < len(bundle.jobs):
            # A clear came between: none of what was begun before it is stored.
            return
        try:
            # Made here and now: a clear takes the outputs away, while the store thread may be at work on them.
            made = new_library(bundle, library)
        except Exception as error:
            logger.exception("a library could not be described")
            self._stored(bundle, Stored(error=EvmaotError("store_failed", f"{type(error).__name__}: {error}"[:400])))
            return
        if not self._core.store_thread.submit(partial(self._store, bundle, made, self._generation)):
            self._stored(bundle, Stored(error=EvmaotError("store_busy", "too much waits to be stored")))

    def _store(self, bundle: Bundle, library: NewLibrary, generation: int) -> None:
        """Runs in the store thread."""
        if generation != self._generation:
            return
        core, start = self._core, time.perf_counter()
        try:
            store = core.artifact_store()
            records = core.catalogue.add_artifacts(store.store(library))
            with store.reading():
                for record in records:
                    core.catalogue.load(record, again=True)
            stored = Stored(tuple(records), None, len(library.data), time.perf_counter() - start)
        except EvmaotError as error:
            stored = Stored(error=error)
        except BaseException as error:  # a store may be anybody's code
            logger.exception("storing artifacts failed")
            stored = Stored(error=EvmaotError("store_failed", f"{type(error).__name__}: {error}"[:400]))
        core.controls.append(partial(self._stored, bundle, stored))
        core.wake()

    def _stored(self, bundle: Bundle, stored: Stored) -> None:
        core = self._core
        keys = tuple(job.key for job in bundle.jobs)
        if stored.error is None:
            core.notify(PublishedEvent(keys, stored.library_size_bytes, stored.seconds))
        else:
            self._retry_at = time.monotonic() + _PAUSE_AFTER_FAILURE_SECONDS
            error = stored.error
            logger.warning("not stored: %s: %s (%s)", error.reference, error.message, error.cause)
            core.notify(PublicationFailedEvent(keys, error.reference, error.message))
        for job in bundle.jobs:
            self._end(job, stored)

    def clear(self) -> None:
        """Forget what is on its way; what the store thread is writing now is written."""
        self._generation += 1
        self._collected.clear()
        self._to_link.clear()
        self._retry_at = 0.0
