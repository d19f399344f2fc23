"""Repacking: many small packs become few, hollow ones are renewed, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.build import BuildRequest, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import forks_selected
from evmaot.evm.keccak import keccak256
from evmaot.inputs.source import ContractSource, Hole
from evmaot.repack import repack
from evmaot.runtime import open_runtime
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.pins import dangling, read_pin
from evmaot.verify import verify
from tests.support.assembler import asm
from tests.support.store_samples import pack, tree


def built(path: Path, numbers: range, forks: str = "osaka") -> ArtifactDirectory:
    """Each code in a pack of its own."""
    store = ArtifactDirectory.open(path, create=True)
    sources = [ContractSource(bytes((0x60, number, 0x00)), f"code {number}", "test") for number in numbers]
    request = BuildRequest(sources, forks_selected(forks), CompileOptions(Tier.FAST), pack_size=1)
    assert not build(request, store).is_partial
    return store


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("small") / "s", range(5)).paths.root


@pytest.fixture
def store(small: Path, tmp_path: Path) -> ArtifactDirectory:
    import shutil

    shutil.copytree(small, tmp_path / "s")
    return ArtifactDirectory.open(tmp_path / "s")


def test_small_packs_become_one(store: ArtifactDirectory) -> None:
    before = {entry.key: (entry.member.label, entry.member.forks) for entry in store.index()}
    pin = store.pin("all", before)
    result = repack(store, pack_size=256)
    assert (result.packs_before, result.packs_after, result.artifacts) == (5, 1, 5)
    assert len(store.packs()) == 1
    assert {entry.key: (entry.member.label, entry.member.forks) for entry in store.index()} == before
    assert dangling(pin, store.index()) == frozenset()
    assert read_pin(store.files, "all") == pin
    assert verify(store, "load") == verify(store, "rebuild") == []
    assert len(list(store.paths.objects.rglob("*.so"))) == len(list(store.paths.codes.rglob("*.codes"))) == 1
    assert repack(store, pack_size=256).packs_before == 0, "once is enough"


def test_packs_are_filled_up_to_their_size(store: ArtifactDirectory) -> None:
    assert repack(store, pack_size=2).packs_before == 4
    assert sorted(len(found.manifest.members) for found in store.packs()) == [1, 2, 2]


def test_a_library_with_more_than_its_manifest_lists_is_renewed(store: ArtifactDirectory) -> None:
    repack(store, pack_size=5)
    (full,) = store.packs()
    store.remove_members([next(iter(store.index())).key])
    result = repack(store, pack_size=5)
    assert (result.packs_before, result.packs_after, result.artifacts) == (1, 1, 4)
    (renewed,) = store.packs()
    assert renewed.manifest.object.size < full.manifest.object.size
    assert verify(store, "load") == []


def test_a_dry_run_changes_nothing(store: ArtifactDirectory) -> None:
    before = tree(store.paths.root)
    assert repack(store, pack_size=256, dry_run=True).packs_after == 1
    assert tree(store.paths.root) == before


def test_what_cannot_be_compiled_again_is_left_and_counted(store: ArtifactDirectory) -> None:
    first, second = store.packs()[:2]
    store.paths.pack_codes(first.manifest.object.sha256).unlink()
    ArtifactDirectory.open(store.paths.root, library_rules=lambda _: None).publish(*pack("other"))
    result = repack(store, pack_size=256)
    assert dict(result.left) == {"codes_missing": 1, "profile_other": 1}
    assert (result.packs_before, result.packs_after) == (4, 1)
    assert first.manifest_path.exists()
    assert not second.manifest_path.exists()
    assert len(store.index()) == 6


def test_templates_are_merged_with_the_codes_and_serve_as_before(store: ArtifactDirectory) -> None:
    def deployed(value: int) -> bytes:
        return asm(f"PUSH32={value} 0 MSTORE 32 0 RETURN")

    zeros = deployed(0)
    # Equal bytes as a code and as a template: two artifacts, in whichever pack.
    for item in (
        ContractSource(zeros, "zeros", "test"),
        ContractSource(zeros, "t", "test", (Hole(1, 32, "immutable"),)),
    ):
        assert not build(BuildRequest([item], forks_selected("osaka"), CompileOptions(Tier.FAST)), store).is_partial
    before = {entry.key: entry.member._replace(slot=0, compile_ms=0) for entry in store.index()}
    result = repack(store, pack_size=256)
    assert (result.packs_before, result.packs_after, result.artifacts, dict(result.left)) == (7, 1, 7, {})
    assert {entry.key: entry.member._replace(slot=0, compile_ms=0) for entry in store.index()} == before
    assert verify(store, "load") == verify(store, "rebuild") == []
    programs = open_runtime(store.paths.root)
    own, other = (programs.lookup(keccak256(code), "osaka", code) for code in (zeros, deployed(7)))
    assert own is not None and other is not None and own.address != other.address
