"""One compilation of a key on a machine at a time, where its result is to be stored.

Job: before a job for the store is compiled, take the store's build lock of its unit key, the same that a build takes;
where another process has it, wait for what that one publishes.  Invariants: nothing here waits: locks are tried in the
store thread, and tried again later; a lock is held until the job has its outcome, and no longer than this process
lives; where no lock can be had for too long, or at all, the code is compiled all the same, for a second artifact of
one key is a waste and no fault.  May import: `evmaot.runtime`, `evmaot.store.locks`, errors, jit.*.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from evmaot.errors import EvmaotError
from evmaot.jit.jobs import Job, Phase
from evmaot.jit.store_search import load_from_store
from evmaot.runtime.catalog import LibraryRecord
from evmaot.runtime.directory_store import DirectoryStore
from evmaot.runtime.events import CompilationKind
from evmaot.runtime.program import ProgramKind
from evmaot.store.locks import UnitLocks

if TYPE_CHECKING:
    from evmaot.jit.core import Core

logger = logging.getLogger("evmaot.jit")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 30.0
"""For what comes after a compilation: linking, and being stored together with others."""


class _Locks:
    """Build locks of one store, counted: forks that a code can't tell apart have one unit key."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store
        self._mutex = threading.Lock()
        self._locks: UnitLocks | None = None
        self._held: Counter[str] = Counter()
        self._is_closed = False

    def take(self, key: str) -> bool:
        """Whether this process has the lock now.  Raises StoreError."""
        with self._mutex:
            if self._is_closed:
                return False
            if self._locks is None:
                self._locks = self._store.unit_locks()
            has_it = self._held[key] > 0 or self._locks.try_lock(key)
            self._held[key] += has_it
            return has_it

    def give_back(self, key: str) -> None:
        """Undo one `take`."""
        with self._mutex:
            self._held[key] -= 1
            if self._held[key] <= 0:
                del self._held[key]
                if self._locks is not None:
                    self._locks.unlock(key)

    def close(self) -> None:
        """Give all back."""
        with self._mutex:
            self._is_closed = True
            if self._locks is not None:
                self._locks.close()

    def abandon(self) -> None:
        """In a child of `fork`: the locks are the parent's, and stay so when the child closes its descriptor."""
        self._mutex = threading.Lock()
        self.close()


class SingleFlight:
    """Belongs to the thread that schedules, but for `_try`, which runs in the store thread."""

    def __init__(
        self,
        core: Core,
        is_current: Callable[[Job], bool],
        looked: Callable[[Job, LibraryRecord | None], None],
    ) -> None:
        """`looked` is called with a job and the library that was loaded for it, None where there is none."""
        self._core = core
        self._is_current = is_current
        self._looked = looked
        # Other stores are this process's alone, or know no locks.
        self._locks = _Locks(core.store) if isinstance(core.store, DirectoryStore) else None
        self._waiting: list[tuple[float, Job]] = []

    def wants(self, job: Job) -> bool:
        """Whether the job's unit key is to be locked before it is compiled."""
        return self._locks is not None and job.kind is CompilationKind.AOT and not job.may_compile

    def ask(self, job: Job, unit_key: str) -> None:
        """The job's unit key is known now: compile it, take what another process made, or wait for that one."""
        job.unit_key = unit_key
        job.patience_until = time.monotonic() + self._core.tuning.aot_timeout + _GRACE_SECONDS
        self._ask(job)

    def _ask(self, job: Job) -> None:
        job.phase = Phase.LOADING
        if not self._core.store_thread.submit(partial(self._try, job)):
            self._go(job, None)

    def _try(self, job: Job) -> None:
        """Runs in the store thread."""
        core, key, locks = self._core, job.unit_key, self._locks
        assert key is not None
        assert locks is not None
        record, has_lock, is_free = None, False, True
        try:
            has_lock = is_free = locks.take(key)
            # After the lock: what was published before it was given back is seen now.
            record = load_from_store(core, job)
        except EvmaotError as error:
            logger.warning("no build lock, or no look into the store: %s: %s", error.reference, error.message)
        except BaseException:
            logger.exception("taking a build lock failed")
        if has_lock and record is not None:
            locks.give_back(key)
            has_lock = False
        core.controls.append(partial(self._tried, job, record, has_lock, is_free))
        core.wake()

    def _tried(self, job: Job, record: LibraryRecord | None, has_lock: bool, is_free: bool) -> None:
        if not self._is_current(job):
            if has_lock and self._locks is not None and job.unit_key is not None:
                self._locks.give_back(job.unit_key)
            self._core.map.release(record)
            return
        job.has_lock = has_lock
        if record is not None or is_free or self._is_there(job) or time.monotonic() >= job.patience_until:
            self._go(job, record)
        else:
            job.phase = Phase.WAITING
            pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(job.lock_attempts, 16), _LONGEST_PAUSE_SECONDS)
            job.lock_attempts += 1
            self._waiting.append((time.monotonic() + pause, job))

    def _is_there(self, job: Job) -> bool:
        """Whether it came with a library that was loaded for another job."""
        resident = self._core.map.peek(job.pair[0], job.fork_name, job.code)
        return resident is not None and resident.decision.program.kind is ProgramKind.AOT

    def _go(self, job: Job, record: LibraryRecord | None) -> None:
        job.may_compile = True
        self._looked(job, record)

    @property
    def deadline(self) -> float | None:
        """When `step` has something to do."""
        return min((moment for moment, _ in self._waiting), default=None)

    def step(self, now: float) -> None:
        """Try again what is due."""
        if self._waiting:
            due = [job for moment, job in self._waiting if moment <= now]
            self._waiting = [(moment, job) for moment, job in self._waiting if moment > now]
            for job in filter(self._is_current, due):
                self._ask(job)

    def ended(self, job: Job) -> None:
        """A job has its outcome: others may have its key."""
        if job.has_lock and self._locks is not None and job.unit_key is not None:
            job.has_lock = False
            self._locks.give_back(job.unit_key)

    def close(self) -> None:
        """Give all locks back."""
        if self._locks is not None:
            self._locks.close()

    def abandon(self) -> None:
        """In a child of `fork`."""
        if self._locks is not None:
            self._locks.abandon()
