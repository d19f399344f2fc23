"""Removing: members, selections, what nothing refers to; and that nothing else goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.errors import BusyError, StoreError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.removal import Selector
from tests.support.store_samples import errors, labels, open_store, pack, profile, sha, tree


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    store = open_store(tmp_path / "store")
    store.publish(*pack("Token Vault", forks=("london", "osaka")))
    store.publish(*pack("Pool", forks=("osaka",)))
    store.publish(*pack("Token Router", profile("two"), forks=("london",)))
    return store


def key(name: str, of: str = "one") -> tuple[str, str, str]:
    from tests.support.store_samples import member

    return profile(of).digest, sha(f"code of {name}"), member(name).rules


def test_one_member_goes_and_its_library_stays(store: ArtifactDirectory) -> None:
    report = store.remove_members([key("Token")])
    assert (report.members_removed, report.packs_removed, report.bytes_freed) == (1, 0, 0)
    assert labels(store) == ["Pool", "Router", "Token", "Vault"]
    assert store.verify("hash") == []


def test_with_the_last_member_the_library_goes(store: ArtifactDirectory) -> None:
    size = store.index().by_code_sha256(sha("code of Pool"))[0].pack.manifest.object.size
    report = store.remove_members([key("Pool")])
    assert (report.members_removed, report.packs_removed, report.bytes_freed) == (1, 1, size)
    assert len(list(store.paths.objects.rglob("*.so"))) == 2
    assert store.verify("hash") == []


def test_what_is_not_there_is_not_removed(store: ArtifactDirectory) -> None:
    before = tree(store.paths.root)
    assert store.remove_members([key("Nobody")]).members_removed == 0
    assert tree(store.paths.root) == before


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        (Selector(everything=True), []),
        (Selector(pattern="Token"), ["Pool", "Router", "Vault"]),
        (Selector(pattern="*o*"), ["Vault"]),
        (Selector(pattern="0x" + sha("hash of Pool")[:12].upper()), ["Router", "Token", "Token", "Vault"]),
        (Selector(pattern="nothing*"), ["Pool", "Router", "Token", "Token", "Vault"]),
        (Selector(profiles=(profile("two").short,)), ["Pool", "Token", "Vault"]),
        (Selector(profiles=(profile("two").digest,)), ["Pool", "Token", "Vault"]),
        (Selector(forks=frozenset({"osaka"})), ["Router", "Token", "Token", "Vault"]),
        (Selector(forks=frozenset({"osaka", "london"})), []),
        (Selector(forks=frozenset({"london"}), profiles=(profile("two").short,)), ["Pool", "Token", "Vault"]),
        (Selector(forks=frozenset({"osaka"}), pattern="P*"), ["Router", "Token", "Token", "Vault"]),
        (Selector(forks=frozenset({"prague"})), ["Pool", "Router", "Token", "Token", "Vault"]),
    ],
)  # fmt: skip
def test_a_selection_is_cleared_and_nothing_else(store: ArtifactDirectory, selector: Selector, left: list[str]) -> None:
    before = tree(store.paths.root)
    expected = store.clear(selector, dry_run=True)
    assert tree(store.paths.root) == before
    report = store.clear(selector)
    assert report == expected
    assert labels(store) == left
    assert report.members_removed == 5 - len(left)
    assert store.verify("hash") == []


def test_a_member_of_several_forks_stays_for_the_others(store: ArtifactDirectory) -> None:
    report = store.clear(Selector(forks=frozenset({"osaka"})))
    assert report.members_kept_for_other_forks == 2
    (entry,) = store.index().by_code_hash(sha("hash of Vault"))
    assert entry.member.forks == ("london",)


def test_clearing_everything_leaves_an_empty_store(store: ArtifactDirectory) -> None:
    identity = store.document
    store.clear(Selector(everything=True))
    assert not list(store.paths.objects.rglob("*.so"))
    assert not list(store.paths.profiles.iterdir())
    assert open_store(store.paths.root).document == identity
    store.publish(*pack("again"))
    assert labels(store) == ["again"]


def test_no_selection_is_an_error(store: ArtifactDirectory) -> None:
    with pytest.raises(StoreError) as caught:
        store.clear(Selector())
    assert caught.value.reference == "nothing_selected"
    assert len(labels(store)) == 5


def test_clear_touches_only_names_of_the_store(store: ArtifactDirectory) -> None:
    mine = [store.paths.root / name for name in ("notes.txt", "v1/objects/notes.so", "v1/tmp/notes", "v1/profiles/x")]
    shard = next(store.paths.objects.iterdir())
    mine += [shard / "notes.so", store.paths.packs(profile().short) / "notes.json"]
    for path in mine:
        path.write_text("mine")
    store.clear(Selector(everything=True))
    assert [path.read_text() for path in mine] == ["mine"] * len(mine)


def test_a_sweep_removes_what_nothing_refers_to(store: ArtifactDirectory) -> None:
    orphan = store.publish(*pack("orphan"))
    store.index().by_code_hash(sha("hash of orphan"))[0].pack.manifest_path.unlink()
    (store.paths.tmp / f"123-{'a' * 16}.so").write_bytes(b"left over")
    notes = store.verify("hash")
    assert sorted(finding.code for finding in notes) == ["leftover", "unreferenced"]
    assert errors(notes) == []
    report = store.sweep()
    assert report.bytes_freed > 9
    assert not orphan.exists()
    assert store.verify("hash") == []
    assert len(labels(store)) == 5


def test_a_library_of_a_manifest_that_can_not_be_read_is_kept(store: ArtifactDirectory) -> None:
    (entry,) = store.index().by_code_hash(sha("hash of Pool"))
    entry.pack.manifest_path.write_bytes(b"{")
    store.sweep()
    assert entry.pack.object_path.exists()


def test_a_retired_pack_keeps_its_library_until_the_sweep(store: ArtifactDirectory) -> None:
    (entry,) = store.index().by_code_hash(sha("hash of Pool"))
    with store.shared_lock():
        store.retire([entry.pack.manifest_path])
        assert entry.pack.object_path.exists()
        assert "Pool" not in labels(store)
    store.sweep()
    assert not entry.pack.object_path.exists()


def test_removing_waits_for_builders_and_loaders(store: ArtifactDirectory) -> None:
    with store.shared_lock(), open_store(store.paths.root).shared_lock():
        removals: list[Callable[[], object]] = [
            lambda: store.clear(Selector(everything=True)),
            store.sweep,
            lambda: store.remove_members([]),
        ]
        for remove in removals:
            with pytest.raises(BusyError) as caught:
                remove()
            assert caught.value.reference == "store_busy"
            assert caught.value.exit_code == 75
        assert store.clear(Selector(everything=True), dry_run=True).members_removed == 5
    with store.exclusive_lock(), pytest.raises(BusyError):
        open_store(store.paths.root).publish(*pack("late"))
    store.clear(Selector(everything=True))
    assert labels(store) == []


def test_clearing_everything_removes_what_can_not_be_read_too(store: ArtifactDirectory) -> None:
    paths = [found.manifest_path for found in store.packs()]
    paths[0].write_bytes(b"{")
    paths[1].write_bytes(paths[1].read_bytes().replace(b"evmaot.pack/1", b"evmaot.pack/2"))
    store.clear(Selector(everything=True))
    assert [path.exists() for path in paths] == [False, True, False], "a newer version's pack is not ours to remove"
    assert errors(store.verify("hash")) == []


def test_a_quarantined_pack_is_out_of_the_store_and_not_lost(store: ArtifactDirectory) -> None:
    (entry,) = store.index().by_code_hash(sha("hash of Pool"))
    moved = store.quarantine(entry.pack)
    assert sorted(path.suffix for path in moved) == [".json", ".so"]
    assert all(path.exists() for path in moved)
    assert "Pool" not in labels(store)
    assert store.verify("hash") == []


def test_a_shard_that_leads_elsewhere_is_refused(store: ArtifactDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    precious = victim / f"{sha('precious')}.so"
    precious.write_text("precious")
    os.symlink(victim, store.paths.objects / "zz")
    os.symlink(victim, store.paths.objects / "0f")
    with pytest.raises(StoreError) as caught:
        store.sweep()
    assert caught.value.reference == "store_untrusted"
    assert precious.exists()
