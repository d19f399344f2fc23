"""The long run's program: it resumes, it survives a crash of native code, and it counts what it did."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.differential.__main__ import earlier
from tests.differential.chunks import Chunk, packed, sources_digest, unpacked
from tests.differential.compare import Comparison
from tests.differential.report import COVERED_FROM, Report
from tests.differential.workers import Workers
from tests.support.fixtures import REPOSITORY


def chunk_result(number: int = 0, **values: object) -> dict[str, object]:
    return {
        "sources": sources_digest(), "seed": "s", "family": "cancun", "number": number, "every": 5,
        "programs": {"osaka": packed({number.to_bytes(8, "big"), b"together"})}, "created": {},
        "counts": {"osaka": {"worlds": 1, "messages": 3}}, "opcodes": {"osaka": {"1": 3}}, "found": [], "seconds": 1.0,
        **values,
    }  # fmt: skip


def test_a_program_counts_once_for_its_family() -> None:
    report = Report()
    for number in range(3):
        report.add(json.loads(json.dumps(chunk_result(number))))
    assert len(report.programs["cancun"]) == 4
    assert report.counts["osaka"]["messages"] == 9


def test_an_opcode_that_never_ran_makes_a_long_run_fail() -> None:
    report = Report()
    digests = {number.to_bytes(8, "big") for number in range(COVERED_FROM)}
    report.add(json.loads(json.dumps(chunk_result(programs={"osaka": packed(digests)}))))
    assert not report.is_good
    assert "ADD" not in report.missing("osaka")
    assert "MUL" in report.uncovered()["osaka"]
    assert "MUL" in report.text()


def test_digests_survive_packing() -> None:
    digests = {os.urandom(8) for _ in range(5)}
    assert set(unpacked(packed(digests))) == digests


def test_results_of_other_sources_and_torn_lines_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lines = [json.dumps(chunk_result(0)), json.dumps(chunk_result(1, sources="other")), json.dumps(chunk_result(2))]
    path.write_text("\n".join(lines) + '\n{"torn', encoding="utf-8")
    assert [row["number"] for row in earlier(path, "s", 5)] == [0, 2]
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert list(earlier(path, "other seed", 5)) == []


def test_a_crash_costs_one_world_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time that a child begins, its process gets a wild read; then the chunk is done without that world."""

    def run_chunk(chunk: Chunk, _comparison: Comparison, progress: object) -> dict[str, object]:
        assert callable(progress)
        progress("fast some/world")
        if not chunk.skipped:
            ctypes.string_at(0)
        return chunk_result(skipped=sorted(chunk.skipped))

    monkeypatch.setattr("tests.differential.workers.run_chunk", run_chunk)
    comparison = Comparison(())
    (result,) = Workers(comparison, 1).run([Chunk("s", "cancun", 0)])
    assert result["skipped"] == ["some/world"]
    assert result["found"][0]["words"] == ["crash: signal SIGSEGV, fast some/world"]


def test_the_command_runs_resumes_and_writes_its_table(tmp_path: Path) -> None:
    command = [
        sys.executable, "-c",
        "import sys, runpy, tests.differential.chunks as c; c.BATCHES, c.WORLDS = 1, 3;"
        "sys.argv[0] = 'x'; runpy.run_module('tests.differential', run_name='__main__')",
        "--family", "berlin", "--programs", "20", "--resume", "run.jsonl", "--report", "run.txt",
    ]  # fmt: skip
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2, "the second run has nothing left to do"
    assert outputs[0] == outputs[1]
    assert "No difference." in (tmp_path / "run.txt").read_text(encoding="utf-8")
