"""Damage, mismatch, swapped and foreign artifacts: refused by name, and never given to the dynamic loader."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.runtime import loading
from evmaot.runtime.image import open_library
from evmaot.runtime.preload import open_runtime
from evmaot.store.directory import ArtifactDirectory
from tests.runtime.packs import CODE, Contract, make_library, make_manifest, overwrite, profile, publish

Loaded = list[str]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """What got as far as being loaded: paths, or the word for an image."""
    seen: Loaded = []

    def watch(name: str, label: Callable[[object], str]) -> None:
        real = getattr(loading, name)

        def watched(what: object, **arguments: object) -> object:
            seen.append(label(what))
            return real(what, **arguments)

        monkeypatch.setattr(loading, name, watched)

    watch("open_library", str)
    watch("load_image", lambda _: "image")
    return seen


@pytest.fixture(params=["file", "copy"])
def mapping(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_refused(root: Path, reason: str, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    for preload in ("eager", "lazy"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="evmaot.runtime"):
            programs = open_runtime(root, preload=preload, mapping=mapping)
            assert programs.lookup(Contract().code_hash, "osaka") is None
        assert programs.statistics().skipped == {reason: 1}
        assert programs.statistics().programs_loaded == 0
        assert [record.getMessage().count(reason) for record in caplog.records] == [1], "one line of log"
    assert loaded == []


def test_a_flipped_bit_is_found_wherever_it_is(root: Path, loaded: Loaded, mapping: str) -> None:
    path = publish(root, Contract())
    data = path.read_bytes()
    for position in [*range(0, len(data), len(data) // 97), len(data) - 1]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        overwrite(path, bytes(damaged))
        programs = open_runtime(root, mapping=mapping)
        assert programs.lookup(Contract().code_hash, "osaka") is None
        assert programs.statistics().skipped == {"hash_mismatch": 1}
    assert loaded == []
    overwrite(path, data)
    assert open_runtime(root, mapping=mapping).lookup(Contract().code_hash, "osaka") is not None
    assert len(loaded) == 1


@pytest.mark.parametrize("keep", [0, 1, 64, 1000, -1])
def test_a_truncated_library(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str, keep: int
) -> None:
    path = publish(root, Contract())
    overwrite(path, path.read_bytes()[:keep])
    assert_refused(root, "size_mismatch", loaded, caplog, mapping)


def test_a_library_with_bytes_behind_it(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    path = publish(root, Contract())
    overwrite(path, path.read_bytes() + b"\0")
    assert_refused(root, "size_mismatch", loaded, caplog, mapping)


def test_a_missing_library(root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    publish(root, Contract()).unlink()
    assert_refused(root, "object_missing", loaded, caplog, mapping)


def test_a_library_swapped_for_another_published_one(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    path = publish(root, Contract(answer=1))
    other = make_library((Contract(answer=2),), bytes.fromhex(profile().digest))
    assert len(other) == path.stat().st_size, "only the hash can tell"
    overwrite(path, other)
    assert_refused(root, "hash_mismatch", loaded, caplog, mapping)


def test_a_link_in_the_place_of_a_library(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str, tmp_path: Path
) -> None:
    path = publish(root, Contract())
    target = tmp_path / "elsewhere.so"
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)
    assert_refused(root, "store_untrusted", loaded, caplog, mapping)


def test_a_pipe_in_the_place_of_a_library(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    path = publish(root, Contract())
    path.unlink()
    os.mkfifo(path)
    assert_refused(root, "store_untrusted", loaded, caplog, mapping)


def test_a_library_that_others_may_write(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    path = publish(root, Contract())
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o022)
    assert_refused(root, "store_untrusted", loaded, caplog, mapping)


@pytest.mark.parametrize("how", ["writable by others", "a symbolic link"])
def test_a_library_in_an_untrusted_directory(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str, how: str
) -> None:
    """Who can write there can swap the library after it was hashed."""
    directory = publish(root, Contract()).parent
    if how == "a symbolic link":
        elsewhere = directory.rename(root.parent / "elsewhere")
        directory.symlink_to(elsewhere)
    else:
        directory.chmod(0o777)
    assert_refused(root, "store_untrusted", loaded, caplog, mapping)


def test_a_foreign_abi(root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    publish(root, Contract(), of=profile(abi="ab" * 32))
    assert_refused(root, "abi_mismatch", loaded, caplog, mapping)


def test_a_foreign_cpu_feature(root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    publish(root, Contract(), of=profile(features=("avx9000",)))
    assert_refused(root, "isa_missing:avx9000", loaded, caplog, mapping)


def test_a_foreign_architecture(root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    publish(root, Contract(), of=profile(triple="riscv64-unknown-linux-gnu"))
    assert_refused(root, "architecture:riscv64", loaded, caplog, mapping)


def test_a_foreign_abi_stands_before_damage(
    root: Path, loaded: Loaded, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    overwrite(publish(root, Contract(), of=profile(abi="ab" * 32, features=("avx9000",))), b"")
    assert_refused(root, "abi_mismatch", loaded, caplog, mapping)


def _published_as(root: Path, library: bytes) -> None:
    """Under a manifest that is right about bytes and members, a library that says something else of itself."""
    publish(root, Contract(), library=library)


def test_a_library_of_another_profile(root: Path, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    _published_as(root, make_library((Contract(),), b"\x77" * 32))
    _assert_table_mismatch(root, caplog, mapping, "of the profile 7777")


def test_a_library_without_the_manifests_member(root: Path, caplog: pytest.LogCaptureFixture, mapping: str) -> None:
    _published_as(root, make_library((Contract(code=b"\x00"),), bytes.fromhex(profile().digest)))
    _assert_table_mismatch(root, caplog, mapping, "no entry for the code")


def test_a_library_for_other_rules_than_the_manifests(
    root: Path, caplog: pytest.LogCaptureFixture, mapping: str
) -> None:
    _published_as(root, make_library((Contract(fork="paris"),), bytes.fromhex(profile().digest)))
    _assert_table_mismatch(root, caplog, mapping, "no entry for the code")


def _assert_table_mismatch(root: Path, caplog: pytest.LogCaptureFixture, mapping: str, words: str) -> None:
    with caplog.at_level(logging.WARNING, logger="evmaot.runtime"):
        programs = open_runtime(root, mapping=mapping)
    assert programs.lookup(Contract().code_hash, "osaka") is None
    assert programs.statistics().skipped == {"table_mismatch": 1}
    assert words in caplog.text


def test_an_abi_that_only_the_library_knows(root: Path, mapping: str) -> None:
    of = profile()
    _published_as(root, make_library((Contract(),), bytes.fromhex(of.digest), "cd" * 32))
    programs = open_runtime(root, mapping=mapping)
    assert programs.lookup(Contract().code_hash, "osaka") is None
    assert programs.statistics().skipped == {"abi_mismatch": 1}


def test_a_library_that_breaks_the_elf_rules_is_not_mapped(root: Path, mapping: str) -> None:
    """Published by a store that did not look: hashes are right, the file is no library of ours."""
    of = profile()
    data = b"\x7fELF" + bytes(4096)
    store = ArtifactDirectory.open(root, create=True, library_rules=lambda _: None)
    store.publish(data, make_manifest(data, [Contract()], of), of)
    programs = open_runtime(root, mapping=mapping)
    assert programs.lookup(Contract().code_hash, "osaka") is None
    (reason,) = programs.statistics().skipped
    assert reason.startswith("elf_rule:")


def test_a_library_replaced_between_hash_and_load(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(root, Contract(answer=1))

    def replaced(what: Path) -> object:
        overwrite(path, make_library((Contract(answer=2),), bytes.fromhex(profile().digest)))
        return open_library(what)

    monkeypatch.setattr("evmaot.runtime.loading.open_library", replaced)
    programs = open_runtime(root)
    assert programs.lookup(Contract().code_hash, "osaka") is None
    assert programs.statistics().skipped == {"hash_mismatch": 1}


def test_a_file_system_that_forbids_execution(root: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(root, Contract())
    real = os.fstatvfs

    class NoExec:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: NoExec() if real(descriptor) else None)
    programs = open_runtime(root)
    assert programs.statistics().skipped == {"noexec_mount": 1}
    assert loaded == []
    # A copy needs no executable mapping of the file.
    assert open_runtime(root, mapping="copy").lookup(Contract().code_hash, "osaka") is not None


def test_damaged_manifests_are_reasons_and_cost_only_themselves(root: Path) -> None:
    publish(root, Contract())
    publish(root, Contract(code=CODE + b"\x00"))
    store = ArtifactDirectory.open(root)
    packs = store.packs()
    packs[0].manifest_path.chmod(0o644)
    packs[0].manifest_path.write_bytes(b"{}")
    programs = open_runtime(root)
    assert programs.statistics().programs_loaded == 1
    assert sum(programs.statistics().skipped.values()) == 1
    (reason,) = programs.statistics().skipped
    assert reason.startswith("manifest_")


def test_a_manifest_of_a_newer_format_is_left_alone(root: Path) -> None:
    publish(root, Contract())
    (pack,) = ArtifactDirectory.open(root).packs()
    data = pack.manifest_path.read_bytes()
    pack.manifest_path.chmod(0o644)
    pack.manifest_path.write_bytes(data.replace(b"evmaot.pack/1", b"evmaot.pack/2"))
    programs = open_runtime(root)
    assert programs.statistics().skipped == {"format_newer": 1}
    assert programs.lookup(Contract().code_hash, "osaka") is None


@pytest.mark.parametrize("error", [MemoryError(), OSError("of the system"), ZeroDivisionError()])
def test_what_nobody_expected_costs_one_library(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, mapping: str
) -> None:
    first, second = publish(root, Contract()), publish(root, Contract(code=b"\x00", mnemonics=("STOP",)))

    def failing(what: object, **arguments: object) -> object:
        path = str(arguments.get("subject", what))
        if path == str(first):
            raise error
        return real(what, **arguments)

    name = "open_library" if mapping == "file" else "load_image"
    real = getattr(loading, name)
    monkeypatch.setattr(loading, name, failing)
    assert second != first
    programs = open_runtime(root, mapping=mapping)
    assert (programs.statistics().libraries_loaded, len(programs.statistics().skipped)) == (1, 1)
    assert programs.lookup(Contract().code_hash, "osaka") is None
