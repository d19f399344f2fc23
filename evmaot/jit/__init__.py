"""Background compilation: look-ups that never wait, and compiled programs behind them.

Job: the public names.  Invariant: importing this loads neither LLVM nor a terminal; compilation runs in worker
processes, so that what it does to time, memory or itself costs one job and never the host.
May import: `evmaot.runtime`, `evmaot.jit.*`.

A backend with a store (it may be missing, and is made when something is published), one contract of it, and what
became of it; ``store_path`` is a directory and ``code`` the contract's bytecode (here ``602a5f5260205ff3``):

>>> from evmaot.evm.keccak import keccak256
>>> from evmaot.jit import AotRequest, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig
>>> request = LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code)
>>> with JitBackend(RuntimeConfig(enabled=True, store=store_path)) as backend:
...     first = backend.lookup(request)  # never waits; keys that are asked for often are compiled
...     answer = backend.compile_jit_sync(request)  # waits
...     then = backend.lookup(request)
...     stored = backend.prepare_aot(AotRequest(keccak256(code), code, "osaka")).result()
...     statistics = backend.stats()
>>> first
Interpret(reason=<InterpretReason.NOT_READY: 'not_ready'>)
>>> answer.status, then.program.kind
(<OutcomeStatus.COMPILED: 'compiled'>, <ProgramKind.JIT: 'jit'>)
>>> stored.status, stored.program.kind
(<OutcomeStatus.PUBLISHED: 'published'>, <ProgramKind.AOT: 'aot'>)
>>> statistics.lookups, statistics.lookup_hits, statistics.compilations_failed
(2, 1, 0)

The next process finds it at its start, and compiles nothing:

>>> with JitBackend(RuntimeConfig(enabled=True, store=store_path)) as backend:
...     decision = backend.lookup(request)
...     backend.stats().compilations_dispatched
0
>>> decision.program.tier
'optimised'

How programs are run is in `evmaot.runtime`; names, defaults and variables of the configuration are in
`evmaot.runtime.config`.  Log lines go to the loggers ``evmaot.jit`` and ``evmaot.runtime``.
"""

from __future__ import annotations

from evmaot.jit.backend import JitBackend
from evmaot.jit.jobs import AotRequest, CompilationOutcome, OutcomeStatus
from evmaot.runtime.config import BackendSelection, JitMode, OptLevel, RuntimeConfig, RuntimeTuning
from evmaot.runtime.events import CompilationEvent, CompilationKind, RuntimeEvent
from evmaot.runtime.lookup import (
    Compiled,
    Interpret,
    InterpretReason,
    LookupDecision,
    LookupRequest,
    RuntimeCacheKey,
)
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.runtime.statistics import RuntimeStatsSnapshot

__all__ = [
    "JitBackend",
    # requests and what becomes of them
    "LookupRequest",
    "RuntimeCacheKey",
    "LookupDecision",
    "Compiled",
    "Interpret",
    "InterpretReason",
    "AotRequest",
    "CompilationOutcome",
    "OutcomeStatus",
    "CompiledProgram",
    "ProgramKind",
    # configuration, events, statistics
    "RuntimeConfig",
    "RuntimeTuning",
    "JitMode",
    "OptLevel",
    "BackendSelection",
    "CompilationEvent",
    "CompilationKind",
    "RuntimeEvent",
    "RuntimeStatsSnapshot",
]
