"""How a runtime is configured: `RuntimeConfig` and its `RuntimeTuning`, each value with its default.

Job: the names, their defaults and limits, and the environment variables that override them.  Invariants: the tables
below are what a test compares with the code; a value out of range, in code or in the environment, is an error and
never a default.  May import: errors, runtime.events, runtime.preloading.

Sizes are bytes, times are seconds.  `RuntimeConfig`:

    enabled             False             compile and answer look-ups; otherwise both wait for `set_enabled(True)`
    thread_name         evmaot-backend    of the thread that schedules; its helpers add a suffix
    store               None              an `ArtifactStore`, or the directory of one
    preload             eager             load the store's libraries at the start, or (lazy) each when it is needed
    mapping             copy              how libraries come into memory (`LibraryMapping`)
    profiles            current           whose code of the store is used: this compiler's; any; or digests of profiles
    require_signed      False             leave out packs of a directory that were imported without a trusted signature
    tuning              RuntimeTuning()   the table below
    dump_dir            None              write every stage of each compilation to DIR/FORK/CODE_HASH/
    debug_assertions    False             workers compile twice, compare the bytes, and load them before they answer
    single_error        False             one status, OUT_OF_GAS, for all exceptional halts; part of the key
    no_dedup            False             do not share equal code between blocks: this compiler never does
    no_dse              False             do not remove dead stores to the stack: this compiler never does
    gas_params          None              other prices, by opcode or fork parameter; part of the key
    aot                 False             hot misses become artifacts of the store
    jit_mode            tiered            answer with fast code first (tiered), or with `jit_opt_level` alone (direct)
    backend             auto              what generates code; there is one: LLVM
    blocking            False             every look-up compiles and waits; implies enabled and a hot threshold of 0
    on_compilation      None              called with each `CompilationEvent`
    on_event            None              called with every event

`RuntimeTuning`:

    channel_capacity                4096          requests, and events of look-ups, that may wait
    max_events_per_drain            4096          events that are taken at once
    event_drain_interval            0.1           longest time between two drains
    shutdown_timeout                5.0           `close` takes no longer
    jit_hot_threshold               8             misses that make a key hot
    jit_max_bytecode_len            24576         longer code is not eligible; 0: no limit
    jit_max_pending_jobs            2048          hot keys are not admitted beyond it, explicit requests wait
    jit_worker_count                cpus/2        rounded up, from 1 to 4; 0: nothing is compiled
    jit_timeout                     5.0           deadline of one compilation; beyond 8 KiB proportionally longer
    aot_timeout                     300.0         deadline of one compilation for the store
    jit_worker_memory_limit_bytes   2147483648    address space of one compilation, beyond that of an idle worker
    jit_worker_cpu_count            0             CPUs that the workers share; 0: all
    jit_worker_queue_capacity       64            jobs that may wait in the pool of workers
    jit_opt_level                   optimised     tier of code that stays
    aot_opt_level                   optimised     tier of code that is published
    resident_code_cache_bytes       1073741824    budget of AOT and JIT code together
    idle_evict_duration             600.0         what was not looked up for so long is evicted; 0: never
    eviction_sweep_interval         60.0          between two searches for idle code
    compiler_recycle_threshold      1000          jobs after which a worker is replaced

Every row but `store`, `tuning`, `gas_params` and the callbacks is overridden by the environment variable ``EVMAOT_`` +
its name in capitals, for example ``EVMAOT_JIT_HOT_THRESHOLD=2`` or ``EVMAOT_RESIDENT_CODE_CACHE_BYTES=256MiB``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from evmaot.errors import UsageError
from evmaot.runtime.preloading import CURRENT, LibraryMapping, Preload, Profiles, checked_profiles

if TYPE_CHECKING:
    from evmaot.runtime.artifacts import ArtifactStore
    from evmaot.runtime.events import CompilationEvent, RuntimeEvent

ENVIRONMENT_PREFIX: Final = "EVMAOT_"


class OptLevel(str, Enum):
    """A tier of the compiler; the names are those of artifacts' profiles."""

    FAST = "fast"
    OPTIMISED = "optimised"


class JitMode(str, Enum):
    """How a missing program is made."""

    TIERED = "tiered"
    """Fast code first, replaced by `jit_opt_level` in the background."""
    DIRECT = "direct"
    """`jit_opt_level` alone."""


class BackendSelection(str, Enum):
    """What generates machine code."""

    AUTO = "auto"
    LLVM = "llvm"


def default_worker_count() -> int:
    """Half of the CPUs that this process may use, rounded up, from 1 to 4."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        cpus = os.cpu_count() or 1
    return min(max(-(-cpus // 2), 1), 4)


@dataclass(frozen=True, slots=True)
class RuntimeTuning:
    """Capacities, intervals and limits; the module's second table says what each is.

    Raises UsageError ``bad_tuning`` for a value out of range.
    """

    channel_capacity: int = 4096
    max_events_per_drain: int = 4096
    event_drain_interval: float = 0.1
    shutdown_timeout: float = 5.0
    jit_hot_threshold: int = 8
    jit_max_bytecode_len: int = 24 * 1024
    jit_max_pending_jobs: int = 2048
    jit_worker_count: int = field(default_factory=default_worker_count)
    jit_timeout: float = 5.0
    aot_timeout: float = 300.0
    jit_worker_memory_limit_bytes: int = 2 << 30
    jit_worker_cpu_count: int = 0
    jit_worker_queue_capacity: int = 64
    jit_opt_level: OptLevel = OptLevel.OPTIMISED
    aot_opt_level: OptLevel = OptLevel.OPTIMISED
    resident_code_cache_bytes: int = 1 << 30
    idle_evict_duration: float = 600.0
    eviction_sweep_interval: float = 60.0
    compiler_recycle_threshold: int = 1000

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            # `not` before the comparison: a NaN compares with nothing.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise _out_of_range(name, value, f"from {low} to {high}")
            if not isinstance(value, int) and name in _INTEGERS:
                raise _out_of_range(name, value, "a whole number")
        for name in ("jit_opt_level", "aot_opt_level"):
            object.__setattr__(self, name, _member(OptLevel, name, getattr(self, name)))


_COUNT: Final = (1, 1 << 20)
_SECONDS: Final = (0.001, 86400.0 * 365)
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "channel_capacity": _COUNT,
    "max_events_per_drain": _COUNT,
    "event_drain_interval": _SECONDS,
    "shutdown_timeout": _SECONDS,
    "jit_hot_threshold": (0, 1 << 30),
    "jit_max_bytecode_len": (0, 1 << 30),
    "jit_max_pending_jobs": _COUNT,
    "jit_worker_count": (0, 256),
    "jit_timeout": _SECONDS,
    "aot_timeout": _SECONDS,
    "jit_worker_memory_limit_bytes": (1 << 20, 1 << 50),
    "jit_worker_cpu_count": (0, 1 << 16),
    "jit_worker_queue_capacity": _COUNT,
    "resident_code_cache_bytes": (0, 1 << 60),
    "idle_evict_duration": (0, 86400.0 * 365),
    "eviction_sweep_interval": _SECONDS,
    "compiler_recycle_threshold": (1, 1 << 30),
}
_INTEGERS: Final = frozenset(name for name in _RANGES if not name.endswith(("interval", "timeout", "duration")))


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """How one backend behaves; the module's first table says what each field is.

    Raises UsageError ``bad_tuning`` or ``unknown_value`` for a value that is none of its kind.
    """

    enabled: bool = False
    thread_name: str = "evmaot-backend"
    store: ArtifactStore | str | os.PathLike[str] | None = None
    preload: Preload = Preload.EAGER
    mapping: LibraryMapping = LibraryMapping.COPY
    profiles: Profiles = CURRENT
    require_signed: bool = False
    tuning: RuntimeTuning = field(default_factory=RuntimeTuning)
    dump_dir: str | os.PathLike[str] | None = None
    debug_assertions: bool = False
    single_error: bool = False
    no_dedup: bool = False
    no_dse: bool = False
    gas_params: Mapping[str, int] | None = None
    aot: bool = False
    jit_mode: JitMode = JitMode.TIERED
    backend: BackendSelection = BackendSelection.AUTO
    blocking: bool = False
    on_compilation: Callable[[CompilationEvent], object] | None = None
    on_event: Callable[[RuntimeEvent], object] | None = None

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            object.__setattr__(self, name, _member(kind, name, getattr(self, name)))
        object.__setattr__(self, "profiles", checked_profiles(self.profiles))

    @property
    def starts_enabled(self) -> bool:
        """Whether a backend with this configuration begins at once."""
        return self.enabled or self.blocking

    @property
    def hot_threshold(self) -> int:
        """Misses that make a key hot."""
        return 0 if self.blocking else self.tuning.jit_hot_threshold


_CHOICES: Final[Mapping[str, type[Enum]]] = {
    "preload": Preload,
    "mapping": LibraryMapping,
    "jit_mode": JitMode,
    "backend": BackendSelection,
}
_NOT_IN_ENVIRONMENT: Final = frozenset({"store", "tuning", "gas_params", "on_compilation", "on_event"})
"""`EVMAOT_STORE` is the command line's: a program that names no store gets none by a variable."""

_Choice = TypeVar("_Choice", bound=Enum)


def with_environment(config: RuntimeConfig, environment: Mapping[str, str] | None = None) -> RuntimeConfig:
    """The configuration with what ``EVMAOT_*`` variables say.  Raises UsageError ``bad_variable``, ``bad_tuning``."""
    known = os.environ if environment is None else environment
    changes = _overrides(RuntimeConfig, known)
    tuning = _overrides(RuntimeTuning, known)
    if tuning:
        changes["tuning"] = replace(config.tuning, **tuning)
    return replace(config, **changes) if changes else config


def variables() -> dict[str, str]:
    """Environment variables, with the field that each overrides."""
    names = [item.name for kind in (RuntimeConfig, RuntimeTuning) for item in fields(kind)]
    return {ENVIRONMENT_PREFIX + name.upper(): name for name in names if name not in _NOT_IN_ENVIRONMENT}


def _overrides(kind: type[Any], environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(kind):
        variable = ENVIRONMENT_PREFIX + item.name.upper()
        text = environment.get(variable)
        if text and item.name not in _NOT_IN_ENVIRONMENT:
            try:
                found[item.name] = _parsed(item.name, str(item.type), text.strip())
            except ValueError as error:
                raise UsageError(
                    "bad_variable",
                    f"bad value for {variable}",
                    context={"variable": variable, "value": text},
                    cause=str(error),
                    hint="correct or unset it",
                ) from error
    return found


def _parsed(name: str, declared: str, text: str) -> Any:
    if declared == "bool":
        if text.lower() not in _WORDS:
            raise ValueError(f"{text!r} is not true or false")
        return _WORDS[text.lower()]
    if declared == "int":
        return _number(text, _SIZES if name.endswith(("bytes", "len")) else {"": 1})
    if declared == "float":
        return float(_number(text, _TIMES))
    return text


_WORDS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_SIZES: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TIMES: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _number(text: str, units: Mapping[str, float]) -> Any:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if match is None or match[2] not in units or ("." in match[1] and units is not _TIMES):
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{text!r} is not a number" + (f" with one of the units {known}" if known else ""))
    number = float(match[1]) if "." in match[1] else int(match[1])
    return number * units[match[2]]


def _member(kind: type[_Choice], name: str, value: object) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise _out_of_range(name, value, "one of: " + ", ".join(str(item.value) for item in kind)) from None


def _out_of_range(name: str, value: object, expected: str) -> UsageError:
    return UsageError(
        "bad_tuning",
        f"bad value for {name}",
        context={"name": name, "value": repr(value)[:80]},
        cause=f"{value!r} is not {expected}"[:200],
        hint="see the tables of evmaot.runtime.config",
    )
