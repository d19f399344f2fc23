"""The true Constantinople (EIP-1283) on py-evm: a sample, every frame native.

It was never on mainnet, so EELS lacks it: the only fork whose transactions another host processes.  All of it, in
both tiers (some 20 minutes of processor time): EVMAOT_SAMPLE=100000, and EVMAOT_TAG=all for the tests of
precompiles too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("eth", reason="no py-evm: pip install 'evmaot[constantinople]'")

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.execution.executor import Executor
from evmaot.execution.programs import JitPrograms
from evmaot.hosts.state_test_eels import run_case
from evmaot.hosts.state_tests import TAGS, Selection, groups_of, read_tests, sample, state_test_files

SAMPLE = int(os.environ.get("EVMAOT_SAMPLE", "300"))
SEED = int(os.environ.get("EVMAOT_SEED", "1"))
TAG = os.environ.get("EVMAOT_TAG", "evm")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tier", list(Tier))
def test_a_sample_of_constantinople_passes_natively(tier: Tier, fixtures_dir: Path, shared_cache_dir: Path) -> None:
    from tests.support.constantinople import ConstantinopleRunner

    files = [
        file
        for file in state_test_files([fixtures_dir / "state_tests"])
        if file.name.startswith(("legacy_", "tests_develop"))
    ]
    selection = Selection(forks=frozenset(("constantinople",)), tags=frozenset(TAGS if TAG == "all" else (TAG,)))
    chosen = sample(groups_of(read_tests(files), selection), SAMPLE // 2, SEED)
    runner = ConstantinopleRunner(Executor(JitPrograms(CompileOptions(tier), shared_cache_dir)))
    results = [
        run_case(runner, test, key, tier.value, lambda: runner.native_frames)
        for test in read_tests(files)
        for key in test.cases()
        if key in chosen
    ]
    assert len(results) == len(chosen) > 0
    failures = [f"{result.test} {result.index}: {result.problem}" for result in results if not result.passed]
    assert not failures, "\n".join(failures)
    assert sum(result.native_frames for result in results) > len(results) // 2
