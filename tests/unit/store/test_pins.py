"""Pins: what they keep, what is missing from them, and documents that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.errors import BusyError, CorruptionError, UsageError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.pins import dangling, pin_names, read_pin, read_pins
from evmaot.store.removal import Selector
from tests.support.store_samples import HastySystem, labels, open_store, pack, profile


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    store = open_store(tmp_path / "store")
    store.publish(*pack("a b"))
    store.publish(*pack("c", profile("two")))
    return store


def keys(store: ArtifactDirectory, names: str) -> list[tuple[str, str, str]]:
    return [entry.key for entry in store.index() if entry.member.label in names.split()]


def test_a_pin_is_written_read_replaced_and_added_to(store: ArtifactDirectory) -> None:
    written = store.pin("release-1", keys(store, "a c"))
    assert read_pin(store.files, "release-1") == written
    assert store.pin("release-1", keys(store, "b")).members == set(keys(store, "b"))
    assert store.pin("release-1", keys(store, "a"), add=True).members == set(keys(store, "a b"))
    assert pin_names(store.files) == ["release-1"]
    store.unpin("release-1")
    assert read_pins(store.files) == ([], [])


def test_a_pin_does_not_keep_a_fork_that_others_can_do_without(store: ArtifactDirectory) -> None:
    store.publish(*pack("two", forks=("london", "osaka")))
    (key,) = (entry.key for entry in store.index() if entry.member.label == "two")
    store.pin("keep", [key])
    report = store.clear(Selector(forks=frozenset({"london"})))
    assert (report.members_kept_for_other_forks, report.members_kept_for_pins) == (1, 0)
    assert [entry.member.forks for entry in store.index() if entry.key == key] == [("osaka",)]
    report = store.clear(Selector(forks=frozenset({"osaka"})))
    assert report.members_kept_for_pins == 1, "then the pin is what keeps it"
    assert [entry.member.forks for entry in store.index() if entry.key == key] == [("osaka",)]


def test_clear_keeps_what_is_pinned_unless_it_is_included(store: ArtifactDirectory) -> None:
    store.pin("keep", keys(store, "a"))
    report = store.clear(Selector(everything=True))
    assert (report.members_removed, report.members_kept_for_pins) == (2, 1)
    assert labels(store) == ["a"]
    report = store.clear(Selector(everything=True), include_pinned=True)
    assert (report.members_removed, report.members_kept_for_pins) == (1, 0)
    assert labels(store) == []


def test_what_a_pin_keeps_and_the_store_lacks_is_a_note(store: ArtifactDirectory) -> None:
    pin = store.pin("keep", keys(store, "a c"))
    store.clear(Selector(pattern="c"), include_pinned=True)
    assert len(dangling(pin, store.index())) == 1
    assert [(finding.code, finding.severity.value) for finding in store.verify("meta")] == [("pin_dangling", "note")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "pin_damaged"),
        ("[]", "pin_damaged"),
        ('{"schema":"evmaot.pin/2"}', "format_newer"),
        ('{"schema":"evmaot.pin/1","name":"other","created":"","members":{}}', "pin_damaged"),
        ('{"schema":"evmaot.pin/1","name":"keep","created":"","members":[]}', "pin_damaged"),
        ('{"schema":"evmaot.pin/1","name":"keep","created":"","members":{"x":{}}}', "pin_damaged"),
    ],
)
def test_a_pin_that_cannot_be_read_is_damage_and_stops_clear(store: ArtifactDirectory, text: str, code: str) -> None:
    store.pin("keep", keys(store, "a"))
    store.paths.pin("keep").write_text(text)
    if '"x"' not in text:
        assert [finding.code for finding in read_pins(store.files)[1]] == [code]
        with pytest.raises(CorruptionError):
            store.clear(Selector(everything=True))
    assert labels(store) == ["a", "b", "c"]
    store.unpin("keep")
    assert store.clear(Selector(everything=True)).members_removed == 3


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "x" * 65, "a\n"])
def test_a_pin_has_a_plain_name(store: ArtifactDirectory, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        store.pin(name, [])
    assert caught.value.reference == "bad_pin_name"
    with pytest.raises(UsageError):
        store.unpin(name)


def test_a_pin_that_is_not_there_is_named(store: ArtifactDirectory) -> None:
    with pytest.raises(UsageError) as caught:
        store.unpin("nobody")
    assert caught.value.reference == "no_such_pin"


def test_who_adds_to_a_pin_waits_for_who_writes_one(store: ArtifactDirectory) -> None:
    """Adding is reading and writing: two at once would lose one of them."""
    other = open_store(store.paths.root, system=HastySystem())
    with store._lock.pins(0.0), pytest.raises(BusyError):
        other.pin("keep", keys(store, "a"), add=True)
    assert store.pin("keep", keys(store, "a"), add=True).members == set(keys(store, "a"))
