"""Summaries of packs: equal to what the manifests say, made anew when these change, and never needed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import IndexReader
from evmaot.store.serving import ServedForks
from evmaot.store.summaries import StoreSummary, read_summaries
from tests.support.store_samples import QuickSystem, open_store, pack, profile, tree


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    store = open_store(tmp_path / "s")
    store.publish(*pack("a b c"))
    store.publish(*pack("d", forks=("london", "paris")))
    store.publish(*pack("e", profile("two")))
    return store


def expected(store: ArtifactDirectory) -> dict[str, Counter[tuple[str, ...]]]:
    """Members by the forks that they serve, for each library, from the manifests."""
    served = ServedForks()
    return {
        pack.manifest.object.sha256: Counter(served(member) for member in pack.manifest.members)
        for pack in store.packs()
    }


def seen(summary: StoreSummary) -> dict[str, Counter[tuple[str, ...]]]:
    return {name: Counter(pack.served) for packs in summary.packs.values() for name, pack in packs.items()}


def counting(store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which manifests are read."""
    read: list[Path] = []
    original = IndexReader.manifest

    def manifest(self: IndexReader, path: Path, *rest: Any) -> Any:
        read.append(path)
        return original(self, path, *rest)

    monkeypatch.setattr(IndexReader, "manifest", manifest)
    return read


def test_a_summary_says_what_the_manifests_say(store: ArtifactDirectory) -> None:
    for _ in range(2):
        summary = read_summaries(store.files, may_write=True)
        assert seen(summary) == expected(store)
        assert set(summary.profiles) == set(store.index().profiles)
        assert sum(one.members for packs in summary.packs.values() for one in packs.values()) == 5
        sizes = {pack.manifest.object.sha256: pack.manifest.object.size for pack in store.packs()}
        assert {name: one.size_bytes for packs in summary.packs.values() for name, one in packs.items()} == sizes


def test_a_manifest_is_read_once_as_long_as_it_stays(store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    read = counting(store, monkeypatch)
    read_summaries(store.files, may_write=True)
    assert len(read) == 3
    read_summaries(store.files, may_write=True)
    assert len(read) == 3
    store.publish(*pack("f"))
    read.clear()
    assert sum(seen(read_summaries(store.files, may_write=True)).values(), Counter()).total() == 6
    assert len(read) == 1, "only the new one"
    store.remove_members([(p.manifest.profile, m.code_sha256, m.rules) for p, m in store.index() if m.label == "a"])
    assert seen(read_summaries(store.files, may_write=True)) == expected(store)


def test_a_manifest_that_was_replaced_in_place_is_read_again(store: ArtifactDirectory) -> None:
    read_summaries(store.files, may_write=True)
    path = store.packs()[0].manifest_path
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"forks":["osaka"]', b'"forks":["paris"]'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    built = {name for packs in read_summaries(store.files, may_write=True).packs.values()
             for one in packs.values() for name in one.built_for}  # fmt: skip
    assert "paris" in built, "the time of change can't be set back"


def test_without_leave_to_write_nothing_is_written(store: ArtifactDirectory) -> None:
    before = tree(store.paths.root)
    read_summaries(store.files, may_write=False)
    assert tree(store.paths.root) == before


def test_nothing_is_written_into_the_store_of_another_user(store: ArtifactDirectory) -> None:
    class Root(QuickSystem):
        def user_id(self) -> int:
            return 0 if os.geteuid() else 1

    files = type(store.files)(store.paths, Root(), store.files.durability)
    if os.geteuid():  # root's files are trusted by everybody, not the other way round
        assert seen(read_summaries(files, may_write=True)) == {}
    assert not store.paths.summaries.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace("evmaot.summaries/1", "evmaot.summaries/9"),
        lambda text: json.dumps(json.loads(text) | {"fork_table": "0" * 64}),
        lambda text: json.dumps(json.loads(text) | {"groups": []}),
        lambda text: json.dumps(json.loads(text) | {"packs": {"x": {"signature": [1]}}}),
        lambda text: json.dumps(json.loads(text) | {"packs": []}),
        lambda text: text.replace('"members":', '"member":'),
        lambda text: text.replace('"members":', '"members":1e999,"was":'),
    ],
)
def test_a_damaged_memory_is_none(store: ArtifactDirectory, damage: Callable[[str], str]) -> None:
    read_summaries(store.files, may_write=True)
    for path in store.paths.summaries.iterdir():
        path.write_text(damage(path.read_text()))
    assert seen(read_summaries(store.files, may_write=True)) == expected(store)


def test_a_manifest_that_cannot_be_used_is_refused_each_time(store: ArtifactDirectory) -> None:
    store.packs()[0].manifest_path.write_text("{")
    for _ in range(2):
        assert [one.code for one in read_summaries(store.files, may_write=True).refusals] == ["manifest_not_json"]


def test_a_full_disk_costs_only_the_memory(store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store.files), "replace_document", full)
    assert seen(read_summaries(store.files, may_write=True)) == expected(store)
