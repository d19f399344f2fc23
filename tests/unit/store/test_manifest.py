"""The manifest: what is written is read back, and nothing else is let through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evmaot.store.manifest import MAX_INTEGER, ManifestError, clean_label, parse, to_json
from tests.support.store_samples import member, pack

MANIFEST = pack("alpha beta gamma")[1]
DATA = to_json(MANIFEST)


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DATA)
    return loaded


def reason(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(ManifestError) as caught:
        parse(data)
    return caught.value.reference


def test_what_is_written_is_read_back() -> None:
    assert parse(DATA) == MANIFEST


def test_keys_are_sorted_and_the_bytes_canonical() -> None:
    assert json.dumps(document(), sort_keys=True, separators=(",", ":")).encode() + b"\n" == DATA
    assert to_json(parse(DATA)) == DATA


def test_unknown_keys_are_ignored() -> None:
    changed = document()
    changed["later"] = {"a": [1, 2.5, None]}
    changed["members"][0]["later"] = [True]
    changed["object"]["later"] = 1
    assert parse(json.dumps(changed).encode()) == MANIFEST


def test_holes_of_a_template_have_room() -> None:
    template = member("t", holes=((3, 32), (40, 32)))
    changed = replace(MANIFEST, members=(template,))
    assert parse(to_json(changed)).members[0].holes == ((3, 32), (40, 32))


def test_truncation_at_every_byte_is_refused() -> None:
    for length in range(len(DATA) - 1):  # without the final newline it is still whole
        assert reason(DATA[:length]) == "manifest_not_json"


def test_a_flipped_bit_never_raises_anything_else() -> None:
    for position in range(0, len(DATA), 3):
        flipped = bytearray(DATA)
        flipped[position] ^= 1 << position % 8
        try:
            parse(bytes(flipped))
        except ManifestError:
            continue


SCALARS: list[Any] = [None, True, False, -1, 2**53, 1.5, "", "x", [], {}, [[]], "é" * 600, "../x", "/etc"]
TEXTS = {"label": {"", "x", "../x", "/etc"}, "symbol": {"x"}}


@pytest.mark.parametrize("field", list(member("x")._fields))
def test_a_member_field_of_a_wrong_type_is_refused(field: str) -> None:
    for value in SCALARS:
        if isinstance(value, str) and value in TEXTS.get(field, set()):
            continue
        if field == "holes" and value == []:
            continue
        changed = document()
        changed["members"][1][field] = value
        assert reason(changed) == "manifest_field", (field, value)
    changed = document()
    del changed["members"][2][field]
    assert reason(changed) == "manifest_field"


FIELDS = """profile created members object origin object.sha256 object.size object.soname object.table
origin.kind origin.builder origin.host""".split()


@pytest.mark.parametrize("path", FIELDS)
def test_another_field_of_a_wrong_type_is_refused(path: str) -> None:
    values: tuple[Any, ...] = (None, True, -1, 1.5, [], {}, "\n", 2**60)
    for value in values:
        if path in ("origin.builder", "origin.host") and isinstance(value, str) and value.isprintable():
            continue
        changed = document()
        place = changed
        *parents, last = path.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
        assert reason(changed) == "manifest_field", (path, value)
        del place[last]
        assert reason(changed) == "manifest_field"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "a" * 63, "A" * 64, " " * 64, "0x" + "a" * 62]
)
def test_a_digest_is_nothing_but_64_lowercase_digits(name: str) -> None:
    changed = document()
    changed["object"]["sha256"] = name
    assert reason(changed) == "manifest_field"
    changed = document()
    changed["members"][0]["code_sha256"] = name
    assert reason(changed) == "manifest_field"


def test_duplicates_are_refused() -> None:
    for field in ("slot", "symbol"):
        changed = document()
        changed["members"][0][field] = changed["members"][1][field]
        assert reason(changed) == "manifest_field"
    changed = document()
    for field in ("code_sha256", "rules"):
        changed["members"][0][field] = changed["members"][1][field]
    assert reason(changed) == "manifest_field"


@pytest.mark.parametrize(
    "holes", [[[0]], [[0, 0]], [[90, 11]], [[0, 5], [4, 5]], [[-1, 5]], [["0", 1]], [[True, 1]], [0]]
)
def test_holes_lie_inside_the_code_and_apart(holes: object) -> None:
    changed = document()
    changed["members"][0]["holes"] = holes
    assert reason(changed) == "manifest_field"


def test_limits_are_named() -> None:
    assert reason(b" " * (8 * 1024 * 1024 + 1)) == "manifest_too_large"
    many = document()
    many["members"] = many["members"] * 1366
    assert reason(many) == "manifest_too_many_members"
    none = document()
    none["members"] = []
    assert reason(none) == "manifest_field"
    for place in ("document", "member"):
        deep = document()
        value: Any = 1
        for _ in range(9):
            value = [value]
        (deep if place == "document" else deep["members"][0])["x"] = value
        assert reason(deep) == "manifest_too_deep"
    assert reason(b"[" * 1_000_000) == "manifest_too_deep"
    for text in (b"", b"[]", b"1", b"null", b'{"a":NaN}', b"\xff\xfe{}", b'{"schema":1' + b"0" * 5000 + b"}"):
        assert reason(text) == "manifest_not_json"
    largest = document()
    largest["object"]["size"] = MAX_INTEGER - 1
    assert parse(json.dumps(largest).encode()).object.size == MAX_INTEGER - 1


def test_another_schema_is_refused_and_a_newer_one_is_named() -> None:
    for schema, expected in (
        ("evmaot.pack/2", "format_newer"),
        ("evmaot.pack/x", "manifest_schema"),
        ("other/1", "manifest_schema"),
        (None, "manifest_schema"),
        (7, "manifest_schema"),
    ):
        changed = document()
        changed["schema"] = schema
        assert reason(changed) == expected


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\u202egnp.exe", "\x9b2J", "x" * 600, "\ud800"])
def test_a_label_can_not_write_to_a_terminal(text: str) -> None:
    changed = document()
    changed["members"][0]["label"] = text
    assert reason(changed) == "manifest_field"
    cleaned = clean_label(text)
    assert parse(to_json(replace(MANIFEST, members=(member("x", label=cleaned),)))).members[0].label == cleaned


def test_what_breaks_the_rules_is_not_written() -> None:
    with pytest.raises(ManifestError):
        to_json(replace(MANIFEST, members=(member("x", label="\n"),)))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_refused_with_a_reason(value: object) -> None:
    assert reason(value).startswith("manifest_")
