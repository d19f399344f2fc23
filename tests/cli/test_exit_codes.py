"""Exit codes are stable: each is reached here by a real command, in a process of its own."""

from __future__ import annotations

import base64
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.cli.failures import EXIT_CODES
from tests.cli.conftest import PUSH0_CODE, Cli

Prepare = Callable[[Path, Path], None]


def nothing(store: Path, home: Path) -> None:
    """As it was built."""


def damaged(store: Path, home: Path) -> None:
    (library,) = (store / "v1" / "objects").glob("*/*.so")
    data = bytearray(library.read_bytes())
    data[5] ^= 1
    library.chmod(0o644)
    library.write_bytes(data)
    library.chmod(0o444)


def damaged_manifest(store: Path, home: Path) -> None:
    (manifest,) = (store / "v1" / "profiles").glob("*/packs/*.json")
    manifest.write_text("{")


def shared(store: Path, home: Path) -> None:
    store.chmod(0o777)


def missing(store: Path, home: Path) -> None:
    store.rename(store.with_name("elsewhere"))


def partly_bad(store: Path, home: Path) -> None:
    (home / "codes.txt").write_text(f"0x{PUSH0_CODE}\n0x123\n")


def unsigned(store: Path, home: Path) -> None:
    (home / "packs.tar").write_bytes(b"no signature is beside it")


def locked(store: Path, home: Path) -> None:
    """Kept by this process as long as it lives: the descriptor is not closed."""
    descriptor = os.open(store / "locks" / "store.lock", os.O_RDONLY)
    os.set_inheritable(descriptor, False)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


TABLE: list[tuple[int, Prepare, list[str]]] = [
    (0, nothing, ["ls"]),
    (0, nothing, ["verify"]),
    (0, missing, ["ls"]),
    (0, missing, ["ls", "--contracts"]),
    (0, missing, ["stats"]),
    (0, missing, ["pins"]),
    (0, missing, ["doctor"]),
    (0, missing, ["explain", "0x" + "12" * 32]),
    (0, nothing, ["explain", "0x" + "12" * 32]),
    (2, partly_bad, ["export", "--directory", "codes.txt"]),
    (2, nothing, ["statetest", "--resume", ".", "."]),
    (2, nothing, ["fetch", "--rpc", "http://127.0.0.1:9", "0x" + "12" * 20, "-o", "n" * 300]),
    (2, nothing, ["ls", "--limit", "3"]),
    (2, partly_bad, ["build", "codes.txt", "--dry-run", "--report", "nowhere/report.json"]),
    (2, nothing, ["ls", "--no-such-option"]),
    (2, nothing, ["nonsense"]),
    (2, nothing, ["clear", "--yes"]),
    (2, nothing, ["clear", "--all"]),
    (2, nothing, ["show", "0x12345678"]),
    (2, nothing, ["build", "--fork", "nonsense", "x"]),
    (3, partly_bad, ["build", "codes.txt"]),
    (4, damaged, ["verify"]),
    (4, damaged_manifest, ["verify", "--level", "meta"]),
    (4, damaged_manifest, ["doctor"]),
    (5, unsigned, ["import", "packs.tar", "--key", base64.b64encode(b"Ed" + bytes(40)).decode()]),
    (6, damaged, ["preload", "--check"]),
    (7, nothing, ["ls", "--fork", "osaka", "--profile", "ffff", "--error-if-empty"]),
    (7, nothing, ["explain", "0x" + "12" * 32, "--error-if-empty"]),
    (73, missing, ["verify"]),
    (73, missing, ["preload", "--check"]),
    (73, nothing, ["clear", "--all", "--yes", "--read-only"]),
    (75, locked, ["clear", "--all", "--yes", "--lock-timeout", "0.1s"]),
    (77, shared, ["ls"]),
    (77, shared, ["build", "0x00", "--dry-run"]),
    (77, shared, ["doctor"]),
    (77, shared, ["preload", "--check"]),
]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def test_every_code_of_the_manual_is_in_the_table() -> None:
    """But 1, our own fault, which takes one: `test_an_internal_error_is_one_line_and_a_place...`."""
    reached = {code for code, _, _ in TABLE} | set(SIGNALS.values())
    assert reached == set(EXIT_CODES) - {1}


@pytest.mark.parametrize(
    ("code", "prepare", "arguments"), TABLE, ids=lambda one: " ".join(one) if isinstance(one, list) else None
)
def test_a_command_ends_with_its_code(
    process: Cli, real_store: Path, home: Path, code: int, prepare: Prepare, arguments: list[str]
) -> None:
    prepare(real_store, home)
    try:
        result = process(*arguments)
    finally:
        if real_store.exists():
            real_store.chmod(0o700)
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    if code not in (0, 3, 6, 7):
        assert result.err.startswith("error: ") or "\nerror: " in result.err
        assert "]\n" in result.err, "every refusal has a reference"
    if code not in (0, 7):
        assert "hint: " in result.err + result.out, "and says what to do"


def _ended_by(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Its exit code.  A signal that arrives just before a read blocks is seen behind it: another one ends that."""
    for _ in range(3):
        process.send_signal(number)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    raise AssertionError("no signal ended it")


@pytest.mark.parametrize(("number", "code"), SIGNALS.items())
def test_a_signal_ends_a_command_with_its_code(home: Path, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "evmaot", "build", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        # More than a pipe holds: when it is taken, the command reads its input.
        process.stdin.write(b"# \n" * 100_000)
        process.stdin.flush()
        ended = _ended_by(process, number)
        words = process.stderr.read().decode()
        assert ended == code, words
        assert "Traceback" not in words


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_told_without_a_traceback(home: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "evmaot", "forks", "--json"]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, "Traceback" in found.stderr) == (73, False), found.stderr


def test_a_closed_stdout_is_no_internal_error(home: Path) -> None:
    command = ["sh", "-c", f"{sys.executable} -m evmaot ls >&-"]
    found = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, "internal" in found.stderr) == (0, False), found.stderr
