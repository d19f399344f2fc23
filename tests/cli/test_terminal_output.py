"""What an operator sees: commands on terminals of 80 and 40 columns, in a pipe, without colours, on a dumb terminal."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.abi.layout import FINGERPRINT
from tests.cli.conftest import Cli
from tests.cli.stores import CONTRACTS, PROFILE, publish
from tests.cli.terminal import REPOSITORY, on_terminal

FIXED = dataclasses.replace(PROFILE, compiler="c" * 64, llvmlite="0.50.0", abi="a" * 64)
"""Digests in what is seen must not move with the compiler."""
HASH = "0x" + CONTRACTS[0].code_hash
COMMANDS = {
    "ls": ["ls"],
    "ls-contracts": ["ls", "--contracts"],
    "show": ["show", HASH],
    "verify": ["verify"],
    "pins": ["pins"],
    "gc": ["gc", "--dry-run", "--keep-free", "none"],
    "clear": ["clear", "--all", "--dry-run"],
    "explain": ["explain", HASH, "--opt", "fast"],
    "failure": ["show", "0x1234"],
}


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One profile of every kind: of another compiler, for another CPU, for another processor."""
    path = home.parent / "s"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    monkeypatch.setattr("evmaot.store.system.System.now_seconds", lambda self: 1_763_632_800.0)
    publish(path, profile=FIXED)
    publish(path, profile=dataclasses.replace(FIXED, tier="fast"))
    publish(path, profile=dataclasses.replace(FIXED, triple="aarch64-unknown-linux-gnu", cpu="generic"))
    return path


def steady(text: str, store: Path) -> str:
    """Without what differs from run to run."""
    text = text.replace(str(store), "/store")
    text = re.sub(r"in [0-9.]+ s", "in 0.01 s", text)
    text = text.replace(FINGERPRINT[:16], "b" * 16)
    return re.sub(r"[0-9.]+ [GTM]iB were free", "99 GiB were free", text)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal(store: Path, golden: Callable[[str, str], None], name: str, columns: int) -> None:
    text = on_terminal(*COMMANDS[name], columns=columns, more={"NO_COLOR": "1"})
    if name == "show":  # its paths are broken where the line ends, and their length differs
        text = text.partition("manifest")[0].partition("library")[0]
    golden(f"cli/terminal/{name}-{columns}.txt", steady(text, store))
    tables = [line for line in text.splitlines() if "  " in line and ": " not in line]
    assert all(len(line) <= columns for line in tables), "no row of a table is broken"


@pytest.mark.parametrize("name", ["ls", "verify", "failure"])
def test_colours_are_only_where_they_are_wanted(store: Path, name: str) -> None:
    seen = on_terminal(*COMMANDS[name], columns=80)
    assert "\x1b[" in seen
    plain = on_terminal(*COMMANDS[name], columns=80, more={"NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert steady(re.sub(r"\x1b\[[0-9;]*m", "", seen), store) == steady(plain, store)
    assert "\x1b" not in on_terminal(*COMMANDS[name], columns=80, term="dumb")
    assert "\x1b" not in on_terminal(*COMMANDS[name], "--color", "never", columns=80)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_gets_everything_and_no_colour(cli: Cli, store: Path, name: str) -> None:
    result = cli(*COMMANDS[name])
    assert "…" not in result.out
    assert "\x1b" not in result.out + result.err
    assert "left out, for the terminal is narrow" not in result.err


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "--contracts"], ["ls", "--contracts", "--jsonl"], ["stats"]])
def test_a_reader_that_goes_away_is_no_failure(store: Path, arguments: list[str]) -> None:
    for number in range(30):
        publish(store, [dataclasses.replace(CONTRACTS[0], code=b"%d" % number, label=f"{number}" * 100)], FIXED)
    command = [sys.executable, "-c", "import sys; from evmaot.cli.main import main; sys.exit(main(sys.argv[1:]))"]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=None, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        words = process.stderr.read()
        assert process.wait(60) == 0
    assert b"Traceback" not in words
    assert b"Broken pipe" not in words


def test_the_reason_why_nothing_loads_is_seen_at_40_columns(store: Path) -> None:
    text = on_terminal("ls", columns=40, more={"NO_COLOR": "1"})
    assert {"profile_other"} <= set(text.split())
    assert "another compiler version made it" in text.replace("\n", "")
