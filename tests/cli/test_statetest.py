"""`evmaot statetest`: its table, its failures, and the first differing frame."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

pytest.importorskip("ethereum.forks")

from evmaot.cli.frame_traces import say_trace, trace_document
from evmaot.cli.output import Output
from evmaot.cli.schemas import DOCUMENTS, schema_of
from evmaot.hosts.frame_trace import Difference, Frame, FrameDifference, start_values
from evmaot.hosts.frame_trace_eels import CaseTrace
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


def test_a_difference_is_words_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    def frame(number: int, *path: int) -> Frame:
        values = start_values(
            creates=False, sender=1, recipient=2, code=b"\x01", precompile=None, gas=5, value=2**200, input=b"\x07",
            is_static=True,
        )  # fmt: skip
        return Frame(number, path, values)

    rows = (Difference("gas left", "4", "5"), Difference("storage 0x2 0x1", "7", "unchanged"))
    difference = FrameDifference(frame(3, 1, 0), "its end", rows, (frame(0), frame(2, 1)))
    trace = CaseTrace("t", "Osaka", 1, "fast", 4, True, difference, "state root", "")
    document = trace_document(trace)
    jsonschema.validate([document], schema_of(DOCUMENTS["statetest"]["traces"]))
    assert document["difference"]["frame"]["path"] == [1, 0] and document["difference"]["frame"]["value"] == hex(2**200)
    say_trace(Output(), trace)
    said = capsys.readouterr().err
    assert "frame 3 (path 1/0)" in said and "EELS   unchanged" in said and "frame 2: 0x" in said
