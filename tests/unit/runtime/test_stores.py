"""Stores as a runtime sees them: both implementations keep one contract."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.errors import LoadError, StoreError
from evmaot.runtime import ArtifactStore, BackendSelection, DirectoryStore, NewLibrary, RuntimeArtifactStore
from evmaot.runtime.preload import ResidentPrograms
from evmaot.runtime.preloading import LibraryMapping
from tests.runtime.packs import CODE, Contract, make_library, make_manifest, profile

MakeStore = Callable[[], ArtifactStore]
FIRST, SECOND = Contract(), Contract(code=CODE + b"\x00", answer=7)


@pytest.fixture(params=["directory", "temporary"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    return RuntimeArtifactStore()


def new_library(*contracts: Contract) -> NewLibrary:
    of = profile()
    data = make_library(contracts, bytes.fromhex(of.digest))
    return NewLibrary(data, "evmaot-test", of, make_manifest(data, contracts, of).members)


def test_what_is_stored_is_found(store: ArtifactStore) -> None:
    assert isinstance(store, ArtifactStore)
    assert list(store.find(FIRST.code_hash)) == []
    stored = store.store(new_library(FIRST, SECOND))
    assert len(stored) == 2
    assert {artifact.key for artifact in store.load_all()} == {artifact.key for artifact in stored}
    (found,) = store.find(FIRST.code_hash)
    assert store.load(found.key) is not None
    manifest = found.manifest
    assert (manifest.code_hash, manifest.length, manifest.tier) == (FIRST.code_hash, len(CODE), "optimised")
    assert (manifest.backend, manifest.key.rules) == (BackendSelection.LLVM, FIRST.rules_digest)
    assert manifest.library_size_bytes == len(new_library(FIRST, SECOND).data)
    with store.reading():
        library = found.library.load(LibraryMapping.COPY)
    assert (FIRST.code_sha256, bytes.fromhex(FIRST.rules_digest)) in library.entries


def test_a_resident_map_takes_any_store(store: ArtifactStore) -> None:
    store.store(new_library(FIRST))
    programs = ResidentPrograms()
    programs.add_store(store)
    assert programs.lookup(FIRST.code_hash, "osaka", CODE) is not None


def test_one_artifact_is_deleted_and_the_other_stays(store: ArtifactStore) -> None:
    first, second = sorted(store.store(new_library(FIRST, SECOND)), key=lambda found: found.member.length)
    assert store.delete(first.key)
    assert not store.delete(first.key)
    assert store.load(first.key) is None
    assert store.load(second.key) is not None
    assert store.delete(second.key)
    assert list(store.load_all()) == []


def test_a_clear_removes_all_and_may_be_repeated(store: ArtifactStore) -> None:
    store.clear()
    store.store(new_library(FIRST))
    store.clear()
    store.clear()
    assert list(store.load_all()) == []
    assert len(store.store(new_library(FIRST))) == 1


def test_a_directory_store_writes_nothing_before_it_stores(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    assert list(store.find(FIRST.code_hash)) == []
    store.clear()
    with pytest.raises(StoreError):
        store.load_all()
    assert not (tmp_path / "store").exists()


def test_a_temporary_store_leaves_nothing_and_believes_no_changed_byte() -> None:
    store = RuntimeArtifactStore()
    (artifact,) = store.store(new_library(FIRST))
    path = Path(artifact.library.subject)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(LoadError) as caught:
        artifact.library.load(LibraryMapping.COPY)
    assert caught.value.reference == "hash_mismatch"
    path.unlink()
    with pytest.raises(LoadError) as caught:
        artifact.library.load(LibraryMapping.COPY)
    assert caught.value.reference == "object_missing"
    folder = path.parent
    assert folder.stat().st_mode & 0o077 == 0
    del store
    gc.collect()
    assert not folder.exists()
