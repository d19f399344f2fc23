"""How the tests of the command line run it: in this process, or as a user does."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evmaot.cli.main import main


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        assert set(document) == {"schema", "evmaot", "ok", "data", "problems"}
        return document


Cli = Callable[..., Result]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without configuration, store or terminal settings; the working directory is empty."""
    for name in list(os.environ):
        if name.startswith(("EVMAOT_", "XDG_")) and name != "EVMAOT_FIXTURES":
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / ".git").mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line in this process: `cli("ls", "--json")`."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        code = main([str(part) for part in arguments])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def process(home: Path) -> Cli:
    """Run the command line as a user does, in a process of its own."""

    def run(*arguments: str | Path, stdin: bytes = b"", timeout_seconds: float = 60) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "evmaot", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


PUSH0_CODE = "5f5ff3"
"""Stops before Shanghai, for PUSH0 came with it."""
ADDING_CODE = "600160020160005260206000f3"
"""1 + 2, returned: the same under every fork."""


@pytest.fixture(scope="session")
def built_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the real compiler filled; tests take a copy of it."""
    from evmaot.build import BuildRequest, build
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import forks_selected
    from evmaot.inputs.source import ContractSource
    from evmaot.store.directory import ArtifactDirectory

    path = tmp_path_factory.mktemp("built") / "store"
    sources = [
        ContractSource(bytes.fromhex(code), label, "test")
        for code, label in ((PUSH0_CODE, "push0.hex"), (ADDING_CODE, "adding.hex"))
    ]
    request = BuildRequest(sources, forks_selected("shanghai..osaka"), CompileOptions(Tier.FAST), jobs=1)
    build(request, ArtifactDirectory.open(path, create=True))
    return path


@pytest.fixture
def real_store(home: Path, built_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of real libraries, which this test may damage."""
    path = home.parent / "real"
    shutil.copytree(built_store, path, copy_function=shutil.copy2)
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    monkeypatch.setenv("EVMAOT_OPT", "fast")
    return path


@pytest.fixture
def other(home: Path) -> Path:
    """Where the store of the other machine will be."""
    return home.parent / "other"


@pytest.fixture
def key(cli: Cli, home: Path) -> Path:
    assert cli("keygen", "ci.key").code == 0
    return home / "ci.key"


@pytest.fixture
def signed(cli: Cli, real_store: Path, key: Path, home: Path) -> Path:
    """A signed export of everything, with bytecode."""
    assert cli("export", "packs.tar", "--codes", "--sign", key).code == 0
    return home / "packs.tar"
