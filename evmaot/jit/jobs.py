"""Requests, jobs and outcomes.

Job: what travels between callers and the thread that schedules.  Invariants: a request ends in exactly one outcome; a
job is one key of one kind, whoever asked for it.  May import: `evmaot.runtime`, errors, jit.residency.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from evmaot.jit.residency import Pair
from evmaot.runtime.config import OptLevel
from evmaot.runtime.events import CompilationEvent, CompilationKind
from evmaot.runtime.lookup import RuntimeCacheKey
from evmaot.runtime.program import CompiledProgram

if TYPE_CHECKING:
    from evmaot.jit.compiler import CompileOutput

logger = logging.getLogger("evmaot.jit")


@dataclass(frozen=True, slots=True)
class AotRequest:
    """A code to prepare for the store."""

    code_hash: bytes
    """Keccak-256 of the code, 32 bytes."""
    code: bytes
    fork: str
    """Name or alias."""


class OutcomeStatus(Enum):
    """What became of a request."""

    RESIDENT = "resident"
    """It was there already."""
    LOADED = "loaded"
    """It was in the store."""
    COMPILED = "compiled"
    PUBLISHED = "published"
    """Compiled, stored, and loaded from the store."""
    FAILED = "failed"
    """`reason` says why."""
    INELIGIBLE = "ineligible"
    DISABLED = "disabled"
    """The backend was not enabled."""
    DISCARDED = "discarded"
    """A clear came between."""
    CLOSED = "closed"
    """The backend was closed."""


_SUCCESSES = frozenset({OutcomeStatus.RESIDENT, OutcomeStatus.LOADED, OutcomeStatus.COMPILED, OutcomeStatus.PUBLISHED})


@dataclass(frozen=True, slots=True)
class CompilationOutcome:
    """What became of one request."""

    key: RuntimeCacheKey
    status: OutcomeStatus
    program: CompiledProgram | None = None
    """Also after a failure to store what was compiled."""
    reason: str | None = None
    """After a failure: stable snake_case."""
    message: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether what was asked for is there."""
        return self.status in _SUCCESSES


OutcomeFuture = Future[CompilationOutcome]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One call of a caller, or one hot key."""

    kind: CompilationKind
    code_hash: bytes
    fork_name: str
    """As the caller spells it."""
    code: bytes
    future: OutcomeFuture | None = None
    """None: a hot key, for which nobody waits."""

    @property
    def key(self) -> RuntimeCacheKey:
        """The key that was asked for."""
        return RuntimeCacheKey(self.code_hash, self.fork_name)

    def end(self, outcome: CompilationOutcome) -> None:
        """Tell who waits; nothing where it was told before."""
        if self.future is None:
            return
        try:
            self.future.set_result(outcome)
        except InvalidStateError:
            pass
        except BaseException:
            # Of a callback of the future that would end this thread (`sys.exit`): it costs nobody else's job.
            if threading.current_thread() is threading.main_thread():
                raise
            logger.exception("a callback of a future raised")


class Urgency(IntEnum):
    """What is compiled first."""

    EXPLICIT = 0
    HOT = 1
    UPGRADE = 2


class Phase(Enum):
    """Where a job is."""

    LOADING = "loading"
    WAITING = "waiting"
    """Another process is compiling it."""
    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    """Compiled, and to be published."""
    PUBLISHING = "publishing"


JobKey = tuple[Pair, CompilationKind]


@dataclass(slots=True, eq=False)
class Job:
    """One key that is worked on."""

    kind: CompilationKind
    pair: Pair
    """Code hash and the fork's own name."""
    fork_name: str
    """As it was first asked for: what is installed is found under this name."""
    code: bytes
    tier: OptLevel
    urgency: Urgency
    is_upgrade: bool = False
    is_load_only: bool = False
    """Not hot yet: loaded from the store if it is there, and else left alone."""
    phase: Phase = Phase.LOADING
    requests: list[Request] = field(default_factory=list)
    output: CompileOutput | None = None
    """Once it is compiled and until it is published."""
    unit_key: str | None = None
    """Of a job for the store, once it is known."""
    has_lock: bool = False
    may_compile: bool = False
    """Whether the lock of its unit key is settled."""
    lock_attempts: int = 0
    patience_until: float = 0.0

    @property
    def job_key(self) -> JobKey:
        """Under which it is found."""
        return self.pair, self.kind

    @property
    def key(self) -> RuntimeCacheKey:
        """Its key, for events."""
        return RuntimeCacheKey(self.pair[0], self.fork_name)

    def event(
        self,
        seconds: float,
        library_size_bytes: int,
        phase_seconds: dict[str, float],
        reason: str | None = None,
        error: str | None = None,
    ) -> CompilationEvent:
        """What is told when it was compiled, or failed to be (`reason`, `error`)."""
        return CompilationEvent(
            kind=self.kind,
            key=self.key,
            tier=self.tier.value,
            code_size_bytes=len(self.code),
            library_size_bytes=library_size_bytes,
            seconds=seconds,
            phase_seconds=phase_seconds,
            reason=reason,
            error=error,
        )
