"""Many state tests at once: worker processes, batches, resumption.

Job: `run_cases` sends batches of cases to worker processes and yields results as they come.  Invariants:
every chosen case yields exactly one result, also when a worker crashes, hangs or is killed: then the
batch's cases run again one by one, and the one that does it is the failure; results of an earlier run are
yielded, not repeated.  May import: `evmaot.workers`, hosts.state_tests, hosts.state_test_eels, execution.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evmaot.execution.protocol import ProgramSource
from evmaot.hosts import eels, fast_precompiles
from evmaot.hosts.frame_trace_eels import CaseTrace, trace_case
from evmaot.hosts.state_test_aot import BuiltPrograms, BuiltStore
from evmaot.hosts.state_test_eels import EelsRunner, run_case
from evmaot.hosts.state_tests import CaseKey, CaseResult, StateTest
from evmaot.worker_process import WorkerLimits
from evmaot.workers import JobResult, WorkerPool

INTERPRETER = "interpreter"
"""Mode that proves the runner's own rules: EELS alone."""
BATCH_CASES = 32
"""Cases a worker gets at once."""
_ADDRESS_SPACE_BYTES = 1 << 42
"""Frames reserve 64 GiB of addresses for EVM memory; a real limit would refuse that."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a worker must know."""

    tier: str = "optimised"
    """``fast``, ``optimised`` or ``interpreter``."""
    cache: str | None = None
    """Directory of compiled images that runs share, see `execution.programs.JitPrograms`."""
    built: BuiltStore | None = None
    """The store that the programs come from; None: they are compiled in the worker."""
    fast_precompiles: bool = False
    """Precompiled contracts run on native libraries where those are installed, see `hosts.fast_precompiles`."""

    @property
    def mode(self) -> str:
        """What results are called after: ``fast``, ``aot-fast``, ..."""
        return self.tier if self.built is None else f"aot-{self.tier}"


@dataclass(frozen=True, slots=True)
class _Batch:
    settings: RunSettings
    tests: tuple[tuple[StateTest, tuple[CaseKey, ...]], ...]

    @property
    def cases(self) -> list[tuple[StateTest, CaseKey]]:
        return [(test, key) for test, keys in self.tests for key in keys]


class Ran(NamedTuple):
    """A case's result, and what its store lacked for it."""

    result: CaseResult
    missing: tuple[tuple[bytes, str], ...] = ()
    """Codes, with the names of the forks."""


class _Worker:
    """A worker process's state: one runner, and native execution switched on for one set of settings."""

    def __init__(self, settings: RunSettings) -> None:
        # EELS's tools log every rejected transaction.
        logging.disable(logging.CRITICAL)
        self.settings = settings
        self.runner = EelsRunner()
        self.programs: ProgramSource | None = None
        eels.disable()
        fast_precompiles.restore()
        if settings.fast_precompiles:
            fast_precompiles.install()
        if settings.tier != INTERPRETER:
            self.programs = programs_of(settings)
            eels.enable(self.programs, strict=True)

    def run(self, batch: _Batch) -> list[Ran]:
        """Run a batch's cases."""
        mode, programs = self.settings.mode, self.programs
        done = []
        for test, key in batch.cases:
            result = run_case(self.runner, test, key, mode, native_frames)
            missing = programs.take_missing() if isinstance(programs, BuiltPrograms) else ()
            done.append(Ran(result, missing))
        return done


_worker: _Worker | None = None


def native_frames() -> int:
    """Frames that ran natively so far in this process."""
    return eels.statistics().native_frames


def programs_of(settings: RunSettings) -> ProgramSource:
    """Where a run's native code comes from."""
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.execution.programs import JitPrograms

    cache = Path(settings.cache) if settings.cache else None
    compiler = JitPrograms(CompileOptions(Tier(settings.tier)), cache)
    return compiler if settings.built is None else BuiltPrograms(settings.built, compiler)


def run_batch(batch: _Batch) -> list[Ran]:
    """What a worker does."""
    global _worker
    if _worker is None or _worker.settings != batch.settings:
        _worker = _Worker(batch.settings)
    return _worker.run(batch)


def trace_cases(
    tests: Iterable[StateTest], keys: Collection[CaseKey], settings: RunSettings, timeout_seconds: float = 300.0
) -> Iterator[CaseTrace]:
    """The first differing frame of each of the cases, in a worker: compiled code that is wrong may crash.

    A case whose trace could not be made has the reason as its problem.
    """
    limits = WorkerLimits(timeout_seconds, _ADDRESS_SPACE_BYTES)
    with WorkerPool(run_trace, workers=1, limits=limits) as pool:
        for test in tests:
            for key in test.cases():
                if key not in keys:
                    continue
                pool.submit(key, (settings, test, key))
                while pool.pending:
                    for done in pool.wait():
                        yield done.value if done.failure is None else _untraced(done, key, settings.mode)


def run_trace(job: tuple[RunSettings, StateTest, CaseKey]) -> CaseTrace:
    """What a worker does to trace a case."""
    settings, test, key = job
    logging.disable(logging.CRITICAL)
    if settings.fast_precompiles:
        fast_precompiles.install()
    return trace_case(test, key, programs_of(settings), settings.mode)


def run_cases(
    tests: Iterable[StateTest],
    wants: Callable[[StateTest, CaseKey], bool],
    settings: RunSettings,
    *,
    jobs: int = 1,
    timeout_seconds: float = 300.0,
    earlier: Mapping[tuple[CaseKey, str], CaseResult] | None = None,
) -> Iterator[CaseResult]:
    """Run the cases of `tests` that `wants` selects, in no order; a case has `timeout_seconds` in the end.

    `earlier` are results of an earlier run: those of the same mode are yielded as they are.
    """
    for ran in run_cases_once(tests, wants, settings, jobs, timeout_seconds, earlier or {}):
        yield ran.result


def run_cases_once(
    tests: Iterable[StateTest],
    wants: Callable[[StateTest, CaseKey], bool],
    settings: RunSettings,
    jobs: int,
    timeout_seconds: float,
    earlier: Mapping[tuple[CaseKey, str], CaseResult],
) -> Iterator[Ran]:
    """The same with what a store lacked: such a case was completed by the compiler."""
    limits = WorkerLimits(timeout_seconds, _ADDRESS_SPACE_BYTES)
    with WorkerPool(run_batch, workers=jobs, limits=limits, recycle_after=200) as pool:
        waiting: deque[_Batch] = deque()
        for item in _batches(tests, wants, settings, earlier):
            if isinstance(item, CaseResult):
                yield Ran(item)
                continue
            waiting.append(item)
            yield from _drain(pool, waiting, until_empty=False)
        yield from _drain(pool, waiting, until_empty=True)


def _batches(
    tests: Iterable[StateTest],
    wants: Callable[[StateTest, CaseKey], bool],
    settings: RunSettings,
    earlier: Mapping[tuple[CaseKey, str], CaseResult],
) -> Iterator[_Batch | CaseResult]:
    """Batches of cases to run, and results that are there already."""
    collected: list[tuple[StateTest, tuple[CaseKey, ...]]] = []
    count = 0
    for test in tests:
        keys = []
        for key in test.cases():
            if not wants(test, key):
                continue
            known = earlier.get((key, settings.mode))
            if known is not None:
                yield known
            else:
                keys.append(key)
        if keys:
            collected.append((test, tuple(keys)))
            count += len(keys)
        if count >= BATCH_CASES:
            yield _Batch(settings, tuple(collected))
            collected, count = [], 0
    if collected:
        yield _Batch(settings, tuple(collected))


def _drain(pool: WorkerPool, waiting: deque[_Batch], *, until_empty: bool) -> Iterator[Ran]:
    """Submit what waits and yield results; returns when there is room again, or when all is done."""
    while waiting or (until_empty and pool.pending):
        while waiting and pool.has_room:
            batch = waiting.popleft()
            pool.submit(batch, batch)
        if not waiting and not until_empty:
            return
        for result in pool.wait():
            yield from _results_of(result, waiting)


def _results_of(result: JobResult, waiting: deque[_Batch]) -> Iterator[Ran]:
    batch: _Batch = result.token
    if result.failure is None:
        yield from result.value
        return
    cases = batch.cases
    if len(cases) > 1:
        waiting.extendleft(_Batch(batch.settings, ((test, (key,)),)) for test, key in reversed(cases))
        return
    test, key = cases[0]
    yield Ran(
        CaseResult(
            test.id, test.file, key.fork_name, key.index, False, problem_of(result), 0, round(result.seconds, 6),
            batch.settings.mode,
        )
    )  # fmt: skip


def problem_of(done: JobResult) -> str:
    """Why a worker did not bring a job back."""
    return "" if done.failure is None else f"{done.failure.reason}: {done.failure.message}"


def _untraced(done: JobResult, key: CaseKey, mode: str) -> CaseTrace:
    return CaseTrace(key.test, key.fork_name, key.index, mode, 0, False, None, f"no trace: {problem_of(done)}", "")
