"""The levels that run code, and repair, on a real store: libraries of the real compiler, damaged one way each."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot import repair as repairing
from evmaot import verify as verifying
from evmaot.build import BuildRequest, build
from evmaot.build_packs import Publisher
from evmaot.cli.verbs.verify import LEVEL_NAMES, exit_code
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import CompileError, UsageError
from evmaot.evm.forks import forks_selected
from evmaot.inputs.source import ContractSource
from evmaot.repair import repair
from evmaot.store import verification
from evmaot.store.codes import read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Finding, Severity
from evmaot.store.keys import profile_document
from evmaot.store.manifest import to_json
from evmaot.store.publication import NewPack
from evmaot.verify import LEVELS, verify
from tests.support.store_samples import errors, open_store, pack, profile, tree

CODES = ("600160020160005260206000f3", "5f5ff3", "00")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "store"
    sources = [ContractSource(bytes.fromhex(code), f"code {number}", "test") for number, code in enumerate(CODES)]
    request = BuildRequest(sources, forks_selected("london..osaka"), CompileOptions(Tier.FAST))
    assert not build(request, ArtifactDirectory.open(path, create=True)).is_partial
    return path


@pytest.fixture
def store(built: Path, tmp_path: Path) -> ArtifactDirectory:
    shutil.copytree(built, tmp_path / "store")
    return ArtifactDirectory.open(tmp_path / "store", lock_timeout_seconds=0.0)


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444 if path.suffix == ".so" else 0o600)


def library(store: ArtifactDirectory) -> Path:
    return store.packs()[0].object_path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))


@pytest.mark.parametrize("level", [name for name in LEVELS if name != "exec"])
def test_a_sound_store_passes(store: ArtifactDirectory, level: str) -> None:
    before = tree(store.paths.root)
    assert verify(store, level) == []
    assert tree(store.paths.root) == before


def test_the_command_knows_the_levels() -> None:
    assert tuple(LEVELS) == LEVEL_NAMES
    assert set(verification.LEVELS) < set(LEVELS)


def test_an_unknown_level_is_refused(store: ArtifactDirectory) -> None:
    with pytest.raises(UsageError):
        verify(store, "deep")


@pytest.mark.parametrize("level", ["load", "rebuild"])
def test_what_is_damaged_is_neither_loaded_nor_compared(
    store: ArtifactDirectory, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(library(store))

    def never(*arguments: object) -> list[Finding]:
        raise AssertionError("given to a level that it must not reach")

    monkeypatch.setattr(verifying, f"check_{level}", never)
    assert [finding.code for finding in verify(store, level)] == ["hash_mismatch"]


def test_a_library_that_breaks_a_rule_is_found_though_its_hash_is_right(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.publish(*pack("a"))
    assert store.verify("hash") == []
    assert [finding.code.partition(":")[0] for finding in store.verify("elf")] == ["elf_rule"]


def foreign(store: ArtifactDirectory, *, library_too: bool = True, **changes: Any) -> None:
    """The same code under a profile of another compiler, machine or processor; in its library's table too."""
    found = store.packs()[0]
    old, other = found.profile.profile, replace(found.profile.profile, **changes)
    data, codes = found.object_path.read_bytes(), read_codes(store.files, found.manifest.object.sha256)
    if library_too:
        for before, after in ((old.digest, other.digest), (old.abi, other.abi)):
            assert data.count(bytes.fromhex(before)) == 1
            data = data.replace(bytes.fromhex(before), bytes.fromhex(after))
    record = replace(found.manifest.object, sha256=hashlib.sha256(data).hexdigest())
    manifest = replace(found.manifest, profile=other.digest, object=record)
    for path in (found.manifest_path, found.object_path, store.paths.pack_codes(found.manifest.object.sha256)):
        path.unlink()
    store.publish_batch([NewPack(data, manifest, other, codes=codes or ())])


@pytest.mark.parametrize(
    ("changes", "level", "code"),
    [
        ({"abi": "0" * 64}, "load", "abi_mismatch"),
        ({"features": ("sse9",), "cpu": "x86-64-v9"}, "load", "isa_missing:sse9"),
        ({"compiler": "0" * 64}, "rebuild", "profile_other"),
    ],
)
def test_what_cannot_be_judged_here_is_unchecked_and_not_good(
    store: ArtifactDirectory, changes: dict[str, Any], level: str, code: str
) -> None:
    foreign(store, **changes)
    findings = verify(store, level)
    assert [(finding.code, finding.severity) for finding in findings] == [(code, Severity.UNCHECKED)]
    assert exit_code(findings) == 6


def test_a_library_of_another_profile_is_found_when_it_is_loaded(store: ArtifactDirectory) -> None:
    foreign(store, library_too=False, tier="optimised")
    assert [finding.code for finding in verify(store, "load")] == ["table_mismatch"]


def test_without_its_bytecode_a_pack_cannot_be_compared(store: ArtifactDirectory) -> None:
    store.paths.pack_codes(store.packs()[0].manifest.object.sha256).unlink()
    assert [finding.code for finding in verify(store, "rebuild")] == ["codes_missing"]


def test_a_pack_that_the_compiler_would_not_make_is_found(
    store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5, and the alarm that guards it."""
    from evmaot.build_packs import link_pack as honest

    monkeypatch.setattr("evmaot.rebuild.link_pack", lambda *rest: (honest(*rest)[0] + b"x", *honest(*rest)[1:]))
    assert [finding.code for finding in verify(store, "rebuild")] == ["rebuild_mismatch"]


def test_a_sample_looks_at_some_libraries(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    for name in "abcdef":
        store.publish(*pack(name))
    for found in store.packs():
        flip(found.object_path)
    assert len(errors(verify(store, "hash"))) == 6
    assert len(errors(verify(store, "hash", sample=2))) == 2


def test_others_who_could_change_the_store_are_found(tmp_path: Path) -> None:
    store = open_store(tmp_path / "open" / "s")
    (tmp_path / "open").chmod(0o777)
    (store.paths.locks / "build.lock").touch()
    (store.paths.locks / "build.lock").chmod(0o666)
    (store.paths.v1 / "escape").symlink_to("/etc/passwd")
    findings = store.verify("trust")
    assert sorted((finding.code, finding.subject) for finding in findings) == [
        ("parent_untrusted", str(tmp_path / "open")),
        ("store_untrusted", "locks/build.lock"),
        ("store_untrusted", "v1/escape"),
    ]
    assert exit_code(findings) == 5
    (tmp_path / "open").chmod(0o1777)
    assert len(store.verify("trust")) == 2, "in a sticky directory nobody can replace what is mine"


def test_the_gravest_finding_decides_the_exit_code() -> None:
    found = {
        kind: Finding(code, "x", "m", severity)
        for kind, code, severity in (
            ("damage", "hash_mismatch", Severity.ERROR),
            ("trust", "store_untrusted", Severity.ERROR),
            ("unchecked", "profile_other", Severity.UNCHECKED),
            ("note", "leftover", Severity.NOTE),
        )
    }
    assert exit_code([]) == exit_code([found["note"]]) == 0
    assert exit_code([found["unchecked"], found["note"]]) == 6
    assert exit_code([found["unchecked"], found["trust"]]) == 5
    assert exit_code([found["trust"], found["damage"], found["unchecked"]]) == 4


# Repair.


def damage_library(store: ArtifactDirectory) -> None:
    flip(library(store))


def remove_library(store: ArtifactDirectory) -> None:
    library(store).unlink()


def truncate_library(store: ArtifactDirectory) -> None:
    rewrite(library(store), library(store).read_bytes()[:1000])


def open_library(store: ArtifactDirectory) -> None:
    library(store).chmod(0o644)


def damage_manifest(store: ArtifactDirectory) -> None:
    rewrite(store.packs()[0].manifest_path, b"{")


def damage_profile(store: ArtifactDirectory) -> None:
    rewrite(store.paths.profile_document(store.packs()[0].profile.short), b"{}")


DAMAGE: dict[str, tuple[Callable[[ArtifactDirectory], None], str]] = {
    "a bit": (damage_library, "recompiled"),
    "gone": (remove_library, "recompiled"),
    "cut off": (truncate_library, "recompiled"),
    "writable": (open_library, "made_read_only"),
    "manifest": (damage_manifest, "recompiled"),
    "profile": (damage_profile, "rewritten"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_damaged_is_made_as_it_was(store: ArtifactDirectory, how: str) -> None:
    act, action = DAMAGE[how]
    before, data = {entry.key for entry in store.index()}, library(store).read_bytes()
    act(store)
    findings = verify(store, "hash")
    assert len(errors(findings)) == 1
    assert [item.action for item in repair(store, findings)] == [action]
    assert verify(store, "load") == []
    assert {entry.key for entry in store.index()} == before
    assert library(store).read_bytes() == data
    if how in ("a bit", "cut off"):
        (kept,) = store.paths.quarantine.rglob("*.so")
        assert kept.read_bytes() != data, "what was damaged can be looked at"


def test_deleted_members_stay_deleted(store: ArtifactDirectory) -> None:
    gone = next(iter(store.index())).key
    store.remove_members([gone])
    damage_library(store)
    repair(store, verify(store, "hash"))
    assert gone not in {entry.key for entry in store.index()}
    assert len(store.index()) == 3
    assert verify(store, "load") == []


def test_what_another_compiler_made_is_replaced_by_what_this_one_makes(
    store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = read_codes(store.files, store.packs()[0].manifest.object.sha256)
    assert codes is not None
    foreign(store, compiler="0" * 64)
    damage_library(store)
    held: list[int] = []
    move = ArtifactDirectory.quarantine_files

    def watched(self: ArtifactDirectory, object_sha256: str, paths: Sequence[Path]) -> list[Path]:
        held.append(len(self.index()))
        return move(self, object_sha256, paths)

    monkeypatch.setattr(ArtifactDirectory, "quarantine_files", watched)
    (done,) = repair(store, verify(store, "hash"))
    assert done.action == "replaced"
    assert held == [8], "the replacement was there before what is damaged was moved"
    assert verify(store, "rebuild") == []
    assert len(store.index()) == 4


def test_what_cannot_be_compiled_again_is_moved_aside(store: ArtifactDirectory) -> None:
    store.paths.pack_codes(store.packs()[0].manifest.object.sha256).unlink()
    damage_library(store)
    (done,) = repair(store, verify(store, "hash"))
    assert (done.action, len(store.index())) == ("quarantined", 0)
    assert verify(store, "hash") == []
    assert {path.suffix for path in store.paths.quarantine.rglob("*") if path.is_file()} == {".so", ".json"}


def test_damaged_bytecode_is_said_before_it_is_needed(store: ArtifactDirectory) -> None:
    path = store.paths.pack_codes(store.packs()[0].manifest.object.sha256)
    rewrite(path, path.read_bytes()[:-9])
    assert verify(store, "meta") == []
    (finding,) = verify(store, "hash")
    assert (finding.code, finding.severity) == ("codes_damaged", Severity.NOTE)
    assert finding.subject == store.files.subject(path)


@pytest.mark.parametrize("damaged", ["library", "manifest"])
def test_what_cannot_be_compiled_now_keeps_its_bytecode_in_quarantine(
    store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    """Without a manifest the collector would take it within the day."""
    (damage_library if damaged == "library" else damage_manifest)(store)

    def out_of_memory(*arguments: object, **options: object) -> None:
        raise CompileError("compile_memory", "too little memory")

    monkeypatch.setattr(repairing, "rebuild", out_of_memory)
    assert [item.action for item in repair(store, verify(store, "hash"))] == ["quarantined"]
    kept = {path.suffix for path in store.paths.quarantine.rglob("*") if path.is_file()}
    assert kept == {".so", ".json", ".codes"}
    assert verify(store, "hash") == []


def test_what_does_not_load_after_a_repair_is_said(store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(store, compiler="0" * 64)
    damage_library(store)
    monkeypatch.setattr(Publisher, "publish", lambda self, ready: ([], list(ready)))
    (done,) = repair(store, verify(store, "hash"))
    assert (done.action, len(store.index())) == ("quarantined", 0)
    assert done.message == "compiled again, 4 of its artifacts would not link or load"


def test_owners_and_modes_are_left_to_a_person(store: ArtifactDirectory) -> None:
    path = library(store)
    path.chmod(0o666)
    before = tree(store.paths.root)
    (done,) = repair(store, verify(store, "trust"))
    assert done.action == "left"
    assert tree(store.paths.root) == before


def test_a_repair_that_fails_half_way_has_lost_nothing(
    store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replacement is published before anything is moved."""
    damage_library(store)
    findings = verify(store, "hash")

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(repairing, "rebuild", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(store, findings)
    assert len(store.index()) == 4
    assert [item.action for item in repair(store, findings)] == ["recompiled"]


def test_a_stale_profile_document_is_left(store: ArtifactDirectory) -> None:
    other = profile("two")
    os.makedirs(store.paths.packs(other.short))
    (store.paths.packs(other.short) / ("0" * 64 + ".json")).write_text("{}")
    rewrite_to = store.paths.profile_document(other.short)
    rewrite_to.write_bytes(profile_document(profile("three")))
    assert [item.action for item in repair(store, verify(store, "meta"))] == ["left"]


# Members: what a manifest says beside what its bytecode, the fork tables and the library say.


def tamper(store: ArtifactDirectory, at: int = 1, **changes: Any) -> None:
    """A manifest in its right form that says something wrong of one member."""
    found = store.packs()[0]
    rows = list(found.manifest.members)
    rows[at] = rows[at]._replace(**changes)
    rewrite(found.manifest_path, to_json(replace(found.manifest, members=tuple(rows))))


TAMPERED: dict[str, tuple[dict[str, Any], str, str]] = {
    "code_hash": ({"code_hash": "ab" * 32}, "hash", "member_mismatch"),
    "length": ({"length": 7}, "hash", "member_mismatch"),
    "opcodes": ({"opcodes": f"{1 << 0x60:064x}"}, "hash", "member_mismatch"),
    "rules": ({"rules": "cd" * 32}, "hash", "member_mismatch"),
    "forks": ({"forks": ("frontier", "nosuch")}, "hash", "member_mismatch"),
    "holes": ({"holes": ((0, 1),)}, "hash", "member_mismatch"),
    "code_sha256": ({"code_sha256": "ef" * 32}, "elf", "table_mismatch"),
    "symbol": ({"symbol": "other"}, "rebuild", "member_mismatch"),
}


@pytest.mark.parametrize("field", TAMPERED)
def test_a_member_that_is_not_what_was_compiled_is_found_and_made_right(store: ArtifactDirectory, field: str) -> None:
    changes, level, code = TAMPERED[field]
    before = store.packs()[0].manifest.members
    tamper(store, **changes)
    assert verify(store, "meta") == []
    findings = verify(store, level)
    assert [(finding.code, finding.severity) for finding in findings] == [(code, Severity.ERROR)]
    assert findings[0].subject == store.files.subject(store.packs()[0].manifest_path)
    if field != "symbol":
        deeper = verify(store, "elf")
        assert [finding.code for finding in deeper] == ["table_mismatch" if field == "rules" else code]
        assert verify(store, "load") == verify(store, "rebuild") == deeper, "nothing of it is loaded or compiled"
    (done,) = repair(store, findings)
    assert done.action in ("rewritten", "recompiled")
    assert verify(store, "rebuild") == []
    after = store.packs()[0].manifest.members
    assert [row._replace(compile_ms=0) for row in after] == [row._replace(compile_ms=0) for row in before]


def test_what_the_bytecode_proves_is_found_without_the_tools_of_its_compiler(store: ArtifactDirectory) -> None:
    foreign(store, compiler="0" * 64)
    tamper(store, code_hash="ab" * 32)
    assert [finding.code for finding in verify(store, "hash")] == ["member_mismatch"]


def test_rules_of_another_compiler_are_not_for_this_one_to_judge(store: ArtifactDirectory) -> None:
    foreign(store, compiler="0" * 64)
    tamper(store, rules="cd" * 32)
    assert verify(store, "hash") == []
    assert {finding.code for finding in verify(store, "elf")} == {"table_mismatch"}


def test_a_jit_backends_own_prices_are_no_damage(store: ArtifactDirectory) -> None:
    """Its rules are those of no fork in the table; the library has them, and the opcodes are those of the bytecode."""
    tamper(store, rules="cd" * 32)
    found = store.packs()[0]
    manifest = replace(found.manifest, origin=replace(found.manifest.origin, kind="jit"))
    rewrite(found.manifest_path, to_json(manifest))
    assert verify(store, "hash") == []
    (finding,) = verifying.check_rebuild(verifying.VerifySession(store), store.packs()[0])
    assert (finding.code, finding.severity) == ("rules_other", Severity.UNCHECKED), "its bytes are not known here"
    tamper(store, opcodes=f"{1 << 0x60:064x}")
    assert [finding.code for finding in verify(store, "hash")] == ["member_mismatch"]


def test_building_again_puts_a_wrong_member_right(store: ArtifactDirectory) -> None:
    """What was just compiled is believed, and not what lies there under the same name."""
    tamper(store, code_hash="ab" * 32)
    sources = [ContractSource(bytes.fromhex(code), f"code {number}", "test") for number, code in enumerate(CODES)]
    request = BuildRequest(sources, forks_selected("london..osaka"), CompileOptions(Tier.FAST), force=True)
    assert not build(request, store).is_partial
    assert verify(store, "rebuild") == []
    assert len(store.packs()) == 1


def test_deleted_members_stay_deleted_when_another_is_made_right(store: ArtifactDirectory) -> None:
    gone = next(iter(store.index())).key
    store.remove_members([gone])
    tamper(store, code_hash="ab" * 32)
    repair(store, verify(store, "hash"))
    assert verify(store, "rebuild") == []
    assert len(store.index()) == 3
    assert gone not in {entry.key for entry in store.index()}


def test_a_manifest_that_the_library_contradicts_goes_aside_with_it_where_nothing_proves_more(
    store: ArtifactDirectory,
) -> None:
    """Left without a manifest, the library would be swept within the day; quarantine keeps it."""
    store.paths.pack_codes(store.packs()[0].manifest.object.sha256).unlink()
    tamper(store, code_sha256="ef" * 32)
    assert [item.action for item in repair(store, verify(store, "elf"))] == ["quarantined"]
    assert {path.suffix for path in store.paths.quarantine.rglob("*") if path.is_file()} == {".so", ".json"}
    assert verify(store, "load") == []
