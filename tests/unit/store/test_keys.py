"""Keys: every part of them counts, and they never change by accident."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from evmaot.errors import CorruptionError
from evmaot.store.keys import Profile, parse_profile, profile_document, unit_key
from evmaot.target import TARGETS
from tests.support.store_samples import profile, sha


def test_the_digest_is_of_the_document() -> None:
    one = profile()
    stored = parse_profile(profile_document(one))
    assert stored.profile == one
    assert stored.digest == one.digest
    assert stored.short == one.short == one.digest[:16]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Profile)])
def test_every_field_of_a_profile_is_in_its_digest(field: str) -> None:
    value: Any = ("avx2",) if field == "features" else "other"
    assert profile().digest != dataclasses.replace(profile(), **{field: value}).digest


def test_digests_are_what_they_were() -> None:
    """Stores on disk are addressed by these: a change loses everybody's artifacts."""
    assert profile().digest == "6708bde08b3d9d3bb2c9fcce5c80a5bf0ddf1d3ce2563580bf1bb177f23ed10b"
    key = unit_key(sha("profile"), sha("rules"), sha("code"), 3)
    assert key == "cc89997c50b03a6ed5b1dc92346ef7a32dad37271dbbf9dcc1fd4acca979c366"


def test_an_option_that_is_not_chosen_is_not_in_the_document() -> None:
    chosen = dataclasses.replace(profile(), single_error=True)
    assert "single_error" not in profile().preimage()["options"]
    assert chosen.digest != profile().digest
    assert parse_profile(profile_document(chosen)).profile == chosen


def test_every_part_of_a_unit_key_counts() -> None:
    base = ("a" * 64, "b" * 64, "c" * 64, 7, ())
    keys = {unit_key(*base)}
    for position, value in enumerate(("d" * 64, "d" * 64, "d" * 64, 8, ((1, 32),))):
        changed = list(base)
        changed[position] = value
        keys.add(unit_key(*changed))  # type: ignore[arg-type]  # a list of mixed types
    assert len(keys) == 6


def test_a_profile_names_its_target() -> None:
    assert profile().target == TARGETS["x86_64-linux"]


def test_a_newer_document_keeps_its_own_digest() -> None:
    document = profile().preimage() | {"later": 1}
    data = json.dumps(document).encode()
    assert parse_profile(data).profile == profile()
    assert parse_profile(data).digest != profile().digest


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"schema":"evmaot.profile/1"}', b"[" * 100_000, b"\xff"])
def test_a_damaged_profile_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError) as caught:
        parse_profile(data)
    assert caught.value.reference == "profile_damaged"
