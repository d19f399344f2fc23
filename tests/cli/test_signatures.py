"""Who signed an import: what is noted, told, and left out where a signature is required."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evmaot.evm.keccak import keccak256
from evmaot.runtime import open_runtime
from evmaot.store.codes import StoredCode, pack_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import Profile
from evmaot.store.manifest import PackManifest
from tests.cli.conftest import ADDING_CODE, Cli
from tests.cli.exports import Parts, changed, packs_of

OTHER = StoredCode(b"\x00", ("osaka",), "other")


def test_what_was_taken_unsigned_is_noted_and_left_out_where_signatures_are_required(
    cli: Cli, signed: Path, other: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signed.with_name("packs.tar.minisig").rename("kept.minisig")
    assert cli("--store", other, "import", "--allow-unsigned", signed).code == 0

    def trust(*more: str) -> tuple[int, list[str]]:
        result = cli("--store", other, "verify", "--level", "trust", "--json", *more)
        return result.code, [problem["code"] for problem in result.document["problems"]]

    assert trust() == (0, ["unsigned"]), "a note: it was allowed"
    assert cli("--store", other, "run", "0x" + ADDING_CODE, "--json").document["data"]["programs"]["stored"] == 1
    monkeypatch.setenv("EVMAOT_REQUIRE_SIGNED", "true")
    assert trust() == (5, ["unsigned"])
    assert "1 pack without a trusted signature" in cli("--store", other, "verify", "--level", "trust").err
    assert cli("--store", other, "run", "0x" + ADDING_CODE, "--json").document["data"]["programs"]["stored"] == 0
    assert open_runtime(other, require_signed=True).statistics().skipped == {"unsigned": 1}
    assert open_runtime(other).statistics().skipped == {}
    Path("adding.hex").write_text(ADDING_CODE)
    for asked in ("adding.hex", "0x" + keccak256(bytes.fromhex(ADDING_CODE)).hex()):
        found = cli("--store", other, "explain", asked, "--fork", "osaka", "--json").document["data"]["lookup"]
        assert found["reason"] == "unsigned"
    listed = cli("--store", other, "ls").err
    assert "[unsigned]" in listed
    assert "evmaot verify --level trust" in listed
    assert cli("--store", other, "preload", "--json").document["data"]["skipped"][0]["reason"] == "unsigned"

    signature.rename("packs.tar.minisig")
    result = cli("--store", other, "import", "--key", "ci.key.pub", signed, "--json")
    assert len(result.document["data"]["new"]) == 1, "its signature is what is new"
    assert trust() == (0, [])
    assert open_runtime(other, require_signed=True).statistics().skipped == {}
    name = next((other / "v1").rglob("packs/*.json")).stem
    shown = cli("--store", other, "show", name, "--json").document["data"]["packs"][0]["origin"]
    assert shown["signed_by"] == result.document["data"]["signed_by"]
    assert f"signed by: {shown['signed_by']}" in " ".join(cli("--store", other, "show", name).out.split())
    assert cli("--store", other, "import", "--allow-unsigned", signed).code == 0
    assert trust() == (0, []), "an unsigned copy takes nothing away"

    assert cli("keygen", "new.key").code == 0
    monkeypatch.setenv("EVMAOT_TRUSTED_KEYS", Path("new.key.pub").read_text().splitlines()[1])
    assert trust() == (5, ["untrusted_key"]), "the key was taken back"


def test_a_build_does_not_take_what_is_unsigned_for_its_own(
    cli: Cli, signed: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed.with_name("packs.tar.minisig").unlink()
    assert cli("--store", other, "import", "--allow-unsigned", signed).code == 0
    monkeypatch.setenv("EVMAOT_REQUIRE_SIGNED", "true")
    before = packs_of(other)
    Path("adding.hex").write_text(ADDING_CODE)
    for status, number in (("compiled", 1), ("cached", 1)):
        data = cli("--store", other, "build", "adding.hex", "--fork", "osaka", "--json").document["data"]
        assert data["counts"][status] == number
    assert cli("--store", other, "run", "0x" + ADDING_CODE, "--json").document["data"]["programs"]["stored"] == 1
    assert before.keys() <= packs_of(other).keys(), "nothing is lost"


def test_who_signed_is_not_believed_of_a_strangers_manifest(cli: Cli, signed: Path, other: Path) -> None:
    def claim(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
        public = Path("ci.key.pub").read_text().splitlines()[1]
        return profile, replace(manifest, origin=replace(manifest.origin, signed_by=public)), library, codes

    signed.write_bytes(changed(signed, claim))
    signed.with_name("packs.tar.minisig").unlink()
    assert cli("--store", other, "import", "--allow-unsigned", signed).code == 0
    assert open_runtime(other, require_signed=True).statistics().skipped == {"unsigned": 1}
    assert cli("--store", other, "export", "again.tar").code == 0
    assert b"signed_by" not in Path("again.tar").read_bytes()


@pytest.mark.parametrize("lies", [False, True], ids=["right", "with a wrong code hash"])
def test_an_unsigned_import_takes_nothing_from_what_was_built_here(
    cli: Cli, signed: Path, real_store: Path, monkeypatch: pytest.MonkeyPatch, lies: bool
) -> None:
    """It brings back what was deleted of the very same library, where the bytecode here proves what it says."""
    signed.with_name("packs.tar.minisig").unlink()

    def bare(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
        first = manifest.members[0]
        first = first._replace(code_hash="ab" * 32) if lies else first
        # Bytecode of another code alone: the export proves nothing.
        return profile, replace(manifest, members=(first, *manifest.members[1:])), library, pack_codes([OTHER])

    monkeypatch.setenv("EVMAOT_REQUIRE_SIGNED", "true")
    signed.write_bytes(changed(signed, bare))
    gone = next(iter(ArtifactDirectory.open(real_store).index())).key
    ArtifactDirectory.open(real_store).remove_members([gone])
    result = cli("import", "--allow-unsigned", signed, "--json")
    keys = {entry.key for entry in ArtifactDirectory.open(real_store).index()}
    assert (result.code, gone in keys, len(keys)) == ((4, False, 1) if lies else (0, True, 2))
    assert open_runtime(real_store, require_signed=True).statistics().skipped == {}
    assert cli("verify", "--level", "rebuild").code == 0


@pytest.mark.parametrize("is_whole", [True, False], ids=["all", "a part"])
@pytest.mark.parametrize("kind", ["lie", "unproved", "proved"])
def test_a_signature_covers_only_what_it_signed(
    cli: Cli, signed: Path, real_store: Path, other: Path, key: Path, kind: str, is_whole: bool
) -> None:
    """What an unsigned import had said of the same library before does not become signed with it, but for what
    bytecode proves.
    """

    def bare(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
        first = manifest.members[0]
        first = first._replace(code_hash="ab" * 32) if kind == "lie" else first
        codes = codes if kind == "proved" else pack_codes([OTHER])
        return profile, replace(manifest, members=(first, *manifest.members[1:])), library, codes

    Path("unsigned.tar").write_bytes(changed(signed, bare))
    assert cli("--store", other, "import", "--allow-unsigned", "unsigned.tar").code == 0
    right = {entry.key: entry.member.code_hash for entry in ArtifactDirectory.open(real_store).index()}
    first = next(iter(right))
    if not is_whole:
        ArtifactDirectory.open(real_store).remove_members([first])
    assert cli("export", "part.tar", "--sign", key).code == 0
    assert cli("--store", other, "import", "--key", "ci.key.pub", "part.tar").code == 0
    found = {e.key: e.member.code_hash for e in ArtifactDirectory.open(other, require_signed=True).index()}
    if not is_whole and kind != "proved":
        del right[first]
    assert found == right
