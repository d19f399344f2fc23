"""The state test runner: reading, selecting, judging, running in workers, resuming."""

from __future__ import annotations

import json
import lzma
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.errors import InputError
from evmaot.hosts.state_test_eels import EelsRunner, Observed, judge
from evmaot.hosts.state_test_rejections import is_expected_rejection
from evmaot.hosts.state_test_run import INTERPRETER, RunSettings, run_cases
from evmaot.hosts.state_tests import (
    CaseKey,
    CaseResult,
    Selection,
    StateTest,
    fork_of_test,
    groups_of,
    read_results,
    read_tests,
    sample,
    state_test_files,
    summarise,
)
from tests.support.state_cases import content, make, solved

# --- reading and selecting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fork"),
    [
        ("EIP150", "tangerine_whistle"),
        ("EIP158", "spurious_dragon"),
        ("ConstantinopleFix", "petersburg"),
        ("Constantinople", "constantinople"),
        ("Merge", "paris"),
        ("Paris", "paris"),
        ("BPO2", "osaka"),
        ("FrontierToHomesteadAt5", None),
    ],
)
def test_forks_by_the_names_of_the_suites(name: str, fork: str | None) -> None:
    found = fork_of_test(name)
    assert (found.name if found else None) == fork


def test_every_form_of_file_is_read(tmp_path: Path) -> None:
    line = json.dumps({"id": "one", "tag": "precompile", "filler": "retesteth", **content()})
    (tmp_path / "a.jsonl").write_text(line + "\n")
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(line.encode()))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.json").write_text(json.dumps({"two": content(), "notes": {"x": 1}}))
    (tmp_path / "ignored.txt").write_text("")
    tests = list(read_tests(state_test_files([tmp_path])))
    assert [(test.id, test.file, test.tag, test.filler) for test in tests] == [
        ("one", "a", "precompile", "retesteth"),
        ("one#2", "b", "precompile", "retesteth"),
        ("c:two", "c", "evm", "eest"),
    ]


def test_files_that_are_no_tests_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no state tests"):
        state_test_files([tmp_path])
    with pytest.raises(InputError, match="does not exist"):
        state_test_files([tmp_path / "nothing"])
    for name, data in (("a.json", "["), ("b.json", "[]"), ("c.jsonl", "{}"), ("d.jsonl.xz", "x")):
        (tmp_path / name).write_text(data)
        with pytest.raises(InputError) as caught:
            list(read_tests([tmp_path / name]))
        assert caught.value.reference == "bad_state_test" and name in caught.value.message


def test_selection_by_fork_tag_and_name() -> None:
    test = make("some_test", ("Osaka", "EIP150", "SomedayFork"))
    keys = {key.fork_name: key for key in test.cases()}
    assert Selection().wants(test, keys["EIP150"]) and not Selection().wants(test, keys["SomedayFork"])
    assert not Selection(forks=frozenset(("osaka",))).wants(test, keys["EIP150"])
    assert not Selection(tags=frozenset(("precompile",))).wants(test, keys["Osaka"])
    assert not Selection(name_contains="other").wants(test, keys["Osaka"])


def test_a_sample_has_all_groups_and_depends_on_the_seed_alone() -> None:
    groups = {
        ("big", "Osaka"): [CaseKey(f"t{n}", "Osaka", 0) for n in range(10_000)],
        ("small", "Frontier"): [CaseKey("only", "Frontier", 0)],
        ("middle", "Berlin"): [CaseKey(f"m{n}", "Berlin", 0) for n in range(100)],
    }
    chosen = sample(groups, 100, seed=1)
    counts = Counter(key.fork_name for key in chosen)
    assert counts["Frontier"] == 1 and counts["Berlin"] >= 5 and 80 <= len(chosen) <= 110
    shuffled = {name: list(reversed(keys)) for name, keys in reversed(groups.items())}
    assert sample(shuffled, 100, seed=1) == chosen and sample(groups, 100, seed=2) != chosen
    assert sample(groups, 10**6, seed=1) == {key for keys in groups.values() for key in keys}


def test_groups_are_by_file_and_fork() -> None:
    tests = [make("a", ("Osaka", "Berlin")), make("b", ("Osaka",), tag="precompile")]
    groups = groups_of(tests, Selection(tags=frozenset(("evm",))))
    assert {name: len(keys) for name, keys in groups.items()} == {("file", "Osaka"): 1, ("file", "Berlin"): 1}


# --- judging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "reason", "fits"),
    [
        ("TR_NoFunds", "InsufficientBalanceError", True),
        ("TR_NoFunds", "NonceMismatchError", False),
        ("TransactionException.SENDER_NOT_EOA", "InvalidSenderError", True),
        ("TransactionException.INTRINSIC_GAS_TOO_LOW|TransactionException.SENDER_NOT_EOA", "InvalidSenderError", True),
        ("SomethingNew", "AnyError", True),
    ],
)
def test_reasons_of_rejections(expected: str, reason: str, fits: bool) -> None:
    assert is_expected_rejection(expected, reason) is fits


def test_a_verdict_says_all_that_differs() -> None:
    entry = {"hash": "0x01", "logs": "0x02"}
    assert judge(entry, Observed("0x01", "0x02", None)) == ""
    text = judge(entry, Observed("0x03", "0x04", "InvalidSenderError"))
    assert "0x03" in text and "0x01" in text and "0x04" in text and "rejected: InvalidSenderError" in text
    refused = {**entry, "expectException": "TR_NoFunds"}
    assert judge(refused, Observed("0x01", "0x02", None)) == "accepted, expected TR_NoFunds"
    assert judge(refused, Observed("0x01", "0x02", "InsufficientBalanceError")) == ""
    assert "another reason" in judge(refused, Observed("0x01", "0x02", "NonceMismatchError"))


def test_a_rejected_transaction_leaves_the_coinbase_touched_in_old_suites_of_retesteth() -> None:
    roots = {
        (filler, fork): EelsRunner().observe(
            make("t", (fork,), gasLimit=["0x01"], filler=filler), CaseKey("t", fork, 0)
        )
        for filler in ("retesteth", "eest")
        for fork in ("Homestead", "EIP158")
    }
    assert all(observed.rejection == "InsufficientTransactionGasError" for observed in roots.values())
    assert roots["retesteth", "Homestead"].state_root != roots["eest", "Homestead"].state_root
    assert (
        roots["retesteth", "EIP158"].state_root
        == roots["eest", "EIP158"].state_root
        == roots["eest", "Homestead"].state_root
    )


def test_a_type_of_transaction_that_the_fork_lacks_is_a_rejection() -> None:
    test = make("t", ("Byzantium",), accessLists=[[]])
    assert EelsRunner().observe(test, CaseKey("t", "Byzantium", 0)).rejection == "TransactionTypeNotSupported"


def test_a_fork_that_eels_lacks_is_said() -> None:
    with pytest.raises(LookupError, match="Constantinople"):
        EelsRunner().observe(make("t", ("Constantinople",)), CaseKey("t", "Constantinople", 0))


# --- running --------------------------------------------------------------------------------------

EVERY_FORK = ("Frontier", "EIP150", "ConstantinopleFix", "Berlin", "Cancun", "Osaka")


def run(tests: list[StateTest], settings: RunSettings, **values: Any) -> dict[CaseKey, CaseResult]:
    results = list(run_cases(tests, lambda test, key: True, settings, **values))
    assert len({result.key for result in results}) == len(results)
    return {result.key: result for result in results}


def test_cases_run_natively_and_on_the_interpreter(shared_cache_dir: Path) -> None:
    test = solved(make("t", EVERY_FORK))
    for mode, frames in (("fast", 1), ("optimised", 1), (INTERPRETER, 0)):
        results = run([test], RunSettings(mode, str(shared_cache_dir)))
        assert set(results) == set(test.cases())
        assert all(result.passed for result in results.values()), results
        assert {result.native_frames for result in results.values()} == {frames}


def test_a_wrong_answer_and_an_impossible_fork_are_failures(shared_cache_dir: Path) -> None:
    wrong, impossible = make("wrong"), make("impossible", ("Constantinople",))
    results = run([wrong, impossible], RunSettings("fast", str(shared_cache_dir)))
    assert not any(result.passed for result in results.values())
    assert "state root" in results[CaseKey("wrong", "Osaka", 0)].problem
    assert "LookupError" in results[CaseKey("impossible", "Constantinople", 0)].problem


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os._exit, (3,))


def test_a_case_that_kills_its_worker_is_the_only_failure(shared_cache_dir: Path) -> None:
    good = [solved(make(f"good{n}")) for n in range(3)]
    deadly = make("deadly")
    assert isinstance(deadly.content, dict)
    deadly.content["env"]["deadly"] = Deadly()
    results = run([good[0], deadly, *good[1:]], RunSettings("fast", str(shared_cache_dir)))
    assert {key.test: result.passed for key, result in results.items()} == {
        "good0": True, "good1": True, "good2": True, "deadly": False,
    }  # fmt: skip
    assert results[CaseKey("deadly", "Osaka", 0)].problem


def test_results_of_an_earlier_run_are_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    test = make("t", ("Osaka", "Berlin"))
    known = CaseResult("t", "file", "Osaka", 0, True, "", 5, 0.25, INTERPRETER)
    path.write_text(known.to_json() + "\n" + known.to_json()[:40])
    results = run([test], RunSettings(INTERPRETER), earlier=read_results(path))
    assert results[known.key] == known and not results[CaseKey("t", "Berlin", 0)].passed
    assert read_results(tmp_path / "none") == {}


def test_the_table_is_by_fork_in_their_order() -> None:
    rows = summarise(
        CaseResult("t", "f", fork, index, index > 0, "" if index else "x", 2, 0.5, "fast")
        for fork in ("Osaka", "Frontier", "Merge")
        for index in range(3)
    )
    assert [(row.fork, row.cases, row.passed, row.failed, row.native_frames, row.seconds) for row in rows] == [
        ("frontier", 3, 2, 1, 6, 1.5),
        ("paris", 3, 2, 1, 6, 1.5),
        ("osaka", 3, 2, 1, 6, 1.5),
    ]
