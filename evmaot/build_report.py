"""What a build is asked for, what it says while it runs, and what it answers.

Job: the data of the build use case.  Invariants: plain values, no terminal and no store in them; every failure has a
stable name.  May import: `evmaot.codegen.options`, `evmaot.evm`, `evmaot.inputs`, `evmaot.store.manifest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evmaot.codegen.options import CompileOptions
from evmaot.evm.forks import Fork
from evmaot.inputs.deny import DenyList
from evmaot.inputs.source import ContractSource, Problem

if TYPE_CHECKING:
    from evmaot.build_inputs import Gathered

DEFAULT_PACK_SIZE: Final = 256
DEFAULT_TIMEOUT_SECONDS: Final = 300.0
DEFAULT_MEMORY_LIMIT_BYTES: Final = 4 << 30
DEFAULT_FLUSH_SECONDS: Final = 10.0
WORK_PER_UNIT: Final = 2048
"""Code that takes as long to compile as the smallest does, about."""
MAX_LABELS: Final = 16
"""Labels kept of one code; the count of its sources is exact."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.  Everything that influences compiled bytes is in `forks`, `options` and `linker`."""

    sources: Iterable[ContractSource | Problem] | Gathered
    """What was gathered once serves several builds."""
    forks: tuple[Fork, ...]
    options: CompileOptions = field(default_factory=CompileOptions)
    linker: str = "own"
    jobs: int = 1
    """Worker processes."""
    pack_size: int = DEFAULT_PACK_SIZE
    """Contracts in one library, 1 to 4096."""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    """For one unit."""
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES
    """For one unit."""
    flush_seconds: float = DEFAULT_FLUSH_SECONDS
    """Compiled units wait no longer than this for their pack to be full before they are stored."""
    force: bool = False
    """Compile what is stored, or is known to fail, as well."""
    fail_fast: bool = False
    dry_run: bool = False
    """Only say what would be compiled."""
    deny: DenyList | None = None
    """What is not compiled."""
    rank: bool = False
    """The most frequent codes are compiled and stored first, not the largest."""
    limit: int | None = None
    """At most so many distinct codes, the most frequent."""
    strip_metadata: bool = False
    """Metadata at the end of a code is a hole: codes that differ in it alone share an artifact."""
    created: str | None = None
    """Time for the manifests, RFC 3339 UTC; the clock's where it is None."""


class UnitStatus(str, Enum):
    """What became of a unit."""

    COMPILED = "compiled"
    CACHED = "cached"
    FAILED = "failed"
    PLANNED = "planned"
    """Would be compiled (dry run)."""
    UNFINISHED = "unfinished"
    """The build was stopped before."""


@dataclass(slots=True)
class UnitReport:
    """One code under one set of rules."""

    unit_key: str
    code_hash: str | None
    """Keccak-256 of the code, hex; None where nobody had to know it."""
    code_sha256: str
    code_size_bytes: int
    label: str
    """Of the first source with this code."""
    labels: tuple[str, ...]
    """Of all sources, at most 16."""
    sources: int
    """Sources with this code."""
    heat: int
    """How often they say that it occurs."""
    forks: tuple[str, ...]
    """Forks that were asked for and that this unit serves."""
    rules: str
    status: UnitStatus
    reason: str | None = None
    """Of a failure: stable snake_case."""
    message: str | None = None
    cause: str | None = None
    hint: str | None = None
    holes: tuple[tuple[int, int], ...] = ()
    """Of a template: (offset, length) of what deployments fill differently."""
    codes: int = 1
    """Distinct codes of the inputs that it is, or as a template stands for."""
    template_refusal: str | None = None
    """Why a code with holes is compiled as it is."""
    remembered: bool = False
    """The failure is of an earlier build."""
    seconds: float = 0.0
    """Wall time in the worker."""
    phase_seconds: dict[str, float] = field(default_factory=dict)
    object_size_bytes: int = 0
    pack: str | None = None
    """SHA-256 of the library it is in."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """A library that this build published."""

    sha256: str
    path: Path
    size_bytes: int
    members: int
    link_seconds: float
    publish_seconds: float
    """With its checks."""


@dataclass(frozen=True, slots=True)
class BuildCounts:
    """Units by what became of them so far."""

    total: int = 0
    compiled: int = 0
    cached: int = 0
    failed: int = 0
    published: int = 0
    """Compiled units that are stored."""
    work: int = 0
    """What the store lacked, in bytes of code and `WORK_PER_UNIT` for each: time goes by that, not by number."""
    work_done: int = 0
    """Of it, what is compiled, failed, or came from another process."""

    @property
    def done(self) -> int:
        """Units that need nothing more than publication."""
        return self.compiled + self.cached + self.failed


class EventKind(str, Enum):
    """What just happened."""

    PLANNED = "planned"
    """All inputs are read and looked up: the counts are known."""
    STARTED = "started"
    """A unit went to a worker."""
    COMPILED = "compiled"
    CACHED = "cached"
    """A unit that another process compiled meanwhile."""
    FAILED = "failed"
    PUBLISHED = "published"
    """A pack was stored; the subject is its SHA-256."""
    WAITING = "waiting"
    """Only units are left that other processes are compiling."""


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One step, for progress displays."""

    kind: EventKind
    subject: str
    """A label, or a library's SHA-256."""
    counts: BuildCounts
    reason: str | None = None
    seconds: float = 0.0
    workers: int = 0
    """Of PLANNED: how many units are compiled at a time."""


Observer = Callable[[BuildEvent], None]


@dataclass(slots=True)
class BuildReport:
    """What a build did."""

    profile_id: str = ""
    profile: str = ""
    """Digest of the profile, hex."""
    sources: int = 0
    """Contracts in the inputs."""
    distinct_codes: int = 0
    undeployed: int = 0
    """Of these, how many lack what deployment writes into them (immutables, addresses of libraries)."""
    units: list[UnitReport] = field(default_factory=list)
    """By label, then key."""
    problems: list[Problem] = field(default_factory=list)
    """Of inputs."""
    denied_unmatched: int = 0
    """Hashes of the deny list that no code of the inputs has."""
    problems_omitted: dict[str, int] = field(default_factory=dict)
    """Problems beyond the first thousand of a name."""
    packs: list[PackReport] = field(default_factory=list)
    wall_seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False

    def count(self, status: UnitStatus) -> int:
        """Units with that status."""
        return sum(unit.status is status for unit in self.units)

    @property
    def contract_forks(self) -> int:
        """Pairs of a distinct code and a fork that were asked for."""
        return sum(len(unit.forks) for unit in self.units)

    @property
    def failed(self) -> list[UnitReport]:
        """Units that could not be compiled."""
        return [unit for unit in self.units if unit.status is UnitStatus.FAILED]

    @property
    def is_partial(self) -> bool:
        """Whether an input or a unit failed, or the build was stopped."""
        unfinished = self.count(UnitStatus.UNFINISHED) > 0
        return bool(self.failed) or unfinished or any(problem.severity == "error" for problem in self.problems)
