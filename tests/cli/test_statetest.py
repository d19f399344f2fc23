"""`evmaot statetest`: its table, its failures, and the first differing frame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("ethereum.forks")

from tests.cli.conftest import Cli
from tests.support.assembly import assemble, call
from tests.support.state_cases import content, make, solved


def suite(path: Path) -> Path:
    """Two tests: one is right, one expects another state."""
    right = solved(make("right", code=call("CALL", 0x1111), others={0x1111: assemble("CALLER", 1, "SSTORE")}))
    path.write_text(json.dumps({"right": right.content, "wrong": content()}))
    return path


def test_failures_are_told_and_traced(cli: Cli, tmp_path: Path) -> None:
    file = suite(tmp_path / "suite.json")
    cache = str(tmp_path / "cache")
    done = cli("statetest", file, "--tier", "fast", "-j", "1", "--cache", cache, "--trace-diff", "--json")
    assert done.code == 3
    data = done.document["data"]
    assert data["cases"] == 2 and [row["test"] for row in data["failures"]] == ["suite:wrong"]
    assert data["forks"] == [{"fork": "osaka", "cases": 2, "passed": 1, "failed": 1, "native_frames": 3,
                              "seconds": data["forks"][0]["seconds"]}]  # fmt: skip
    (trace,) = data["traces"]
    # The expectation is wrong, not the code: both sides agree on every frame, and both miss the state root.
    assert trace["difference"] is None and trace["frames"] == 1
    assert "state root" in trace["native_problem"] and "state root" in trace["interpreter_problem"]


def test_a_named_case_is_traced_without_a_failure(cli: Cli, tmp_path: Path) -> None:
    file = suite(tmp_path / "suite.json")
    done = cli("statetest", file, "--tier", "fast", "-j", "1", "--name", "right", "--index", "0", "--trace-diff")
    assert done.code == 0 and "2 frames compared with EELS's interpreter, no difference" in done.err
    assert done.out.splitlines()[1].split()[:5] == ["osaka", "1", "1", "0", "2"]
