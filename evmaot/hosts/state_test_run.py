"""Many state tests at once: worker processes, batches, resumption.

Job: `run_cases` sends batches of cases to worker processes and yields results as they come.  Invariants:
every chosen case yields exactly one result, also when a worker crashes, hangs or is killed: then the
batch's cases run again one by one, and the one that does it is the failure; results of an earlier run are
yielded, not repeated.  May import: `evmaot.workers`, hosts.state_tests, hosts.state_test_eels, execution.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evmaot.hosts import eels
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

    mode: str = "optimised"
    """``fast``, ``optimised`` or ``interpreter``."""
    cache: str | None = None
    """Directory of compiled images that runs share, see `execution.programs.JitPrograms`."""


@dataclass(frozen=True, slots=True)
class _Batch:
    settings: RunSettings
    tests: tuple[tuple[StateTest, tuple[CaseKey, ...]], ...]

    @property
    def cases(self) -> list[tuple[StateTest, CaseKey]]:
        return [(test, key) for test, keys in self.tests for key in keys]


class _Worker:
    """A worker process's state: one runner, and native execution switched on for one set of settings."""

    def __init__(self, settings: RunSettings) -> None:
        # EELS's tools log every rejected transaction.
        logging.disable(logging.CRITICAL)
        self.settings = settings
        self.runner = EelsRunner()
        eels.disable()
        if settings.mode != INTERPRETER:
            eels.enable(_programs(settings), strict=True)

    def run(self, batch: _Batch) -> list[CaseResult]:
        """Run a batch's cases."""
        return [run_case(self.runner, test, key, self.settings.mode, native_frames) for test, key in batch.cases]


_worker: _Worker | None = None


def native_frames() -> int:
    """Frames that ran natively so far in this process."""
    return eels.statistics().native_frames


def _programs(settings: RunSettings) -> Any:
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.execution.programs import JitPrograms

    return JitPrograms(CompileOptions(Tier(settings.mode)), Path(settings.cache) if settings.cache else None)


def run_batch(batch: _Batch) -> list[CaseResult]:
    """What a worker does."""
    global _worker
    if _worker is None or _worker.settings != batch.settings:
        _worker = _Worker(batch.settings)
    return _worker.run(batch)


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
    limits = WorkerLimits(timeout_seconds, _ADDRESS_SPACE_BYTES)
    with WorkerPool(run_batch, workers=jobs, limits=limits, recycle_after=200) as pool:
        waiting: deque[_Batch] = deque()
        for item in _batches(tests, wants, settings, earlier or {}):
            if isinstance(item, CaseResult):
                yield item
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


def _drain(pool: WorkerPool, waiting: deque[_Batch], *, until_empty: bool) -> Iterator[CaseResult]:
    """Submit what waits and yield results; returns when there is room again, or when all is done."""
    while waiting or (until_empty and pool.pending):
        while waiting and pool.has_room:
            batch = waiting.popleft()
            pool.submit(batch, batch)
        if not waiting and not until_empty:
            return
        for result in pool.wait():
            yield from _results_of(result, waiting)


def _results_of(result: JobResult, waiting: deque[_Batch]) -> Iterator[CaseResult]:
    batch: _Batch = result.token
    if result.failure is None:
        yield from result.value
        return
    cases = batch.cases
    if len(cases) > 1:
        waiting.extendleft(_Batch(batch.settings, ((test, (key,)),)) for test, key in reversed(cases))
        return
    test, key = cases[0]
    problem = f"{result.failure.reason}: {result.failure.message}"
    yield CaseResult(
        test.id, test.file, key.fork_name, key.index, False, problem, 0, round(result.seconds, 6), batch.settings.mode
    )
