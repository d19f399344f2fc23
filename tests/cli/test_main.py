"""What all verbs share: global options, failures, exit codes, colours, start-up cost."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from evmaot.cli import failures, root
from evmaot.cli.output import Output
from evmaot.errors import BusyError, CompilerBug, CorruptionError, EvmaotError, InputError, StoreError, TrustError
from evmaot.version import VERSION
from tests.cli.conftest import Cli


@pytest.mark.parametrize("arguments", [("--version",), ("forks", "--version"), ("--json", "--version")])
def test_version_before_and_after_a_verb(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (0, f"evmaot {VERSION}\n")


@pytest.mark.parametrize("arguments", [("--json", "forks"), ("forks", "--json"), ("--json", "forks", "--json")])
def test_global_options_work_on_both_sides_of_the_verb(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).document["schema"] == "evmaot.forks/1"


def test_an_option_after_the_verb_wins(cli: Cli) -> None:
    assert cli("--store", "one", "path", "--store", "two").out == "two\n"


@pytest.mark.parametrize("verb", list(root.VERBS))
def test_every_verb_has_help_and_all_global_options(cli: Cli, verb: str) -> None:
    result = cli(verb, "-h")
    assert result.code == 0
    assert "Global options:" in result.out
    for option in ("--store", "--config", "--json", "--plain", "--quiet", "--verbose", "--color", "--no-progress",
                   "--read-only", "--lock-timeout", "--version", "--help"):  # fmt: skip
        assert option in result.out


@pytest.mark.parametrize("verb", list(root.VERBS))
def test_no_two_parameters_of_a_verb_share_a_spelling(verb: str) -> None:
    def walk(command: click.Command) -> None:
        spellings = [text for parameter in command.params for text in parameter.opts if text.startswith("-")]
        assert len(spellings) == len(set(spellings))
        for child in getattr(command, "commands", {}).values():
            walk(child)

    command = root.root.get_command(click.Context(root.root), verb)
    assert command is not None
    assert command.help
    walk(command)


def test_an_unknown_verb_is_refused_with_a_suggestion(cli: Cli) -> None:
    result = cli("frks")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: no such command 'frks' [usage]\nhint: did you mean forks?\n"


def test_an_unknown_option_is_refused_with_a_suggestion(cli: Cli) -> None:
    result = cli("forks", "--jsn")
    assert result.code == 2
    assert "error: no such option '--jsn' [usage]" in result.err.replace(": --jsn", " '--jsn'")
    assert "--json" in result.err


def test_no_verb_prints_the_help_and_fails(cli: Cli) -> None:
    result = cli()
    assert result.code == 2
    assert "Artifacts:" in result.err


def test_a_failure_with_json_is_a_document_and_words(cli: Cli) -> None:
    result = cli("forks", "show", "londn", "--json")
    assert result.code == 2
    assert not result.document["ok"]
    (problem,) = result.document["problems"]
    assert set(problem) == {"code", "severity", "subject", "message", "cause", "hint"}
    assert problem["code"] == "unknown_fork"
    assert "error: unknown fork 'londn' [unknown_fork]" in result.err


def test_a_broken_configuration_is_told_with_its_file(cli: Cli, home: Path) -> None:
    (home / "evmaot.toml").write_text("build = {job = 3}\n")
    result = cli("path")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        f"error: unknown key 'build.job' ({home / 'evmaot.toml'}) [config_unknown_key]",
        "hint: did you mean 'build.jobs'?",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("odd_hex", "m"), 3),
        (CorruptionError("hash_mismatch", "m"), 4),
        (StoreError("disk_full", "m"), 73),
        (BusyError("locked", "m"), 75),
        (TrustError("store_untrusted", "m"), 77),
        (OSError(28, "No space left on device", "/x"), 73),
        (OSError(30, "Read-only file system", "/x"), 73),
        (OSError(13, "Permission denied", "/x"), 1),
        (ValueError("m"), 1),
        (CompilerBug("m"), 1),
        (click.UsageError("m"), 2),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: Exception, code: int) -> None:
    assert failures.as_evmaot_error(error)[1] == code
    assert code in failures.EXIT_CODES


def test_a_failure_tells_subject_cause_effect_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    context = {"path": "/a/b.json", "effect": "the rest was built"}
    error = EvmaotError("odd_hex", "odd number of digits", context=context, cause="41 digits", hint="add one")
    failures.say(error, Output(color_choice="never"))
    assert capsys.readouterr().err.splitlines() == [
        "error: odd number of digits (/a/b.json) [odd_hex]",
        "cause: 41 digits",
        "effect: the rest was built",
        "hint: add one",
    ]


def test_an_internal_error_is_one_line_and_a_place_and_a_traceback_only_with_vv(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("evmaot.config.load", fail)
    result = cli("path")
    assert result.code == 1
    assert "error: internal error: ZeroDivisionError: oops" in result.err
    assert re.search(r"\(evmaot/cli/[a-z_/]+\.py:\d+\)", result.err)
    assert "Traceback" not in result.err
    assert "Traceback" in cli("path", "-vv").err
    assert "Traceback" in cli("-v", "path", "-v").err


def test_a_place_in_another_library_below_a_directory_named_like_ours_is_not_ours() -> None:
    foreign = compile("1 // 0", "/src/evmaot/lib/python3/site-packages/other/code.py", "eval")
    with pytest.raises(ZeroDivisionError) as caught:
        eval(foreign)
    assert caught.tb.tb_next is not None
    error, _ = failures.as_evmaot_error(caught.value.with_traceback(caught.tb.tb_next))
    assert failures.subject_of(error) is None


@pytest.mark.parametrize(
    ("choice", "environment", "expected"),
    [
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "0"}, False),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_follow_the_option_then_the_variables(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, choice: str, environment: dict[str, str], expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in cli("forks", "--color", choice).out) is expected


def test_a_reader_that_leaves_early_is_no_failure(home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = f'{sys.executable} -m evmaot forks show osaka | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_a_closed_pipe_ends_a_listing_with_0_and_no_words(home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "evmaot", "forks", "--json"],
            stdout=pipe, stderr=subprocess.PIPE, env=environment, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("verb", list(root.VERBS))
def test_the_help_of_a_verb_imports_neither_compiler_nor_store_nor_rich(verb: str, home: Path) -> None:
    heavy = "{'llvmlite', 'rich', 'evmaot.store', 'evmaot.codegen', 'evmaot.runtime', 'evmaot.build', 'evmaot.inputs'}"
    check = (
        "import sys; from evmaot.cli.main import main; code = main([sys.argv[1], '--help']); "
        f"loaded = sorted(name for name in {heavy} if name in sys.modules); sys.exit(f'{{code}} {{loaded}}')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", check, verb], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stderr.strip() == "0 []"


def test_version_costs_next_to_nothing(process: Cli) -> None:
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process("--version").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < 0.1
