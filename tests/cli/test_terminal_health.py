"""What `stats`, `doctor`, `explain` and `preload --check` look like: on terminals, in a pipe, as JSON.

What differs from machine to machine (paths, times, sizes of disks) is put in before it is laid out, so that lines break
where they always do; that real runs fit a terminal is tried beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evmaot.cli.checks import Check, Health
from evmaot.cli.invocation import Invocation
from evmaot.cli.output import Output
from evmaot.cli.verbs import preload, stats
from tests.cli.conftest import Cli
from tests.cli.terminal import on_terminal
from tests.cli.test_terminal_output import HASH, store

__all__ = ["store"]

WIDTHS = pytest.mark.parametrize("columns", [0, 80, 40])
Golden = Callable[[str, str], None]
Seen = Callable[[str, int, Callable[[Invocation], None]], None]


@pytest.fixture
def seen(golden: Golden, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Seen:
    """Compare what a function says at a width with the golden text of that name."""

    def compare(name: str, columns: int, tell: Callable[[Invocation], None]) -> None:
        monkeypatch.setattr(Output, "width", lambda self: columns)
        capsys.readouterr()
        # No configuration is asked for.
        tell(Invocation(None, Output(color_choice="never"), name))  # type: ignore[arg-type]
        out, err = capsys.readouterr()
        assert all(len(line) <= columns for line in out.splitlines()) or not columns
        golden(f"cli/terminal/{name}-{columns or 'pipe'}.txt", out + err)

    return compare


def masked(value: Any, key: str = "") -> Any:
    """JSON data without what differs from run to run."""
    if isinstance(value, dict):
        return {name: masked(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [masked(item, key) for item in value]
    if key in ("free_bytes", "total_bytes", "resident_bytes") or (isinstance(value, float)):
        return 0
    if key in ("path", "store", "id", "compiler", "llvmlite", "llvm", "abi", "evmaot", "profile"):
        return f"<{key}>"
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{64}|[0-9a-f]{16}(?= here)", "<digest>", value)
    return value


@pytest.mark.parametrize(
    "arguments", [["stats"], ["preload", "--check"], ["explain", HASH, "--opt", "fast", "--target", "x86_64-linux"]]
)
def test_documents_are_as_ever(cli: Cli, store: Path, golden: Golden, arguments: list[str]) -> None:
    document = masked(cli(*arguments, "--json").document)
    golden(f"cli/json/{arguments[0]}.json", json.dumps(document, indent=1) + "\n")


@WIDTHS
def test_stats(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen, columns: int) -> None:
    monkeypatch.setenv("EVMAOT_STORE_PATH", str(store))
    data = cli("stats", "--json").document["data"]
    data["store"]["path"] = "/var/cache/operator/evmaot/store"
    data["layers"][0]["store"] = "/opt/evmaot/store"
    data["disk"] = {"total_bytes": 252 << 30, "free_bytes": 74 << 30}
    data["failures"] = {"count": 3, "reasons": {"compile_timeout": 2, "compile_memory": 1}}
    seen("stats", columns, lambda invocation: stats._tell(invocation, data))


@WIDTHS
def test_stats_of_nothing(cli: Cli, home: Path, seen: Seen, columns: int) -> None:
    data = cli("stats", "--json").document["data"]
    data["store"]["path"] = "/var/cache/operator/evmaot/store"
    data["disk"] = {"total_bytes": 252 << 30, "free_bytes": 74 << 30}
    seen("stats-empty", columns, lambda invocation: stats._tell(invocation, data))


@WIDTHS
def test_preload(cli: Cli, store: Path, seen: Seen, columns: int) -> None:
    data = cli("preload", "--check", "--json").document["data"]
    data["store"] = "/var/cache/operator/evmaot/store"
    data["resident_bytes"] = 5 << 20
    data["seconds"] = {"import": 0.0312, "open": 0.0004, "read": 0.0021, "index": 0.021, "load": 0.0012, "total": 0.056}
    refused = {"reason": "hash_mismatch", "subject": "v1/objects/41/4109d5e403d238b7.so", "is_refusal": True,
               "message": "its SHA-256 is not the one in its manifest"}  # fmt: skip
    data["skipped"].append(refused)
    seen("preload", columns, lambda invocation: preload._tell(invocation, data))


CHECKS = (
    Check("python", Health.OK, "evmaot 0.1.0, CPython 3.12.3, 64 bits, /usr/bin/python3"),
    Check("limits", Health.WARNING, "only 64 open files are allowed", "ulimit -n 1024"),
    Check("store", Health.OK, "/var/cache/operator/evmaot/store (default): 412 artifacts, trusted"),
    Check("layer 1", Health.WARNING, "left out: there is no store at /opt/evmaot/store", "evmaot build makes one"),
    Check("contents", Health.ERROR, "1 damaged of those hashed; the first: v1/objects/41/4109.so: the library's "
          "SHA-256 is another", "evmaot verify --repair", 4),
    Check("file system", Health.OK, "ext4, libraries can be executed"),
    Check("extras", Health.NOTE, "zstd is not installed: no compressed exports", "pip install 'evmaot[zstd]'"),
)  # fmt: skip


@pytest.fixture
def fixed_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_checks(_: Invocation) -> Iterator[Check]:
        yield from CHECKS

    monkeypatch.setattr("evmaot.cli.checks.all_checks", all_checks)


@WIDTHS
def test_doctor(cli: Cli, fixed_checks: None, golden: Golden, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(Output, "width", lambda self: columns)
    result = cli("doctor")
    assert result.code == 4
    assert all(len(line) <= columns for line in result.out.splitlines()) or not columns
    golden(f"cli/terminal/doctor-{columns or 'pipe'}.txt", result.out + result.err)


def test_the_document_of_doctor_is_as_ever(cli: Cli, fixed_checks: None, golden: Golden) -> None:
    document = masked(cli("doctor", "--json").document)
    golden("cli/json/doctor.json", json.dumps(document, indent=1) + "\n")


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("arguments", [["stats"], ["doctor"], ["preload", "--check"]])
def test_a_real_run_fits_the_terminal(store: Path, arguments: list[str], columns: int) -> None:
    text = on_terminal(*arguments, columns=columns, more={"NO_COLOR": "1"})
    words = ("hint: ", "error: ", "effect: ", "left out, ", "warning: ")
    rows = [line for line in text.splitlines() if not line.startswith(words) and "skipped part" not in line]
    assert rows and all(len(line) <= columns for line in rows)


def test_doctor_finds_a_flipped_byte(cli: Cli, real_store: Path) -> None:
    (library,) = real_store.glob("v1/objects/*/*.so")
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.chmod(0o644)
    library.write_bytes(data)
    library.chmod(0o444)
    result = cli("doctor")
    assert (result.code, "1 damaged of those hashed" in result.out) == (4, True)
    assert "hint: evmaot verify --repair" in result.out


def test_doctor_says_what_it_did_not_hash(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evmaot.cli.checks._HASHED_BYTES", 1)
    (row,) = [row for row in cli("doctor", "--json").document["data"]["checks"] if row["name"] == "contents"]
    assert row["health"] == "note"
    assert re.fullmatch(r"hashed 1 of 3 libraries \(.*\), chosen by chance; the others were not .*", row["message"])
    assert row["hint"] == "evmaot verify hashes all"


def test_doctor_names_the_extras_that_are_missing(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evmaot.cli.checks._installed", lambda module: module != "distributed")
    rows = [row for row in cli("doctor", "--json").document["data"]["checks"] if row["name"] == "extras"]
    assert [row["message"] for row in rows] == [
        "installed: sign, zstd, eels, vectors",
        "dask is not installed: no builds on a cluster",
    ]
    assert rows[1]["hint"] == "pip install 'evmaot[dask]'"
