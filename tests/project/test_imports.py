"""Directories are stages, imports point down: the contract of pyproject.toml holds, and is complete."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fixtures import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIGHT = ["evmaot", "evmaot.runtime", "evmaot.evm.forks", "evmaot.abi.layout", "evmaot.target", "evmaot.errors"]
HEAVY = ["llvmlite", "click", "rich", "evmaot.codegen", "evmaot.cli", "ethereum"]


def test_the_import_contract_holds() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    assert command, "import-linter is part of the extra `test`"
    done = subprocess.run([command, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", LIGHT)
def test_what_a_program_loads_at_run_time_is_light(module: str) -> None:
    """In a fresh process, so that nothing this test run imported counts."""
    script = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert module in loaded
    assert loaded.isdisjoint(HEAVY)


def test_every_module_but_the_commands_is_kept_from_the_terminal() -> None:
    document = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in document["tool"]["importlinter"]["contracts"]}
    paths = (REPOSITORY / "evmaot").iterdir()
    modules = {f"evmaot.{path.stem}" for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()}
    kept = set(contracts["the-library-has-no-terminal"]["source_modules"])
    assert kept == modules - {"evmaot.cli", "evmaot.__main__", "evmaot.__init__"}
