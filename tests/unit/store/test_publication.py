"""Publication: the bytes, modes and names that a pack has, and what is refused before anything is written."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from evmaot.errors import BusyError, CompilerBug, LoadError, StoreError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import Durability
from evmaot.store.locks import MANIFESTS_BYTE
from evmaot.store.manifest import parse
from evmaot.store.publication import NewPack
from evmaot.store.removal import Selector
from tests.support.store_samples import (
    HastySystem,
    QuickSystem,
    ScriptedSystem,
    ShortWriteSystem,
    errors,
    labels,
    open_store,
    pack,
    profile,
    tree,
)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return open_store(tmp_path / "store")


def test_what_is_published_for_another_fork_stays_for_those_it_was_built_for(store: ArtifactDirectory) -> None:
    """Such as by `build --force`: then to clear one fork leaves the artifact to the other."""
    for fork in ("london", "osaka", "london"):
        store.publish(*pack("a", forks=(fork,)))
    (entry,) = store.index()
    assert entry.member.forks == ("london", "osaka")
    store.clear(Selector(forks=frozenset({"osaka"})))
    (entry,) = store.index()
    assert entry.member.forks == ("london",)


@pytest.mark.parametrize("part", ["v1", "v1/tmp", "locks", "."])
def test_what_was_removed_from_an_open_store_is_made_again(store: ArtifactDirectory, part: str) -> None:
    """By an operator, below a program that runs for weeks."""
    store.publish(*pack("a"))
    shutil.rmtree(store.paths.root / part)
    store.publish(*pack("b"))
    assert errors(store.verify()) == []
    assert "b" in labels(ArtifactDirectory.open(store.paths.root))


def test_what_others_add_while_a_pack_is_published_again_is_not_lost(tmp_path: Path) -> None:
    """Such as a fork that another build notes, between the reading of a manifest and its replacement."""
    other = open_store(tmp_path / "store")
    other.publish(*pack("a", forks=("london",)))
    (known,) = other.packs()
    (member,) = known.manifest.members
    came: list[int | str] = []

    def note(timeout_seconds: float) -> int:
        waiting = open_store(other.paths.root, lock_timeout_seconds=timeout_seconds, system=HastySystem())
        return waiting.add_forks([known], {(member.code_sha256, member.rules): ["osaka"]})

    class Between(QuickSystem):
        def rename(self, old: str, new: str) -> None:
            if new == str(known.manifest_path) and not came:
                try:
                    came.append(note(0.0))
                except BusyError as error:
                    came.append(error.reference)
            super().rename(old, new)

    open_store(other.paths.root, system=Between()).publish(*pack("a", forks=("cancun",)))
    assert came, "it was published again"
    if came == ["store_busy"]:
        note(5.0)
    (entry,) = other.index()
    assert entry.member.forks == ("london", "cancun", "osaka")


def test_who_publishes_waits_for_a_manifest_that_is_being_replaced_whatever_its_patience(tmp_path: Path) -> None:
    """Two builders at a time, which would not wait for a collector: what they compiled must not be lost."""

    class Contended(QuickSystem):
        refusals = 3

        def try_lock_byte(self, descriptor: int, offset: int, *, exclusive: bool = True) -> bool:
            if offset == MANIFESTS_BYTE and self.refusals:
                self.refusals -= 1
                return False
            return super().try_lock_byte(descriptor, offset, exclusive=exclusive)

    system = Contended()
    store = open_store(tmp_path / "store", lock_timeout_seconds=0.0, system=system)
    store.publish(*pack("a"))
    assert (system.refusals, labels(store)) == (0, ["a"])


def test_an_unsigned_import_that_looked_before_a_build_takes_nothing_from_it(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("a b")
    store.publish(library, manifest, of)
    (first, *_) = manifest.members
    lie = replace(manifest, origin=replace(manifest.origin, kind="import"), members=(first._replace(forks=("paris",)),))
    store.publish(library, lie, of)
    assert [found.manifest for found in store.packs()] == [manifest]


def test_publishing_a_part_of_a_pack_takes_nothing_from_what_is_there(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("a b")
    store.publish(library, manifest, of)
    store.publish(library, replace(manifest, members=manifest.members[:1]), of)
    assert labels(store) == ["a", "b"]


def test_a_library_is_named_by_its_content_and_can_not_be_written(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("a b")
    path = store.publish(library, manifest, of)
    sha256 = manifest.object.sha256
    assert path == store.paths.root / "v1/objects" / sha256[:2] / f"{sha256}.so"
    assert path.read_bytes() == library
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    document = store.paths.root / "v1/profiles" / of.digest[:16] / "packs" / f"{sha256}.json"
    assert parse(document.read_bytes()) == manifest
    assert not list(store.paths.tmp.iterdir())
    assert store.verify("hash") == []


@pytest.mark.parametrize("durability", Durability)
def test_every_durability_publishes_the_same(tmp_path: Path, durability: Durability) -> None:
    store = open_store(tmp_path / "s", durability=durability)
    packs = [NewPack(*pack(name)) for name in ("a", "b c", "d")]
    assert len(store.publish_batch(packs)) == 3
    assert labels(store) == ["a", "b", "c", "d"]
    assert store.verify("hash") == []


def test_no_sync_without_durability(tmp_path: Path) -> None:
    calls: list[str] = []
    for durability in (Durability.NONE, Durability.FULL):
        system = ScriptedSystem(0, calls.append, ("fsync",))
        open_store(tmp_path / durability.value, durability=durability, system=system).publish(*pack("a"))
        assert (system.calls > 0) is (durability is Durability.FULL)


def test_a_batch_shares_the_syncs_of_its_directories(tmp_path: Path) -> None:
    counts = {}
    for durability in (Durability.BATCH, Durability.FULL):
        store = open_store(tmp_path / durability.value, durability=durability)
        store.publish(*pack("first"))
        system = ScriptedSystem(0, lambda name: None, ("fsync",))
        again = open_store(tmp_path / durability.value, durability=durability, system=system)
        before = system.calls
        again.publish_batch([NewPack(*pack(f"x{number}")) for number in range(20)])
        counts[durability] = system.calls - before
    assert counts[Durability.BATCH] < counts[Durability.FULL]


def test_publishing_twice_changes_nothing(store: ArtifactDirectory) -> None:
    store.publish(*pack("a b"))
    before = tree(store.paths.root)
    inode = store.packs()[0].object_path.stat().st_ino
    store.publish(*pack("a b"))
    assert tree(store.paths.root) == before
    assert store.packs()[0].object_path.stat().st_ino == inode


def test_publishing_again_brings_removed_members_back(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("a b")
    store.publish(library, manifest, of)
    gone = manifest.members[0]
    store.remove_members([(of.digest, gone.code_sha256, gone.rules)])
    assert len(store.index()) == 1
    store.publish(library, manifest, of)
    assert labels(store) == ["a", "b"]


def test_two_profiles_may_share_a_library(store: ArtifactDirectory) -> None:
    library, manifest, _ = pack("a")
    for name in ("one", "two"):
        store.publish(library, replace(manifest, profile=profile(name).digest), profile(name))
    assert len(store.packs()) == 2
    store.remove_members([(profile("one").digest, manifest.members[0].code_sha256, manifest.members[0].rules)])
    assert [pack.profile.profile for pack in store.packs()] == [profile("two")]
    assert store.verify("hash") == []


def test_a_damaged_library_is_replaced_and_kept_aside(store: ArtifactDirectory) -> None:
    path = store.publish(*pack("a"))
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    path.chmod(0o444)
    assert store.publish(*pack("a")) == path
    assert store.verify("hash") == []
    (aside,) = store.paths.quarantine.rglob("*.so")
    assert aside.read_bytes() == b"damaged"


def test_a_library_that_breaks_a_rule_is_not_written(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", library_rules=lambda data: "needed")
    before = tree(store.paths.root)
    with pytest.raises(StoreError) as caught:
        store.publish(*pack("a"))
    assert caught.value.reference == "elf_rule:needed"
    assert {name for name in tree(store.paths.root) if not name.startswith("locks/")} == {*before}


def test_the_rules_of_elf_are_the_default(tmp_path: Path) -> None:
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    with pytest.raises(StoreError) as caught:
        store.publish(*pack("a"))
    assert caught.value.reference == "elf_rule:elf_header"


def test_a_check_that_fails_leaves_nothing(store: ArtifactDirectory) -> None:
    seen: list[bytes] = []

    def check(path: Path) -> None:
        seen.append(path.read_bytes())
        raise LoadError("self_test_failed", "no")

    library, manifest, of = pack("a")
    with pytest.raises(LoadError):
        store.publish_batch([NewPack(library, manifest, of, check)])
    assert seen == [library]
    assert len(store.index()) == 0
    assert not list(store.paths.tmp.iterdir())
    assert store.verify("hash") == []


def test_a_manifest_of_another_library_or_profile_is_our_own_fault(store: ArtifactDirectory) -> None:
    library, manifest, of = pack("a")
    with pytest.raises(CompilerBug):
        store.publish(library + b"x", manifest, of)
    with pytest.raises(CompilerBug):
        store.publish(library, manifest, profile("two"))


def test_short_writes_are_continued(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", system=ShortWriteSystem())
    store.publish(*pack("a b"))
    assert errors(open_store(tmp_path / "s").verify("hash")) == []
    assert labels(store) == ["a", "b"]
