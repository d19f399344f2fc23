"""Whatever a file holds, reading it yields contracts and problems, and raises nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evmaot.inputs.problems import PROBLEMS
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.registry import FORMATS, recognise, sort_of
from evmaot.inputs.source import ContractSource, Problem
from tests.support.scale import scaled

SAMPLES_DIR = Path(__file__).resolve().parents[2] / "data" / "inputs"
DOCUMENTS = [
    json.loads(text)
    for path in sorted(SAMPLES_DIR.rglob("*.json*"))
    for text in (path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()])
]
CONTENTS = [path.read_bytes() for path in sorted(SAMPLES_DIR.rglob("*")) if path.is_file()]

JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats() | st.text(max_size=5) | st.just("0x6000"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(max_examples=scaled(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a document."""
    found = [path]
    if isinstance(document, dict):
        for key, value in document.items():
            found += places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            found += places(value, (*path, index))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at that path."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


@st.composite
def damaged_documents(draw: st.DrawFn) -> Any:
    document = draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(1, 2))):
        document = replaced(document, draw(st.sampled_from(places(document))), draw(JUNK))
    return document


def check(items: list[ContractSource | Problem]) -> None:
    assert items  # something is always said of a file
    for item in items:
        if isinstance(item, Problem):
            assert item.code in PROBLEMS
            assert item.message
            item.message.encode()
        else:
            assert 0 < len(item.code) <= 49_152
            assert all(hole.offset + hole.length <= len(item.code) for hole in item.holes)
            item.label.encode()


@given(damaged_documents())
@QUICK
def test_a_damaged_document_raises_nothing(document: Any) -> None:
    check(list(read_inputs(["-"], stdin=io.BytesIO(json.dumps(document).encode()))))


@given(damaged_documents() | JUNK)
@QUICK
def test_a_document_has_at_most_one_format(document: Any) -> None:
    # As it comes out of a file: keys are texts, NaN stays.
    document = json.loads(json.dumps(document))
    takers = [row.name for row in FORMATS if row.sort == sort_of(document) and row.recognise(document)]
    assert len(takers) <= 1
    assert (recognise(document) is None) == (not takers)


@given(damaged_documents(), st.sampled_from([row.name for row in FORMATS]))
@example([], "init-only")
@QUICK
def test_any_document_read_as_any_format_raises_nothing(document: Any, name: str) -> None:
    check(list(read_inputs(["-"], format=name, stdin=io.BytesIO(json.dumps(document).encode()))))


@given(st.sampled_from(CONTENTS), st.data())
@QUICK
def test_damaged_bytes_raise_nothing(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    check(
        list(read_inputs(["-"], stdin=io.BytesIO(content[:start] + data.draw(st.binary(max_size=8)) + content[end:])))
    )


@given(st.binary(max_size=200))
@QUICK
def test_any_bytes_raise_nothing(content: bytes) -> None:
    check(list(read_inputs(["-"], stdin=io.BytesIO(content))))
