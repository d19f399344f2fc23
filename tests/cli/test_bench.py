"""`evmaot bench`: what is measured, what is compared, and what is said of both.  No time decides a test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.cli import bench_engines
from evmaot.cli.bench_rounds import Measured, TooLong, measure
from evmaot.cli.invocation import Invocation
from evmaot.cli.output import Output, brief_seconds, human_rate
from evmaot.cli.verbs import bench
from evmaot.evm.forks import FORKS
from tests.cli.conftest import ADDING_CODE, Cli
from tests.cli.terminal import on_terminal
from tests.cli.test_schemas import check

SLOTS = "0x5f545f5260206000f3"
"""Returns slot 0."""


class Scripted:
    """An engine whose messages take what they are told to."""

    def __init__(self, seconds: float, log: list[str], name: str = "", patience: int = 1 << 30) -> None:
        self.seconds, self.log, self.name, self.patience = seconds, log, name, patience

    def batch(self, number: int) -> float:
        if self.patience <= 0:
            raise TooLong
        self.patience -= 1
        self.log.append(self.name)
        return number * self.seconds


def test_engines_take_turns_until_each_has_had_its_time() -> None:
    log: list[str] = []
    found = measure({"a": Scripted(0.1, log, "a"), "b": Scripted(0.1, log, "b")}, 0.5, None)
    assert log == ["a", "b"] * 6
    assert {name: (one.messages, len(one.samples)) for name, one in found.items()} == {"a": (5, 5), "b": (5, 5)}


def test_short_messages_are_measured_in_batches() -> None:
    found = measure({"a": Scripted(1e-5, [])}, 0.01, None)["a"]
    assert found.messages == 200 * len(found.samples)
    assert found.median == pytest.approx(1e-5)


def test_a_count_is_kept_exactly() -> None:
    assert measure({"a": Scripted(1e-5, [])}, 1.0, 777)["a"].messages == 777
    assert measure({"a": Scripted(5.0, [])}, 1.0, 1)["a"].messages == 1


def test_a_message_longer_than_the_time_counts_once_or_a_few_times() -> None:
    assert measure({"a": Scripted(60.0, [])}, 1.0, None)["a"].messages == 1


def test_an_engine_that_runs_out_of_patience_keeps_what_it_has() -> None:
    found = measure({"never": Scripted(0.1, [], patience=0), "once": Scripted(0.1, [], patience=3)}, 1.0, None)
    assert (found["never"].samples, found["once"].samples) == ([], [0.1, 0.1])


def test_median_best_and_quartiles_are_of_the_batches() -> None:
    measured = Measured([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (measured.median, measured.best, measured.quartiles) == (3.0, 1.0, (2.0, 4.0))


def test_what_preparing_takes_bounds_an_engine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("evmaot.cli.bench_rounds.time.perf_counter", lambda: float(next(clock)))
    assert measure({"a": Scripted(1e-9, [])}, 1.0, None)["a"].messages < 20


def test_numbers_have_three_digits() -> None:
    assert [brief_seconds(x) for x in (8.12e-7, 9.606e-6, 1.23e-2, 1.2, 123.4, 9.996e-4)] == [
        "812 ns", "9.61 us", "12.3 ms", "1.20 s", "123 s", "1.00 ms",
    ]  # fmt: skip
    assert [human_rate(x) for x in (0, 812, 5.3e6, 2.29e10, 4e12)] == ["0", "812", "5.30 M", "22.9 G", "4.00 T"]


def test_tiers_and_interpreters_are_compared_side_by_side(cli: Cli, real_store: Path) -> None:
    tiers = ("--opt", "fast", "--opt", "optimised")
    result = cli("bench", "0x" + ADDING_CODE, *tiers, "--seconds", "1ms", "--against", "eels", "--json")
    check(result.document)
    rows = {row["engine"]: row for row in result.document["data"]["engines"]}
    assert list(rows) == ["fast", "optimised", "eels"]
    assert [row["code"] for row in rows.values()] == ["store", "compiled", None]
    assert rows["fast"]["compile_seconds"] == 0 < rows["optimised"]["compile_seconds"]
    assert {row["gas_used"] for row in rows.values()} == {24}
    assert rows["fast"]["ratio"] == 1
    assert result.code == 0


@pytest.mark.parametrize("fork", [name for name in FORKS if name != "constantinople"])
def test_eels_executes_the_same_message_under_every_fork(cli: Cli, fork: str) -> None:
    arguments = ("bench", "0x6000546000526020600020600155", "--fork", fork, "--gas", "100000", "--count", "1")
    result = cli(*arguments, "--against", "eels", "--opt", "fast", "--json")
    data = result.document["data"]
    assert (result.code, len(data["engines"]), data["left_out"]) == (0, 2, [])


def test_what_a_transaction_warms_is_warm_for_eels(cli: Cli, home: Path) -> None:
    sender, target = "0x" + "11" * 20, "0x" + "22" * 20
    slots = [{"address": target, "storageKeys": ["0x" + "00" * 32]}]
    transaction = {"to": target, "gasLimit": "0x989680", "accessLists": [slots], "data": ["0x"], "gasPrice": "0x10"}
    pre = {sender: {"balance": "0xffffffff"}, target: {"balance": "0x0", "code": SLOTS, "storage": {"0x0": "0x7"}}}
    document = {"warm": {"env": {"currentBaseFee": "0xf"}, "pre": pre, "transaction": transaction}}
    (home / "case.json").write_text(json.dumps(document))
    data = cli(
        "bench", "--transaction", "case.json", "--opt", "fast", "--count", "2", "--against", "eels", "--json"
    ).document["data"]
    assert (data["name"], data["results_differ"], data["gas_used"]) == ("warm", False, 116)


def test_an_interpreter_that_is_not_installed_is_a_note(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrevm", None)
    result = cli("bench", "0x00", "--opt", "fast", "--count", "1", "--against", "pyrevm")
    assert result.code == 0
    assert "not compared with pyrevm: not installed; pip install pyrevm" in result.err


def test_eels_is_given_up_after_its_patience(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr(bench, "_PATIENCE_SECONDS", 0.05)
    result = cli("bench", "0x5b5f56", "--opt", "fast", "--seconds", "1ms", "--against", "eels", "--gas", "100000000")
    assert result.code == 0
    assert "not compared with eels: not through with one message in 0 s" in result.err


def test_results_that_differ_are_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_engines.EelsEngine, "batch", lambda self, number: 0.001 * number)
    result = cli("bench", "0x6001", "--opt", "fast", "--count", "2", "--against", "eels")
    assert result.code == 1
    assert "[results_differ]" in result.err
    assert "eels: 0 gas, not 3" in result.err


def test_an_artifact_is_named_by_its_hash_and_runs_alone(cli: Cli, real_store: Path) -> None:
    rows = cli("ls", "--contracts", "--json").document["data"]["contracts"]
    code_hash = next(row["code_hash"] for row in rows if row["label"] == "adding.hex")
    data = cli("bench", code_hash, "--count", "3", "--opt", "fast", "--json").document["data"]
    assert [(row["engine"], row["code"]) for row in data["engines"]] == [("fast", "store")]


@pytest.mark.parametrize("arguments", [(), ("0x00", "--seconds", "soon"), ("0x00", "--count", "0")])
def test_what_cannot_be_measured_is_a_usage_error(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli("bench", *arguments).code == 2


DATA = {
    "name": None, "fork": "osaka", "status": "RETURN", "failure": None, "gas_used": 55_050, "code_size_bytes": 35,
    "native_frames": 1, "results_differ": False,
    "left_out": [{"engine": "eels", "reason": "not installed; pip install 'evmaot[eels]'"}],
    "engines": [
        {"engine": "optimised", "code": "store", "compile_seconds": 0.0, "messages": 290_592, "batches": 900,
         "median_seconds": 6.57e-6, "best_seconds": 6.1e-6, "quartile_seconds": [6.3e-6, 6.8e-6], "gas_used": 55_050,
         "gas_per_second": 8_379_000_000, "ratio": 1.0, "note": None},
        {"engine": "fast", "code": "compiled", "compile_seconds": 0.0112, "messages": 206_778, "batches": 672,
         "median_seconds": 9.17e-6, "best_seconds": 8.39e-6, "quartile_seconds": [8.6e-6, 10.2e-6], "gas_used": 55_050,
         "gas_per_second": 6_003_000_000, "ratio": 1.3957, "note": None},
        {"engine": "pyrevm", "code": None, "compile_seconds": None, "messages": 42_000, "batches": 253,
         "median_seconds": 4.66e-5, "best_seconds": 4.21e-5, "quartile_seconds": [4.4e-5, 4.9e-5], "gas_used": 55_050,
         "gas_per_second": 1_181_000_000, "ratio": 7.0928, "note": "no Osaka there, so the rules of Prague"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("columns", [0, 80, 40])
def test_the_table_is_as_ever(
    columns: int,
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Output, "width", lambda self: columns)
    bench._render(Invocation(None, Output(color_choice="never"), "bench"), DATA)  # type: ignore[arg-type]  # no configuration is asked for
    out, err = capsys.readouterr()
    golden(f"cli/terminal/bench-{columns or 'pipe'}.txt", out + err)


def test_no_row_is_broken_on_a_narrow_terminal(home: Path) -> None:
    text = on_terminal("bench", "0x00", "--opt", "fast", "--count", "1", "--against", "none", columns=40, term="dumb")
    assert "ENGINE" in text
    assert max(len(line) for line in text.splitlines() if line.startswith(("ENGINE", "fast"))) <= 40
