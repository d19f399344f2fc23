"""The index: what is answered, by which rules, and what is left out with which reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import rules_digest
from evmaot.store.manifest import to_json
from tests.support.store_samples import labels, member, open_store, pack, profile, sha

CLZ = opcode_bitmap({0x00, 0x1E, 0x60})


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return open_store(tmp_path / "store")


def test_what_was_published_is_found(store: ArtifactDirectory) -> None:
    path = store.publish(*pack("alpha beta"))
    index = store.index()
    assert len(index) == 2
    (entry,) = index.by_code_hash(sha("hash of alpha"))
    assert entry.member.label == "alpha"
    assert entry.pack.object_path == path
    assert index.by_code_sha256(sha("code of beta"))[0].member.label == "beta"
    assert index.by_code_hash(sha("hash of gamma")) == []
    found = index.find(profile().digest, sha("code of alpha"), entry.member.rules)
    assert found == entry
    assert index.find(profile("two").digest, sha("code of alpha"), entry.member.rules) is None
    assert index.find(profile().digest, sha("code of alpha"), sha("other rules")) is None
    assert index.opcodes(profile().digest, sha("code of alpha")) == entry.member.opcodes
    assert index.opcodes(profile("two").digest, sha("code of alpha")) is None


def test_a_fork_is_served_if_its_rules_are_equal_whatever_the_manifest_lists(store: ArtifactDirectory) -> None:
    store.publish(*pack("plain", forks=("london",)))
    store.publish(*pack("clz", forks=("osaka",), opcodes=CLZ))
    index = store.index()
    assert [fork.name for fork in FORKS.values() if index.serving(sha("hash of plain"), fork)] == list(FORKS)
    assert [fork.name for fork in FORKS.values() if index.serving(sha("hash of clz"), fork)] == ["osaka"]


def test_a_listed_fork_whose_rules_differ_is_not_served(store: ArtifactDirectory) -> None:
    store.publish(*pack("clz", forks=("osaka", "london"), opcodes=CLZ))
    assert not store.index().serving(sha("hash of clz"), FORKS["london"])


def test_a_template_answers_no_exact_look_up(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("t", holes=((1, 32),))
    store.publish(library, manifest, of)
    digest, rules = sha("code of t"), manifest.members[0].rules
    assert store.index().find(of.digest, digest, rules) is None
    assert store.index().find(of.digest, digest, rules, ((1, 31),)) is None
    found = store.index().find(of.digest, digest, rules, ((1, 32),))
    assert found is not None and found.member.label == "t"
    assert store.index().find(of.digest, digest, rules, holes=None) == found


def test_the_rules_digest_is_remembered_per_fork_and_opcodes() -> None:
    assert rules_digest(FORKS["osaka"], CLZ) == rules_digest(FORKS["osaka"], CLZ)
    assert rules_digest(FORKS["osaka"], CLZ) != rules_digest(FORKS["prague"], CLZ)


def test_profiles_can_be_chosen(store: ArtifactDirectory) -> None:
    store.publish(*pack("a", profile("one")))
    store.publish(*pack("b", profile("two")))
    assert len(store.index()) == 2
    assert set(store.index().profiles) == {profile("one").short, profile("two").short}
    assert [entry.member.label for entry in store.index([profile("two").short])] == ["b"]
    assert len(store.index([])) == 0
    assert len(store.index()) == 2


def test_an_index_is_made_again_only_when_something_changed(store: ArtifactDirectory) -> None:
    store.publish(*pack("a"))
    first = store.index()
    assert store.index() is first
    store.publish(*pack("b"))
    second = store.index()
    assert labels(store) == ["a", "b"]
    assert second is not first
    assert {id(pack.manifest) for pack in first.packs} <= {id(pack.manifest) for pack in second.packs}


def manifest_path(store: ArtifactDirectory) -> Path:
    return store.packs()[0].manifest_path


def swap_name(path: Path) -> None:
    path.rename(path.with_name(sha("other") + ".json"))


def newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"evmaot.pack/1", b"evmaot.pack/2"))


def other_profile(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"profile": sha("another")}))


def as_link(path: Path) -> None:
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:100]), "manifest_not_json"),
    "empty": (lambda path: path.write_bytes(b""), "manifest_not_json"),
    "too large": (lambda path: path.write_bytes(b" " * (9 << 20)), "file_too_large"),
    "newer": (newer, "format_newer"),
    "name of another library": (swap_name, "manifest_mismatch"),
    "of another profile": (other_profile, "manifest_mismatch"),
    "a symbolic link": (as_link, "store_untrusted"),
    "a pipe": (as_fifo, "store_untrusted"),
    "writable by others": (lambda path: path.chmod(0o666), "store_untrusted"),
    "a directory": (as_directory, "store_untrusted"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_manifest_that_can_not_be_used_is_left_out_with_its_reason(store: ArtifactDirectory, how: str) -> None:
    store.publish(*pack("a"))
    damaged = manifest_path(store)
    store.publish(*pack("b", profile("two")))
    assert labels(store) == ["a", "b"]
    DAMAGE[how][0](damaged)
    # Both for one that has read the manifest before, and for one that has not.
    for reader in (store, open_store(store.paths.root)):
        index = reader.index()
        assert [entry.member.label for entry in index] == ["b"]
        assert [finding.code for finding in index.refusals] == [DAMAGE[how][1]]


@pytest.mark.parametrize("how", ["writable by others", "a symbolic link"])
def test_packs_below_an_untrusted_profile_directory_are_left_out(store: ArtifactDirectory, how: str) -> None:
    store.publish(*pack("a"))
    directory = manifest_path(store).parent.parent
    if how == "a symbolic link":
        elsewhere = directory.rename(store.paths.root.parent / "elsewhere")
        directory.symlink_to(elsewhere)
    else:
        directory.chmod(0o777)
    index = open_store(store.paths.root).index()
    assert len(index) == 0
    subject = str(directory.relative_to(store.paths.root))
    assert [(finding.code, finding.subject) for finding in index.refusals] == [("store_untrusted", subject)]


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "profile_missing"), (b"{}", "profile_damaged"), ("other", "profile_mismatch")],
)
def test_packs_without_a_right_profile_are_left_out(
    store: ArtifactDirectory, content: bytes | str | None, code: str
) -> None:
    store.publish(*pack("a"))
    path = store.paths.profile_document(profile().short)
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(profile(content).preimage()))
    index = open_store(store.paths.root).index()
    assert len(index) == 0
    assert [finding.code for finding in index.refusals] == [code]


def test_publishing_again_mends_a_profile(store: ArtifactDirectory) -> None:
    store.publish(*pack("a"))
    store.paths.profile_document(profile().short).unlink()
    store.publish(*pack("a"))
    assert labels(open_store(store.paths.root)) == ["a"]


def test_names_that_are_not_ours_are_ignored(store: ArtifactDirectory) -> None:
    store.publish(*pack("a"))
    packs = manifest_path(store).parent
    (packs / "notes.txt").write_text("x")
    (packs / "..json").write_text("x")
    (packs / ("A" * 64 + ".json")).write_text("x")
    (store.paths.profiles / "README").write_text("x")
    (store.paths.profiles / ("g" * 16)).mkdir()
    index = open_store(store.paths.root).index()
    assert [entry.member.label for entry in index] == ["a"]
    assert index.refusals == ()


def test_a_hundred_packs_of_256_are_indexed(store: ArtifactDirectory) -> None:
    """The shape that `ls` and preload have to be quick for; the time is measured elsewhere."""
    _, manifest, of = pack("x")
    store.publish(*pack("x"))
    directory = manifest_path(store).parent
    for number in range(100):
        rows = tuple(member(f"{number}-{row}", slot=row) for row in range(256))
        sha256 = sha(str(number))
        record = type(manifest.object)(sha256, 1, "s", "t")
        changed = type(manifest)(of.digest, record, manifest.origin, manifest.created, rows)
        (directory / f"{sha256}.json").write_bytes(to_json(changed))
    index = store.index()
    assert len(index) == 25_601
    assert len(index.serving(sha("hash of 99-255"), FORKS["osaka"])) == 1
