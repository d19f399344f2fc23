"""`evmaot build` from end to end: summary, document, exit codes; each failure with its reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from evmaot import build_report, config
from evmaot.build_packs import Publisher
from evmaot.cli.build_runs import BuildOptions, BuildRun
from evmaot.cli.files import replaced_file
from evmaot.cli.output import Output
from evmaot.cli.progress import LineDisplay, NoDisplay, Tally, display
from evmaot.cli.verbs import build as verb
from evmaot.errors import StoreError
from evmaot.evm.forks import forks_selected
from tests.cli.conftest import Cli
from tests.support.fixtures import REPOSITORY

ADDER = "0x6001600201"
RETURNER = "0x5f355f5260205ff3"
"""Returns its first word; with PUSH0, so Paris and Shanghai tell it apart."""


@pytest.fixture
def inputs(home: Path) -> Path:
    directory = home / "out"
    directory.mkdir()
    (directory / "adder.hex").write_text(ADDER)
    (directory / "returner.hex").write_text(RETURNER)
    (directory / "again.hex").write_text(ADDER)
    return directory


def test_a_build_stores_says_what_it_did_and_does_nothing_twice(cli: Cli, inputs: Path) -> None:
    first = cli("build", "--fork", "london..osaka", inputs, "--opt", "fast")
    assert (first.code, first.out) == (0, "")
    assert "2 contracts (1 duplicate left out): 3 compiled in " in first.err
    assert "6 forks: 3 artifacts for 12 pairs of contract and fork (1 serve 6, 1 serve 4, 1 serve 2)" in first.err
    assert "stored 1 pack, " in first.err
    second = cli("build", "--fork", "london..osaka", inputs, "--opt", "fast")
    assert second.code == 0
    assert "nothing to do: the store has all 3 artifacts" in second.err
    rows = cli("ls", "--json").document["data"]["profiles"]
    assert {(row["fork"], row["contracts"], row["not_loadable"]) for row in rows} == {
        (name, 2, None) for name in ("london", "paris", "shanghai", "cancun", "prague", "osaka")
    }
    assert cli("verify").code == 0


def test_bad_inputs_are_named_and_the_rest_is_built(cli: Cli, inputs: Path, home: Path) -> None:
    (home / "odd.hex").write_text("0x123")
    (home / "text.hex").write_text("0xzz")
    arguments = ("build", "odd.hex", "text.hex", "absent", inputs, "--opt", "fast")
    result = cli(*arguments)
    assert result.code == 3
    for reference in ("odd_hex", "not_hex", "not_found"):
        assert f"[{reference}]" in result.err
    assert result.err.count("hint: ") == 3
    assert "2 compiled" in result.err
    document = cli(*arguments, "--json").document
    assert not document["ok"]
    assert {problem["code"] for problem in document["problems"]} == {"odd_hex", "not_hex", "not_found"}
    assert document["data"]["counts"]["cached"] == 2


def test_fail_fast_stops_at_the_first_failure(cli: Cli, inputs: Path) -> None:
    result = cli("build", "absent", inputs, "--fail-fast", "--opt", "fast", "--json")
    assert result.code == 3
    assert result.document["data"]["counts"]["compiled"] == 0


def test_a_dry_run_lists_and_stores_nothing(cli: Cli, inputs: Path, home: Path) -> None:
    result = cli("build", "--dry-run", "--fork", "paris..shanghai", inputs)
    assert result.code == 0
    assert [line.split()[1:3] for line in result.out.splitlines()[1:]] != []
    assert len(result.out.splitlines()) == 1 + 3
    assert not (home.parent / "cache").exists()


def test_the_document_has_each_unit_and_goes_to_a_file_too(cli: Cli, inputs: Path, home: Path) -> None:
    result = cli("build", inputs, "--opt", "fast", "--json", "--report", "report.json", "--fork", "osaka")
    document = result.document
    assert document["schema"] == "evmaot.build/1"
    assert json.loads((home / "report.json").read_text()) == document
    data = document["data"]
    assert (data["sources"], data["distinct_codes"], data["forks"]) == (3, 2, ["osaka"])
    assert {unit["status"] for unit in data["units"]} == {"compiled"}
    assert all(unit["code_hash"].startswith("0x") and unit["seconds"] > 0 for unit in data["units"])
    assert {unit["pack"] for unit in data["units"]} == {pack["pack"] for pack in data["packs"]}
    assert [path.name for path in home.iterdir() if path.name.startswith(".report")] == []


def test_a_build_that_ends_early_has_its_report(cli: Cli, inputs: Path, home: Path, monkeypatch: Any) -> None:
    publish, calls = Publisher.publish, []

    def full(self: Publisher, ready: Any) -> Any:
        calls.append(ready)
        if len(calls) > 1:
            raise StoreError("store_full", "no space left to write to the store")
        return publish(self, ready)

    monkeypatch.setattr(Publisher, "publish", full)
    result = cli("build", inputs, "--opt", "fast", "--pack-size", "1", "-j", "1", "--report", "report.json")
    assert (result.code, "[store_full]" in result.err) == (73, True)
    assert "effect: 1 artifact in 1 pack stored before; the next build compiles the rest" in result.err
    report = json.loads((home / "report.json").read_text())
    assert not report["ok"]
    assert report["problems"][0]["code"] == "store_full"
    assert (report["data"]["counts"]["compiled"], report["data"]["counts"]["unfinished"]) == (1, 1)
    assert report["data"]["seconds"] > 0
    schema = json.loads((REPOSITORY / "evmaot" / "schemas" / "build.json").read_text())
    jsonschema.validate(report, schema)


@pytest.mark.parametrize(
    "arguments", [("build", "out", "--report"), ("fetch", "0x" + "11" * 20, "--rpc", "http://127.0.0.1:1", "-o")]
)
def test_a_file_that_can_not_be_written_is_refused_before_the_work(cli: Cli, inputs: Path, arguments: Any) -> None:
    for path in ("absent/report.json", f"{inputs}/x/../report.json/y"):
        result = cli(*arguments, path)
        assert (result.code, "[output_not_writable]" in result.err) == (2, True)
    assert cli("ls", "--contracts").out == ""


def test_a_report_to_a_pipe_or_through_a_link_replaces_neither(home: Path) -> None:
    link, real, pipe = home / "link.json", home / "real.json", home / "pipe"
    link.symlink_to(real)
    with replaced_file(link) as stream:
        stream.write("1")
    assert link.is_symlink()
    assert real.read_text() == "1"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replaced_file(pipe) as stream:
        stream.write("2")
    assert os.read(reader, 9) == b"2"
    os.close(reader)
    assert pipe.is_fifo()


def test_code_comes_through_standard_input(cli: Cli) -> None:
    result = cli("build", "-", "--opt", "fast", stdin=RETURNER.encode())
    assert result.code == 0
    assert "1 contract: 1 compiled" in result.err


def test_without_inputs_the_configuration_says_what_to_build(cli: Cli, inputs: Path, home: Path) -> None:
    result = cli("build")
    assert result.code == 2
    assert "[no_input]" in result.err
    (home / "evmaot.toml").write_text('[build]\ninputs = ["out"]\nforks = ["prague"]\nopt = "fast"\n')
    data = cli("build", "--json").document["data"]
    assert (data["forks"], data["tier"], data["counts"]["compiled"]) == (["prague"], "fast", 2)


def test_inputs_without_contracts_are_said_and_can_be_an_error(cli: Cli, home: Path) -> None:
    (home / "empty").mkdir()
    assert cli("build", "empty", "--error-if-empty").code in (3, 7)
    (home / "interface.json").write_text('{"abi": [], "bytecode": "0x", "deployedBytecode": "0x"}')
    result = cli("build", "interface.json")
    assert "the inputs hold no contract to compile" in result.err


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        (("--fork", "osakka"), "unknown_fork"),
        (("--fork", "osaka..london"), "empty_fork_range"),
        (("--target", "vax"), "unknown_target"),
        (("--format", "foundri"), "unknown_format_name"),
        (("--opt", "faster"), "usage"),
        (("--linker", "gold"), "usage"),
        (("--timeout", "soon"), "usage"),
        (("--pack-size", "0"), "usage"),
        (("-j", "-1"), "usage"),
        (("--memory-limit", "much"), "usage"),
    ],
)
def test_bad_options_are_usage_errors(cli: Cli, inputs: Path, arguments: tuple[str, ...], reference: str) -> None:
    result = cli("build", *arguments, inputs)
    assert (result.code, result.out) == (2, "")
    assert f"[{reference}]" in result.err


def test_a_read_only_store_is_not_built_into(cli: Cli, inputs: Path) -> None:
    assert cli("build", inputs, "--opt", "fast").code == 0
    result = cli("build", inputs, "--opt", "fast", "--read-only", "--force")
    assert result.code == 73
    assert "[store_read_only]" in result.err


def test_a_store_in_a_place_that_holds_other_files_is_refused(cli: Cli, inputs: Path) -> None:
    result = cli("build", inputs, "--store", inputs)
    assert result.code == 73
    assert "[not_a_store]" in result.err


def test_a_contract_that_takes_too_long_costs_only_itself(cli: Cli, inputs: Path) -> None:
    long = inputs / "long.hex"
    # A chain of multiplications of what nobody knows: many times the limit on any machine.
    long.write_text("0x5f35" + "8002" * 12000 + "5f5200")
    result = cli("build", inputs, "--timeout", "4s", "--fork", "osaka", "--json")
    assert result.code == 3
    (failed,) = [unit for unit in result.document["data"]["units"] if unit["status"] == "failed"]
    assert failed["reason"] == "compile_timeout"
    assert result.document["data"]["counts"]["compiled"] == 2
    words = cli("build", inputs, "--timeout", "1s", "--fork", "osaka").err
    assert "known from an earlier build" in words
    assert "hint: it failed in an earlier build; --force tries it again" in words


def test_the_defaults_of_the_configuration_are_those_of_the_build() -> None:
    settings = config.Settings()
    assert settings.timeout_seconds == build_report.DEFAULT_TIMEOUT_SECONDS
    assert settings.memory_limit_bytes == build_report.DEFAULT_MEMORY_LIMIT_BYTES
    assert settings.pack_size == build_report.DEFAULT_PACK_SIZE


def test_the_linkers_of_the_configuration_are_those_of_the_compiler() -> None:
    from evmaot.codegen.backend.linker import LINKERS
    from evmaot.codegen.options import Tier

    assert config.LINKERS == LINKERS
    assert set(config.TIERS) == {tier.value for tier in Tier}


def test_exit_codes_of_a_report() -> None:
    report = build_report.BuildReport("p")
    request = build_report.BuildRequest((), forks_selected("osaka"))
    flags = (False,) * 6
    options = BuildOptions((), (), "latest", False, False, None, None, *flags, None, None, None, False)

    def code(received: Sequence[int] = (), **changes: Any) -> int:
        return verb._exit_code([BuildRun(request, report)], list(received), replace(options, **changes))

    assert code() == 0
    assert code(error_if_empty=True) == 7
    report.interrupted = True
    assert code([signal.SIGINT]) == 130
    assert code([signal.SIGTERM]) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stores_what_is_compiled(home: Path, inputs: Path, number: int, code: int) -> None:
    for index in range(40):
        (inputs / f"{index}.hex").write_text("0x" + f"60{index:02x}600201" * (1 if index < 3 else 2500) + "00")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-m",
        "evmaot",
        "build",
        "out",
        "-j",
        "1",
        "--json",
        "--pack-size",
        "1",
        "--fork",
        "osaka",
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        packs = home.parent / "cache" / "evmaot" / "store" / "v1" / "objects"
        deadline = time.monotonic() + 60
        while not list(packs.glob("*/*.so")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "storing what is compiled" in err
    assert "interrupted: " in err
    data = json.loads(out)["data"]
    assert data["interrupted"]
    assert data["counts"]["compiled"] >= 1
    assert data["counts"]["unfinished"] >= 1
    assert len(list(packs.glob("*/*.so"))) == data["counts"]["compiled"]


def event(kind: build_report.EventKind, subject: str = "", **counts: int) -> build_report.BuildEvent:
    return build_report.BuildEvent(kind, subject, build_report.BuildCounts(**counts))


def test_a_tally_knows_rate_rest_and_what_takes_longest() -> None:
    now = [0.0]
    tally = Tally(lambda: now[0])
    before = {"total": 100, "cached": 40, "work": 6000}
    tally.take(
        build_report.BuildEvent(build_report.EventKind.PLANNED, "", build_report.BuildCounts(**before), workers=2)
    )
    for label in ("slow", "quick", "later"):
        tally.take(event(build_report.EventKind.STARTED, label, **before))
    assert tally.speed() == ""
    now[0] = 20.0
    # The largest come first: a third of the number is half of the code.
    done = {**before, "compiled": 20, "work_done": 3000, "published": 15}
    tally.take(event(build_report.EventKind.COMPILED, "quick", **done))
    assert tally.per_second == 1.0
    assert tally.seconds_left == 20.0
    assert tally.slowest == ("slow", 20.0)
    assert tally.line() == ("60/100: 20 compiled, 40 cached, 15 stored; 1.0/s, 20 s left; slowest: slow (20 s)")
    now[0] = 21.0
    tally.take(event(build_report.EventKind.COMPILED, "slow", **done))
    # It waited for one of the two workers until then.
    assert tally.slowest == ("later", 1.0)


def test_without_a_terminal_there_is_a_line_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineDisplay(Output(), interval_seconds=0.01)
    lines.reading(7)
    deadline = time.monotonic() + 60
    seen = ""
    while "reading inputs: 7 contracts" not in seen and time.monotonic() < deadline:
        seen += capsys.readouterr().err
    lines.observe(event(build_report.EventKind.PLANNED, total=2))
    while "0/2: 0 compiled, 0 cached" not in seen and time.monotonic() < deadline:
        seen += capsys.readouterr().err
    lines.close()
    assert "reading inputs: 7 contracts" in seen
    assert "0/2: 0 compiled, 0 cached" in seen


def test_quiet_shows_no_progress() -> None:
    with display(Output(quiet=True)) as show:
        assert isinstance(show, NoDisplay)


def test_a_terminal_gets_a_moving_display_and_a_clean_end(home: Path, inputs: Path) -> None:
    """On a pseudo-terminal of 40 and of 80 columns."""
    import pty

    for width in (40, 80):
        leader, follower = pty.openpty()
        environment = {
            **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": str(width),
        }  # fmt: skip
        environment.pop("CI", None)
        command = [sys.executable, "-m", "evmaot", "build", "out", "--opt", "fast", "--force"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=follower) as process:
            os.close(follower)
            seen = b""
            while True:
                try:
                    data = os.read(leader, 65536)
                except OSError:
                    break
                if not data:
                    break
                seen += data
            process.wait(timeout=60)
        os.close(leader)
        assert process.returncode == 0, seen
        text = seen.decode()
        assert "compiled" in text
        assert "\x1b[?25h" in text, "the cursor is shown again"
        assert "2 contracts" in text
