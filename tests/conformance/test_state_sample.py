"""A stratified sample of the official state tests: every file and every fork, every frame native.

`EVMAOT_SAMPLE` (cases, default 1500), `EVMAOT_SEED` and `EVMAOT_JOBS` change what runs; everything, in
both tiers, is `evmaot statetest`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.hosts.state_test_run import RunSettings, run_cases
from evmaot.hosts.state_tests import CaseResult, Selection, groups_of, read_tests, sample, state_test_files, summarise

SAMPLE = int(os.environ.get("EVMAOT_SAMPLE", "1500"))
SEED = int(os.environ.get("EVMAOT_SEED", "1"))
JOBS = int(os.environ.get("EVMAOT_JOBS", str(os.cpu_count() or 1)))
NOT_ON_EELS = "Constantinople"
"""EIP-1283 was never on mainnet, so EELS has no such fork."""


@pytest.mark.parametrize("mode", ["fast", "optimised"])
def test_a_sample_of_every_file_and_fork_passes_natively(mode: str, fixtures_dir: Path, shared_cache_dir: Path) -> None:
    files = state_test_files([fixtures_dir / "state_tests"])
    groups = groups_of(read_tests(files), Selection(tags=frozenset(("evm",))))
    groups = {name: keys for name, keys in groups.items() if name[1] != NOT_ON_EELS}
    chosen = sample(groups, SAMPLE // 2, SEED)
    settings = RunSettings(mode, str(shared_cache_dir))
    results = list(run_cases(read_tests(files), lambda test, key: key in chosen, settings, jobs=JOBS))
    assert len(results) == len(chosen)
    failures = [result for result in results if not result.passed]
    assert not failures, _listed(failures)
    for row in summarise(results):
        assert row.native_frames >= row.cases // 2, f"{row.fork}: hardly anything ran natively"


def _listed(failures: list[CaseResult]) -> str:
    lines = [f"{result.test} {result.fork_name} {result.index}: {result.problem}" for result in failures[:20]]
    return "\n".join([f"{len(failures)} cases failed", *lines])
