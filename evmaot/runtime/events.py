"""What a backend tells its owner: events, as values.

Job: one dataclass for each kind of event.  Invariants: an event holds nothing that keeps code loaded; times are
seconds, sizes bytes.  May import: runtime.lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from evmaot.runtime.lookup import RuntimeCacheKey


class CompilationKind(Enum):
    """What a compilation is for."""

    JIT = "jit"
    """For this process."""
    AOT = "aot"
    """For the store."""


@dataclass(frozen=True, slots=True)
class CompilationEvent:
    """A compilation ended."""

    kind: CompilationKind
    key: RuntimeCacheKey
    tier: str
    code_size_bytes: int
    """Of the EVM code."""
    library_size_bytes: int
    """Of the linked library; 0 after a failure."""
    seconds: float
    """Wall time from when a worker had it until its code was loaded."""
    phase_seconds: Mapping[str, float] = field(hash=False)
    """``analyse``, ``emit``, ``optimise``, ``codegen``, ``link``, ``load``; empty after a failure."""
    reason: str | None = None
    """After a failure: ``compile_timeout``, ``compile_memory``, ``compile_crash``, ``compiler_bug`` and others."""
    error: str | None = None
    """After a failure: what happened, in words."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a program."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class PreloadedEvent:
    """The store was read at the start."""

    programs_indexed: int
    programs_loaded: int
    libraries_loaded: int
    loaded_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SkippedEvent:
    """An artifact, library or store was left out."""

    reason: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class EvictedEvent:
    """Code was given back: least recently used over the budget, or idle."""

    reason: str
    """``budget`` or ``idle``."""
    keys: tuple[RuntimeCacheKey, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """Artifacts were stored in one library."""

    keys: tuple[RuntimeCacheKey, ...]
    library_size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PublicationFailedEvent:
    """Artifacts could not be stored; the process goes on without."""

    keys: tuple[RuntimeCacheKey, ...]
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class WorkerRestartedEvent:
    """A worker process was replaced."""

    count: int
    """Since the last such event."""
    reason: str
    """``timeout``, ``crash``, ``memory`` or ``recycled``."""


RuntimeEvent: TypeAlias = (
    CompilationEvent
    | PreloadedEvent
    | SkippedEvent
    | EvictedEvent
    | PublishedEvent
    | PublicationFailedEvent
    | WorkerRestartedEvent
)
"""What `RuntimeConfig.on_event` is called with."""
