"""Tests with one name twice are two tests: fillers cut long names."""

from __future__ import annotations

import json
from pathlib import Path

from evmaot.hosts.state_tests import read_tests

_CONTENT = {"env": {}, "transaction": {}, "post": {"Prague": [{}]}, "tag": "evm"}


def test_two_tests_with_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = [{"id": "same", "pre": {"0x01": {}}, **_CONTENT}, {"id": "same", "pre": {"0x02": {}}, **_CONTENT}]
    file = tmp_path / "tests.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests = list(read_tests([file]))
    assert [test.id for test in tests] == ["same", "same#2"]
    assert [list(test.content["pre"]) for test in tests] == [["0x01"], ["0x02"]]
