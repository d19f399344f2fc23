"""What nests too deeply is refused before it is parsed, whatever the recursion limit is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evmaot.json_text import DEPTH_LIMIT, JsonTooDeep, parse_json
from tests.support.fixtures import REPOSITORY

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('"\\[]{}a\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\[]{}a'), inner, max_size=3),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@example("[", False, False)
@example([[["["]]], True, True)
@given(VALUES, st.booleans(), st.booleans())
def test_exactly_what_nests_deeper_than_the_limit_is_refused(value: Any, ascii_only: bool, as_bytes: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    data = text.encode() if as_bytes else text
    depth = depth_of(value)
    assert parse_json(data, depth_limit=depth) == value
    if depth:
        with pytest.raises(JsonTooDeep):
            parse_json(data, depth_limit=depth - 1)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"]}":'])
def test_the_limit_can_not_be_raised(opening: str) -> None:
    with pytest.raises(JsonTooDeep):
        parse_json(opening * (DEPTH_LIMIT + 1), depth_limit=10**6)


def test_wide_documents_are_not_deep() -> None:
    wide = [[[]], {"a": {"[": "]"}}] * 10_000
    assert parse_json(json.dumps(wide), depth_limit=3) == wide


@pytest.mark.parametrize("text", ['["' + "[" * 5000, "[" * 300 + '"\\', "]" * 2000 + "[" * 2000, "\\[" * 2000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    with pytest.raises(ValueError):
        parse_json(text.encode())


def test_a_mark_in_front_of_bytes_is_skipped_and_other_encodings_are_refused() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError):
        parse_json('{"a": 1}'.encode("utf-16"))


def test_constants_that_json_does_not_have_can_be_refused() -> None:
    assert parse_json("[Infinity]") == [float("inf")]
    with pytest.raises(ValueError, match="NaN is not JSON"):
        parse_json("[NaN]", allow_constants=False)


READERS = {
    "inputs": (
        "from evmaot.inputs.reader import read_inputs; print([item.code for item in read_inputs([path])])",
        "['bad_json']",
    ),
    "metadata": (
        "from evmaot.inputs.formats.solidity import target_in_metadata; print(target_in_metadata(deep))",
        "None",
    ),
    "manifest": ("from evmaot.store.manifest import parse; parse(deep.encode())", "ManifestError"),
    "profile": ("from evmaot.store.keys import parse_profile; parse_profile(deep.encode())", "CorruptionError"),
    "negative": ("from evmaot.store.negative import parse_record; print(parse_record(deep.encode(), ''))", "None"),
    "prestate": (
        "from evmaot.evm.forks import FORKS; from evmaot.execution.prestate import load_prestate; "
        "load_prestate(deep.encode(), 'x', FORKS['osaka'])",
        "InputError",
    ),
    "scenario": ("from evmaot.cli.scenario import load_json; load_json(path, 'x')", "UsageError"),
    "state tests": ("from evmaot.hosts.state_tests import read_tests; list(read_tests([path]))", "InputError"),
}
"""Code that reads a deep document, and what it prints or the name of what it raises."""


@pytest.mark.parametrize(("reader", "outcome"), READERS.values(), ids=READERS)
def test_a_deep_document_does_not_kill_a_process_that_raised_the_recursion_limit(
    reader: str, outcome: str, tmp_path: Path
) -> None:
    """EELS does so when it is imported; then json.loads overflows the C stack."""
    path = tmp_path / "deep.json"
    path.write_text("[" * 95_000 + "]" * 95_000)
    script = (
        "import sys, pathlib; sys.setrecursionlimit(100_000); "
        "path = pathlib.Path(sys.argv[1]); deep = path.read_text()\n"
        f"try: {reader}\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == outcome
