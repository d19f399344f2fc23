"""A stratified sample of the official state tests: every file and every fork, every frame native.

`EVMAOT_SAMPLE` (cases, default 1500), `EVMAOT_SEED` and `EVMAOT_JOBS` change what runs; everything, in
both tiers and modes, is `evmaot statetest` (CONTRIBUTING.md has the commands).  Tests of precompiles run on EELS's
own, which are slow: a tenth of the sample is of them, and another tenth runs from a built store.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.hosts.state_test_rounds import run_cases_ahead_of_time
from evmaot.hosts.state_test_run import RunSettings, run_cases
from evmaot.hosts.state_tests import (
    CaseKey,
    CaseResult,
    Selection,
    groups_of,
    read_tests,
    sample,
    state_test_files,
    summarise,
)

SAMPLE = int(os.environ.get("EVMAOT_SAMPLE", "1500"))
SEED = int(os.environ.get("EVMAOT_SEED", "1"))
JOBS = int(os.environ.get("EVMAOT_JOBS", str(os.cpu_count() or 1)))
NOT_ON_EELS = "Constantinople"
"""EIP-1283 was never on mainnet, so EELS has no such fork."""


def chosen_of(files: list[Path], tag: str, size: int) -> frozenset[CaseKey]:
    """A sample of the cases that EELS has a fork for."""
    groups = groups_of(read_tests(files), Selection(tags=frozenset((tag,))))
    return sample({name: keys for name, keys in groups.items() if name[1] != NOT_ON_EELS}, size, SEED)


def judge(results: list[CaseResult], chosen: frozenset[CaseKey]) -> None:
    """All of them passed, and hardly a fork had nothing to run."""
    assert {result.key for result in results} == chosen and len(results) == len(chosen)
    failures = [result for result in results if not result.passed]
    assert not failures, _listed(failures)
    for row in summarise(results):
        assert row.native_frames >= row.cases // 2, f"{row.fork}: hardly anything ran natively"


@pytest.mark.parametrize("tier", ["fast", "optimised"])
def test_a_sample_of_every_file_and_fork_passes_natively(tier: str, fixtures_dir: Path, shared_cache_dir: Path) -> None:
    files = state_test_files([fixtures_dir / "state_tests"])
    chosen = chosen_of(files, "evm", SAMPLE // 2)
    settings = RunSettings(tier, str(shared_cache_dir))
    judge(list(run_cases(read_tests(files), lambda test, key: key in chosen, settings, jobs=JOBS)), chosen)


def test_a_sample_of_precompile_tests_passes_natively(fixtures_dir: Path, shared_cache_dir: Path) -> None:
    files = state_test_files([fixtures_dir / "state_tests"])
    chosen = chosen_of(files, "precompile", SAMPLE // 10)
    settings = RunSettings("fast", str(shared_cache_dir))
    judge(list(run_cases(read_tests(files), lambda test, key: key in chosen, settings, jobs=JOBS)), chosen)


def test_a_sample_passes_from_a_built_store(fixtures_dir: Path, shared_cache_dir: Path, tmp_path: Path) -> None:
    files = state_test_files([fixtures_dir / "state_tests"])
    chosen = chosen_of(files, "evm", SAMPLE // 10)
    settings = RunSettings("fast", str(shared_cache_dir))
    results = run_cases_ahead_of_time(
        lambda: read_tests(files), lambda test, key: key in chosen, settings, tmp_path / "store", jobs=JOBS
    )  # fmt: skip
    judge(list(results), chosen)


def _listed(failures: list[CaseResult]) -> str:
    lines = [f"{result.test} {result.fork_name} {result.index}: {result.problem}" for result in failures[:20]]
    return "\n".join([f"{len(failures)} cases failed", *lines])
