"""State tests ahead of time: every code that runs was built into a store and loaded from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.execution.programs import JitPrograms
from evmaot.hosts import state_test_rounds
from evmaot.hosts.state_test_aot import BuiltPrograms, BuiltStore, build_codes, codes_of
from evmaot.hosts.state_test_rounds import run_cases_ahead_of_time
from evmaot.hosts.state_test_run import RunSettings
from evmaot.hosts.state_tests import CaseResult, StateTest
from evmaot.store.directory import ArtifactDirectory
from evmaot.toolchain import profile_of
from tests.support.assembly import assemble, call, deploying, store_bytes
from tests.support.state_cases import make, solved

OPTIONS = CompileOptions(Tier.FAST)


def everything(*_: Any) -> bool:
    return True


def run(tests: list[StateTest], path: Path, **values: Any) -> tuple[list[CaseResult], list[str]]:
    told: list[str] = []
    results = run_cases_ahead_of_time(
        lambda: tests, everything, RunSettings("fast"), path, tell=told.append, **values
    )  # fmt: skip
    return list(results), told


def test_codes_of_cases_are_those_of_accounts_and_of_creating_transactions() -> None:
    called, creating = make("called", ("Osaka", "Berlin")), make("creating", ("Osaka",), to="", data=["0x6001", "0x"])
    called.content["pre"][f"0x{0xD:040x}"] = {"code": "0xef0100" + "11" * 20}
    found = codes_of([called, creating], lambda test, key: key.fork_name == "Osaka")
    code = assemble(7, 1, "SSTORE")
    assert found == {"osaka": {code: "called", bytes.fromhex("6001"): "creating"}}


def test_what_a_transaction_creates_is_built_before_its_case_runs_again(tmp_path: Path) -> None:
    init_code = deploying(assemble("CALLER", 1, "SSTORE"))
    creates = store_bytes(init_code) + assemble(len(init_code), 0, 0, "CREATE")
    call_it = assemble(0, "MSTORE", 0, 0, 0, 0, 0, 0, "MLOAD", 50_000, "CALL")
    tests = [solved(make("plain", ("Osaka",))), solved(make("creates", ("Osaka",), code=creates + call_it))]
    store = tmp_path / "store"
    results, told = run(tests, store)
    assert [(result.passed, result.problem, result.mode) for result in results] == [(True, "", "aot-fast")] * 2
    assert [result.native_frames for result in results] == [1, 3]
    assert told == ["round 1: 2 codes, 2 compiled into 1 packs", "round 2: 2 codes, 2 compiled into 1 packs"]
    assert sum(len(pack.manifest.members) for pack in ArtifactDirectory.open(store).packs()) == 4
    results, told = run(tests, store, earlier={(results[0].key, "aot-fast"): results[0]})
    assert len(results) == 2 and told[0].startswith("round 1: 1 codes, 0 compiled")


def test_a_code_that_never_gets_into_the_store_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_test_rounds, "MAX_ROUNDS", 1)
    creates = store_bytes(assemble(1)) + assemble(2, 0, 0, "CREATE")
    results, _ = run([solved(make("creates", ("Osaka",), code=creates))], tmp_path / "store")
    assert not results[0].passed and "not from the store" in results[0].problem


def test_a_code_that_a_build_refuses_is_compiled_on_demand(tmp_path: Path) -> None:
    """Before EIP-3541 a contract could begin with 0xEF; it halts at once, and a build does not take it."""
    test = solved(make("ef", ("Berlin",), code=call("CALL", 0xEF) + assemble(1, "SSTORE"), others={0xEF: b"\xef\x01"}))
    results, told = run([test], tmp_path / "store")
    assert results[0].passed and results[0].native_frames == 2 and "1 that a build refuses" in told[0]


def test_code_of_another_tier_in_the_same_store_does_not_count(tmp_path: Path) -> None:
    code = assemble(1, 2, "SSTORE")
    outcome = build_codes(tmp_path / "store", {"osaka": {code: "one"}}, OPTIONS, 1)
    assert outcome.compiled == 1 and outcome.packs == 1 and not outcome.failures
    compiler = JitPrograms(OPTIONS)
    for tier, missing in ((Tier.FAST, ()), (Tier.OPTIMISED, ((code, "osaka"),))):
        profile = profile_of(CompileOptions(tier)).digest
        programs = BuiltPrograms(BuiltStore(str(tmp_path / "store"), profile), compiler)
        assert programs.program_for(code, None, FORKS["osaka"]).code_sha256
        assert programs.take_missing() == missing and programs.take_missing() == ()
