"""The build with the real compiler and linker: libraries that load, equal in any store, and damage that is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.build import BuildReport, BuildRequest, UnitStatus, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import StoreError
from evmaot.evm.forks import forks_selected
from evmaot.inputs.source import ContractSource
from evmaot.runtime.image import open_library
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.removal import RemovalReport, Selector
from tests.support.store_samples import errors

CODES = (
    "600160020160005260206000f3",  # 1 + 2, returned
    "5b600056",  # an endless loop
    "60003560205260003554600055",  # reads and writes storage
    "5f5ff3",  # PUSH0: another code before Shanghai
    "00",
)
SOURCES = [ContractSource(bytes.fromhex(code), f"code {number}", "test") for number, code in enumerate(CODES)]


def run(
    path: Path, *, jobs: int = 1, tier: Tier = Tier.FAST, forks: str = "london..osaka"
) -> tuple[ArtifactDirectory, BuildReport]:
    store = ArtifactDirectory.open(path, create=True)
    request = BuildRequest(SOURCES, forks_selected(forks), CompileOptions(tier), jobs=jobs, pack_size=3)
    return store, build(request, store)


def libraries(store: ArtifactDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.paths.objects.rglob("*.so")}


@pytest.mark.parametrize("tier", Tier)
def test_two_stores_get_the_same_bytes_without_any_tool_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: Tier
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    one, first = run(tmp_path / "one", jobs=1, tier=tier)
    two, second = run(tmp_path / "two", jobs=2, tier=tier)
    assert first.count(UnitStatus.COMPILED) == second.count(UnitStatus.COMPILED) == len(first.units)
    assert 5 < len(first.units) < 6 * len(CODES)
    assert first.contract_forks == 6 * len(CODES)
    assert libraries(one) == libraries(two)
    assert one.verify("hash") == []


def test_every_member_is_in_the_library_that_lists_it(tmp_path: Path) -> None:
    store, _ = run(tmp_path / "s")
    for pack in store.packs():
        library = open_library(pack.object_path)
        expected = {(bytes.fromhex(m.code_sha256), bytes.fromhex(m.rules)) for m in pack.manifest.members}
        assert set(library.entries) == expected
        assert library.profile_id.hex() == pack.manifest.profile
        library.close()


def test_a_second_build_compiles_nothing(tmp_path: Path) -> None:
    store, _ = run(tmp_path / "s")
    before = libraries(store)
    _, second = run(tmp_path / "s")
    assert second.count(UnitStatus.CACHED) == len(second.units)
    assert second.packs == []
    assert libraries(store) == before


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    store, _ = run(tmp_path / "s", forks="osaka")
    path = store.packs()[0].object_path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)
    assert [finding.code for finding in errors(store.verify("hash"))] == ["hash_mismatch"]


def test_clearing_a_fork_takes_nothing_from_another_that_a_build_found_its_artifacts_for(tmp_path: Path) -> None:
    """Build for London, build for Osaka (of equal rules: all is there), clear London: Osaka is served as before."""
    sources = SOURCES[:3]
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    for forks, status in (("london", UnitStatus.COMPILED), ("osaka", UnitStatus.CACHED)):
        report = build(BuildRequest(sources, forks_selected(forks), CompileOptions(Tier.FAST)), store)
        assert {unit.status for unit in report.units} == {status}
    before = {entry.key for entry in store.index()}
    assert {entry.member.forks for entry in store.index()} == {("london", "osaka")}
    cleared = store.clear(Selector(forks=frozenset({"london"})))
    assert (cleared.members_removed, cleared.members_kept_for_other_forks) == (0, 3)
    assert {entry.key for entry in store.index()} == before
    assert store.verify("elf") == []
    assert store.clear(Selector(forks=frozenset({"london"}))) == RemovalReport(), "it is wanted for London no more"
    assert store.clear(Selector(forks=frozenset({"osaka"}))).members_removed == 3
    assert len(store.index()) == 0


def test_a_build_with_nothing_to_note_writes_no_manifest(tmp_path: Path) -> None:
    store, _ = run(tmp_path / "s")
    before = {pack.manifest_path: pack.manifest_path.stat().st_ino for pack in store.packs()}
    run(tmp_path / "s", forks="osaka")
    assert {path: path.stat().st_ino for path in before} == before


def test_a_build_that_can_note_nothing_does_not_fail_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "s", forks="london")

    def full(*arguments: object) -> None:
        raise StoreError("store_full", "no space left")

    monkeypatch.setattr(ArtifactDirectory, "add_forks", full)
    _, report = run(tmp_path / "s", forks="london")
    assert {unit.status for unit in report.units} == {UnitStatus.CACHED}
