"""`evmaot export`, `import` and `keygen`: from one store to another, and what is refused on the way."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from evmaot import target
from evmaot.sharing.archive import ArchiveReader
from evmaot.sharing.importing import Importer, import_archive
from evmaot.store.codes import pack_codes, unpack_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import Profile
from evmaot.store.manifest import PackManifest
from evmaot.store.system import System
from tests.cli.conftest import ADDING_CODE, Cli
from tests.cli.exports import Change, Parts, changed, packs_of
from tests.support.store_samples import Killed, KilledSystem, QuickSystem, errors, tree


def test_what_was_exported_is_imported_and_found_there(cli: Cli, signed: Path, real_store: Path, other: Path) -> None:
    result = cli("--store", other, "import", "--key", "ci.key.pub", signed)
    assert (result.code, "imported 2 artifacts in 1 pack" in result.err) == (0, True)
    assert packs_of(other) == packs_of(real_store)
    assert cli("--store", other, "verify").code == 0
    Path("adding.hex").write_text(ADDING_CODE)
    found = cli("--store", other, "explain", "adding.hex", "--fork", "osaka", "--json").document
    assert found["data"]["lookup"]["reason"] == "loaded"
    run = cli("--store", other, "run", "0x" + ADDING_CODE, "--json").document["data"]
    assert run["programs"] == {"stored": 1, "compiled": 0}


def test_importing_again_changes_nothing(cli: Cli, signed: Path, other: Path) -> None:
    arguments = ("--store", other, "import", "--key", "ci.key.pub", signed, "--json")
    first = cli(*arguments).document["data"]
    before = tree(other)
    second = cli(*arguments).document["data"]
    assert tree(other) == before
    assert (len(first["new"]), first["known"]) == (1, [])
    assert (second["new"], second["known"]) == ([], [first["new"][0]["pack"]])


def test_the_same_packs_give_the_same_bytes(cli: Cli, signed: Path, other: Path, home: Path, key: Path) -> None:
    for name in ("a.tar", "b.tar"):
        cli("export", name, "--codes", "--sign", key)
    assert (home / "a.tar").read_bytes() == (home / "b.tar").read_bytes() == signed.read_bytes()
    for name in ("a.tar.zst", "b.tar.zst"):
        cli("export", name)
    assert (home / "a.tar.zst").read_bytes() == (home / "b.tar.zst").read_bytes()
    assert cli("--store", other, "import", "--allow-unsigned", "a.tar.zst").code == 0


def test_without_a_trusted_key_nothing_is_taken(cli: Cli, signed: Path, other: Path, home: Path) -> None:
    result = cli("--store", other, "import", signed)
    assert (result.code, "[no_trusted_key]" in result.err) == (77, True)
    cli("keygen", "stranger")
    result = cli("--store", other, "import", "--key", "stranger.pub", signed)
    assert (result.code, "[untrusted_key]" in result.err) == (5, True)
    (home / "packs.tar.minisig").unlink()
    result = cli("--store", other, "import", "--key", "ci.key.pub", signed)
    assert (result.code, "[unsigned]" in result.err) == (5, True)
    assert not packs_of(other)
    assert cli("--store", other, "import", "--allow-unsigned", signed).code == 0
    assert packs_of(other)


def test_a_changed_export_is_refused_also_where_unsigned_ones_are_allowed(cli: Cli, signed: Path, other: Path) -> None:
    data = bytearray(signed.read_bytes())
    data[9000] ^= 1
    signed.write_bytes(data)
    result = cli("--store", other, "import", "--key", "ci.key.pub", "--allow-unsigned", signed)
    assert (result.code, "[bad_signature]" in result.err) == (5, True)
    # Without a key nobody can say that it was changed; its own hashes still do.
    result = cli("--store", other, "import", "--allow-unsigned", signed)
    assert (result.code, "[export_damaged]" in result.err) == (4, True)
    assert not packs_of(other)


def test_keys_are_trusted_by_the_user_and_never_by_a_project(cli: Cli, signed: Path, other: Path, home: Path) -> None:
    line = f'[share]\ntrusted_keys = ["{(home / "ci.key.pub").read_text().splitlines()[1]}"]\n'
    (home / "evmaot.toml").write_text(line)
    result = cli("--store", other, "import", signed)
    assert (result.code, "[config_unsafe_key]" in result.err) == (2, True)
    (home / "evmaot.toml").unlink()
    user = home.parent / "user" / "evmaot"
    user.mkdir(parents=True)
    (user / "config.toml").write_text(line)
    assert cli("--store", other, "import", signed).code == 0
    (user / "config.toml").write_text('[share]\ntrusted_keys = ["ci.key.pub"]\n')
    result = cli("--store", other, "import", signed)
    assert (result.code, "[config_bad_value]" in result.err) == (2, True)


def test_a_secret_key_is_not_kept_in_a_store(cli: Cli, real_store: Path, key: Path) -> None:
    result = cli("keygen", real_store / "ci.key")
    assert (result.code, "[in_store]" in result.err) == (2, True)
    assert not (real_store / "ci.key").exists()
    shutil.copy2(key, real_store / "v1" / "ci.key")
    result = cli("export", "packs.tar", "--sign", real_store / "v1" / "ci.key")
    assert (result.code, "[in_store]" in result.err) == (2, True)


def test_selectors_restrict_what_is_listed(cli: Cli, real_store: Path, other: Path) -> None:
    assert cli("pin", "kept", "adding*").code == 0
    for number, selector in enumerate((["adding*"], ["--pin", "kept"], ["--fork", "paris"])):
        store = other.with_name(f"other{number}")
        assert cli("export", f"{number}.tar", *selector).code == 0
        assert cli("--store", store, "import", "--allow-unsigned", f"{number}.tar").code == 0
        rows = cli("--store", store, "ls", "--contracts", "--json").document["data"]["contracts"]
        assert [row["label"] for row in rows] == ["adding.hex"]
        assert cli("--store", store, "verify").code == 0
    result = cli("export", "none.tar", "nothing*")
    assert (result.code, "[nothing_to_export]" in result.err) == (2, True)


def test_importing_the_rest_adds_it_and_takes_nothing_away(cli: Cli, signed: Path, other: Path) -> None:
    cli("export", "part.tar", "adding*")
    for name, count in (("part.tar", 1), (str(signed), 2), ("part.tar", 2)):
        assert cli("--store", other, "import", "--allow-unsigned", name).code == 0
        assert cli("--store", other, "stats", "--json").document["data"]["artifacts"] == count


def test_importing_mends_a_damaged_library(cli: Cli, signed: Path, other: Path) -> None:
    for _ in range(2):
        assert cli("--store", other, "import", "--key", "ci.key.pub", signed).code == 0
        (library,) = (other / "v1" / "objects").rglob("*.so")
        data = bytearray(library.read_bytes())
        library.chmod(0o600)
        data[5000] ^= 1
        library.write_bytes(data)
    assert cli("--store", other, "verify").code == 4
    assert cli("--store", other, "import", "--key", "ci.key.pub", signed).code == 0
    assert cli("--store", other, "verify").code == 0


def test_damage_does_not_travel(cli: Cli, real_store: Path, home: Path) -> None:
    (library,) = (real_store / "v1" / "objects").rglob("*.so")
    library.chmod(0o600)
    library.write_bytes(b"\0" * library.stat().st_size)
    result = cli("export", "packs.tar")
    assert (result.code, "[hash_mismatch]" in result.err) == (4, True)
    assert not (home / "packs.tar").exists()


def test_a_failed_export_keeps_the_one_before(cli: Cli, signed: Path, real_store: Path, key: Path) -> None:
    before = signed.read_bytes(), signed.with_name("packs.tar.minisig").read_bytes()
    (library,) = (real_store / "v1" / "objects").rglob("*.so")
    library.chmod(0o600)
    library.write_bytes(b"\0" * library.stat().st_size)
    assert cli("export", signed, "--sign", key).code == 4
    assert (signed.read_bytes(), signed.with_name("packs.tar.minisig").read_bytes()) == before


# Packs whose parts contradict each other; whoever signs may be wrong too.


def _flipped(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    data = bytes([*library[:16], 1, *library[17:]])
    record = replace(manifest.object, sha256=hashlib.sha256(data).hexdigest())
    return profile, replace(manifest, object=record), data, codes


def _other_profile(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    other = replace(profile, tier="optimised")
    return other, replace(manifest, profile=other.digest), library, codes


def _other_machine(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    other = replace(profile, triple="aarch64-unknown-linux-gnu", cpu="generic")
    return other, replace(manifest, profile=other.digest), library, codes


def _unknown_machine(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    other = replace(profile, triple="riscv64-unknown-linux-gnu")
    return other, replace(manifest, profile=other.digest), library, codes


def _other_rules(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    members = (manifest.members[0]._replace(rules="0" * 64), *manifest.members[1:])
    return profile, replace(manifest, members=members), library, codes


def _other_hash(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    members = (manifest.members[0]._replace(code_hash="0" * 64), *manifest.members[1:])
    return profile, replace(manifest, members=members), library, codes


def _other_opcodes(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    members = (manifest.members[0]._replace(opcodes=f"{1:064x}"), *manifest.members[1:])
    return profile, replace(manifest, members=members), library, codes


def _unknown_fork(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    first = manifest.members[0]
    members = (first._replace(forks=(*first.forks, "nosuch")), *manifest.members[1:])
    return profile, replace(manifest, members=members, origin=replace(manifest.origin, kind="import")), library, codes


def _other_fork(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    members = tuple(member._replace(forks=("frontier", "osaka")) for member in manifest.members)
    return profile, replace(manifest, members=members), library, codes


def _other_size(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    return profile, replace(manifest, object=replace(manifest.object, size=5)), library, codes


def _no_codes(profile: Profile, manifest: PackManifest, library: bytes, codes: bytes) -> Parts:
    return profile, manifest, library, codes[:-1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_flipped, "elf_rule:elf_header"),
        (_other_profile, "table_mismatch"),
        (_other_machine, "elf_rule:machine"),
        (_unknown_machine, "architecture:riscv64"),
        (_other_rules, "table_mismatch"),
        (_other_hash, "code_hash_mismatch"),
        (_other_opcodes, "member_mismatch"),
        (_unknown_fork, "member_mismatch"),
        (_other_fork, "member_mismatch"),
        (_other_size, "manifest_mismatch"),
        (_no_codes, "codes_damaged"),
    ],
)
def test_a_pack_that_contradicts_itself_is_refused(
    cli: Cli, signed: Path, other: Path, change: Change, reason: str
) -> None:
    signed.write_bytes(changed(signed, change))
    signed.with_name("packs.tar.minisig").unlink()
    result = cli("--store", other, "import", "--allow-unsigned", signed, "--json")
    assert result.code == 4
    assert [item["reason"] for item in result.document["data"]["refused"]] == [reason]
    assert not packs_of(other)
    assert cli("--store", other, "verify").code == 0


def test_a_refused_pack_does_not_stop_the_others(cli: Cli, signed: Path, other: Path) -> None:
    store = ArtifactDirectory.open(other, create=True)
    importer = Importer(store, "import")
    for data in (changed(signed, _flipped), signed.read_bytes()):
        report = import_archive(importer, ArchiveReader(io.BytesIO(data), limit_bytes=1 << 30))
    assert (len(report.new), [item.reason for item in report.refused]) == (1, ["elf_rule:elf_header"])


def test_an_import_that_is_killed_at_any_call_leaves_a_sound_store(signed: Path, tmp_path: Path) -> None:
    data = signed.read_bytes()
    empty = tmp_path / "empty"
    ArtifactDirectory.open(empty, create=True)
    for at in range(1, 400):
        root = tmp_path / "killed"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(empty, root)
        try:
            store = ArtifactDirectory.open(root, system=KilledSystem(at))
            import_archive(Importer(store, "import"), ArchiveReader(io.BytesIO(data), limit_bytes=1 << 30))
        except Killed:
            store = ArtifactDirectory.open(root, system=QuickSystem())
            assert not errors(store.verify("hash")), at
            importer = Importer(store, "import")
            import_archive(importer, ArchiveReader(io.BytesIO(data), limit_bytes=1 << 30))
            assert len(store.index()) == 2, at
        else:
            break
    else:
        pytest.fail("the import never got through")
    assert at > 20


def test_bytecode_travels_where_it_is_asked_for(cli: Cli, signed: Path, other: Path, real_store: Path) -> None:
    cli("--store", other, "import", "--key", "ci.key.pub", signed)
    (path,) = (other / "v1" / "codes").rglob("*.codes")
    assert sorted(code.code.hex() for code in unpack_codes(path.read_bytes())) == sorted(
        code.code.hex()
        for there in (real_store / "v1" / "codes").rglob("*.codes")
        for code in unpack_codes(there.read_bytes())
    )
    assert path.read_bytes() == pack_codes(unpack_codes(path.read_bytes()))
    cli("export", "without.tar")
    with tarfile.open("without.tar") as tar:
        assert not [name for name in tar.getnames() if name.endswith(".codes")]


def test_documents_of_a_directory_are_those_of_a_file(cli: Cli, signed: Path, key: Path, home: Path) -> None:
    for _ in range(2):
        assert cli("export", "--directory", "--codes", "public", "--sign", key).code == 0
    with tarfile.open(signed) as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            assert stream is not None
            assert (home / "public" / entry.name).read_bytes() == stream.read()
    names = {path.relative_to(home / "public").as_posix() for path in (home / "public").rglob("*") if path.is_file()}
    listed = json.loads((home / "public" / "index.json").read_text())["files"]
    assert names == {"index.json", "index.json.minisig", *(row["name"] for row in listed)}


def test_a_file_that_is_no_export_says_so(cli: Cli, key: Path, other: Path, home: Path) -> None:
    (home / "other.tar").write_bytes(b"something else")
    result = cli("--store", other, "import", "--allow-unsigned", "other.tar")
    assert (result.code, "[export_damaged]" in result.err) == (4, True)
    result = cli("--store", other, "import", "--allow-unsigned", "missing.tar")
    assert (result.code, "[unreadable_file]" in result.err) == (2, True)


def test_a_store_that_may_not_be_written_takes_nothing(cli: Cli, signed: Path, real_store: Path) -> None:
    result = cli("--read-only", "import", "--key", "ci.key.pub", signed)
    assert (result.code, "[store_read_only]" in result.err) == (73, True)


def test_what_another_cpu_lacks_is_stored_and_told_and_the_rest_is_loaded(
    cli: Cli, home: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "adding.hex").write_text(ADDING_CODE)
    targets = ("--target", "x86_64-linux,x86_64-v3-linux", "--opt", "fast", "--fork", "osaka")
    assert cli("--store", "ci", "build", *targets, "adding.hex").code == 0
    assert cli("--store", "ci", "export", "packs.tar").code == 0
    monkeypatch.setattr(target, "host_features", lambda: frozenset({"ssse3", "sse4_1", "sse4_2"}))
    arguments = ("--store", other, "import", "--allow-unsigned", "packs.tar")
    report = cli(*arguments, "--json").document["data"]
    reasons = {pack["target"]: pack["not_loadable"] for pack in report["new"]}
    assert reasons["x86_64-linux"] is None
    assert str(reasons["x86_64-v3-linux"]).startswith("isa_missing:")
    assert cli("--store", other, "explain", "adding.hex", "--json").document["data"]["lookup"]["reason"] == "loaded"
    assert cli("--store", other, "verify").code == 0
    assert "nothing is new" in cli(*arguments).err


def test_a_key_whose_public_part_is_elsewhere_gets_no_other_one(cli: Cli, key: Path) -> None:
    public = key.with_name("ci.key.pub")
    public.unlink()
    result = cli("keygen", key)
    assert (result.code, "[key_exists]" in result.err, public.exists()) == (2, True, False)


def test_a_place_that_cannot_be_written_is_an_error_of_usage(cli: Cli, real_store: Path, home: Path) -> None:
    (home / "directory").mkdir()
    for place in ("missing/packs.tar", "directory"):
        result = cli("export", place)
        assert (result.code, "[cannot_write]" in result.err, "hint:" in result.err) == (2, True, True), result.err
    assert "[cannot_write]" in cli("keygen", "missing/key").err


def test_an_export_takes_the_place_of_no_device(cli: Cli, real_store: Path, home: Path) -> None:
    os.mkfifo(home / "pipe")
    assert cli("export", "pipe").code == 2
    assert stat.S_ISFIFO((home / "pipe").stat().st_mode)


def test_an_export_follows_no_link_that_lies_in_its_way(cli: Cli, real_store: Path, home: Path) -> None:
    (home / "mine").write_text("kept")
    (home / f".packs.tar.{os.getpid()}").symlink_to(home / "mine")
    assert cli("export", "packs.tar").code == 0
    assert (home / "mine").read_text() == "kept"


def test_a_directory_is_no_file_to_import(cli: Cli, other: Path, home: Path) -> None:
    result = cli("--store", other, "import", "--allow-unsigned", home)
    assert (result.code, "[unreadable_file]" in result.err, "evmaot pull" in result.err) == (2, True, True)


def test_a_signature_that_is_a_pipe_keeps_nobody_waiting(cli: Cli, signed: Path, other: Path) -> None:
    beside = signed.with_name("packs.tar.minisig")
    beside.unlink()
    os.mkfifo(beside)
    result = cli("--store", other, "import", "--key", "ci.key.pub", signed)
    assert result.code == 2
    assert "the signature is no regular file" in result.err


def test_an_export_only_reads(cli: Cli, real_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_system: System, path: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(System, "open_lock", refused)
    assert cli("export", "packs.tar").code == 0
