"""The example in the documentation of `evmaot.runtime`, and what importing it loads."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

import evmaot.runtime
from tests.runtime.packs import CODE, GAS, Contract, publish
from tests.support.fixtures import REPOSITORY


def test_the_documented_example_runs(root: Path) -> None:
    publish(root, Contract())
    found = doctest.DocTestFinder(recurse=False).find(
        evmaot.runtime, "evmaot.runtime", globs={"store_path": root, "code": CODE}
    )
    (example,) = found
    assert len(example.examples) >= 10
    report: list[str] = []
    result = doctest.DocTestRunner().run(example, out=report.append)
    assert result.failed == 0, "".join(report)
    assert f"(42, {GAS})" in (evmaot.runtime.__doc__ or "")


def loaded_modules(script: str) -> set[str]:
    """Names of the modules that a fresh process has loaded after a script."""
    done = subprocess.run(
        [sys.executable, "-c", script + "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("use", ["", "evmaot.runtime.open_runtime"])
def test_neither_compiler_nor_terminal_is_loaded(use: str) -> None:
    modules = loaded_modules(f"import evmaot.runtime\n{use}")
    assert "evmaot.runtime.frame" in modules
    unwanted = {"llvmlite", "click", "rich", "evmaot.codegen", "evmaot.cli", "evmaot.build", "numpy"}
    assert modules & unwanted == set()


def test_stores_are_read_without_compiler_and_terminal(root: Path) -> None:
    publish(root, Contract())
    code_hash = Contract().code_hash
    modules = loaded_modules(
        f"from evmaot.runtime import open_runtime\n"
        f"programs = open_runtime({str(root)!r})\n"
        f"assert programs.lookup(bytes.fromhex({code_hash.hex()!r}), 'osaka') is not None"
    )
    assert modules & {"llvmlite", "click", "rich", "evmaot.codegen"} == set()


def test_what_reads_stores_is_loaded_on_demand() -> None:
    modules = loaded_modules("import evmaot.runtime")
    assert not any(name.startswith("evmaot.store") for name in modules)


def test_every_public_name_is_there() -> None:
    for name in evmaot.runtime.__all__:
        assert getattr(evmaot.runtime, name) is not None
        assert name in dir(evmaot.runtime)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = evmaot.runtime.no_such_name
