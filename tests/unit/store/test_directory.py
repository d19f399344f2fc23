"""Opening and creating a store: what is refused, and that reading writes nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.errors import CorruptionError, EvmaotError, StoreError, TrustError, UsageError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.paths import PROFILE_ID, StorePaths
from evmaot.store.system import System
from tests.support.store_samples import errors, labels, open_store, pack, profile, tree


def refusal(path: Path, **options: object) -> EvmaotError:
    with pytest.raises(EvmaotError) as caught:
        ArtifactDirectory.open(path, **options)  # type: ignore[arg-type]  # options of several types
    return caught.value


def test_a_new_store_has_the_documented_tree(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "store"
    open_store(root)
    assert {str(path.relative_to(root)) for path in root.rglob("*")} == {
        "CACHEDIR.TAG", "STORE", "locks", "v1", "v1/profiles", "v1/objects", "v1/negative", "v1/tmp",
        "v1/quarantine", "v1/pins", "v1/codes",
    }  # fmt: skip
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert (root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    document = json.loads((root / "STORE").read_bytes())
    assert document["schema"] == "evmaot.store/1"
    assert document["writer_min"] == document["reader_min"] == 1
    assert len(document["id"]) == 32


def test_a_store_keeps_its_identity(tmp_path: Path) -> None:
    assert open_store(tmp_path / "s").document == open_store(tmp_path / "s").document
    assert open_store(tmp_path / "s").document.id != open_store(tmp_path / "t").document.id


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    root = tmp_path / "s"
    (root / "locks").mkdir(parents=True)
    (root / "locks").chmod(0o700)
    root.chmod(0o700)
    open_store(root)
    assert open_store(root).verify("hash") == []


def test_a_store_that_is_being_made_is_not_there_yet(tmp_path: Path) -> None:
    """A reader that came in the middle once said that it was no store."""
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    assert refusal(root).reference == "store_missing"
    open_store(root)
    (root / "STORE").unlink()
    assert refusal(root).reference == "store_missing"
    open_store(root).publish(*pack("a"))
    (root / "STORE").unlink()
    assert refusal(root).reference == "not_a_store", "it has lost something"


def test_a_removed_part_is_made_again_by_a_builder(tmp_path: Path) -> None:
    open_store(tmp_path / "s")
    (tmp_path / "s/v1/tmp").rmdir()
    open_store(tmp_path / "s").publish(*pack("a"))


def test_a_directory_with_other_files_is_not_made_into_a_store(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    tmp_path.chmod(0o700)
    assert refusal(tmp_path, create=True).reference == "not_a_store"
    assert os.listdir(tmp_path) == ["letter.txt"]


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").reference == "store_missing"
    assert refusal(tmp_path / "none", read_only=True).reference == "store_missing"
    assert isinstance(refusal(tmp_path / "none", create=True, read_only=True), UsageError)
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / "file").reference == "store_untrusted"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o702])
@pytest.mark.parametrize("part", [".", "v1", "v1/objects", "v1/profiles", "v1/tmp", "locks"])
def test_a_part_that_others_can_write_to_is_refused(tmp_path: Path, part: str, mode: int) -> None:
    store = open_store(tmp_path / "s")
    (store.paths.root / part).chmod(mode)
    error = refusal(store.paths.root)
    assert isinstance(error, TrustError)
    assert error.reference == "store_untrusted"
    assert error.exit_code == 77
    assert error.cause and error.hint


@pytest.mark.parametrize("part", ["v1", "v1/objects", "locks", "v1/profiles"])
def test_a_part_that_is_a_symbolic_link_is_refused(tmp_path: Path, part: str) -> None:
    store = open_store(tmp_path / "s")
    place = store.paths.root / part
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert refusal(store.paths.root).reference == "store_untrusted"
    assert refusal(store.paths.root, create=True).reference == "store_untrusted"


def test_the_store_itself_may_be_named_by_a_symbolic_link(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.publish(*pack("a"))
    (tmp_path / "link").symlink_to(tmp_path / "s")
    assert labels(open_store(tmp_path / "link")) == ["a"]


class Stranger(System):
    """Another user looks at the store."""

    def user_id(self) -> int:
        return os.geteuid() + 4242


@pytest.mark.skipif(os.geteuid() == 0, reason="files of root are trusted by everybody")
def test_a_store_of_another_user_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "s")
    assert refusal(tmp_path / "s", system=Stranger()).reference == "store_untrusted"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_of_another_user_is_refused_and_one_of_root_is_not(tmp_path: Path) -> None:
    open_store(tmp_path / "s")
    ArtifactDirectory.open(tmp_path / "s", system=Stranger())
    os.chown(tmp_path / "s/v1/objects", 4243, 4243)
    assert refusal(tmp_path / "s").reference == "store_untrusted"


@pytest.mark.parametrize(
    ("content", "reference"),
    [
        (b"", "store_damaged"),
        (b"[]", "store_damaged"),
        (b'{"schema":"x"}', "store_damaged"),
        (b'{"schema":"evmaot.store/1","id":1,"created":"","writer_min":1,"reader_min":1}', "store_damaged"),
        (b'{"schema":"evmaot.store/1","id":"1","created":"","writer_min":2,"reader_min":2}', "format_newer"),
        (b"x" * 70_000, "file_too_large"),
    ],
)
def test_the_document_is_judged(tmp_path: Path, content: bytes, reference: str) -> None:
    open_store(tmp_path / "s")
    (tmp_path / "s/STORE").write_bytes(content)
    error = refusal(tmp_path / "s")
    assert error.reference == reference
    assert isinstance(error, StoreError)
    if reference == "store_damaged":
        assert isinstance(error, CorruptionError)


def test_a_store_for_newer_writers_can_be_read(tmp_path: Path) -> None:
    open_store(tmp_path / "s").publish(*pack("a"))
    document = json.loads((tmp_path / "s/STORE").read_bytes()) | {"writer_min": 2}
    (tmp_path / "s/STORE").write_text(json.dumps(document))
    store = open_store(tmp_path / "s", create=False)
    assert labels(store) == ["a"]
    assert not store.may_write
    with pytest.raises(StoreError) as caught:
        store.publish(*pack("b"))
    assert caught.value.reference == "format_newer"


def test_reading_writes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.publish(*pack("a b"))
    (tmp_path / "s/locks/store.lock").unlink()
    (tmp_path / "s/v1/profiles/0123456789abcdef").mkdir(mode=0o700)
    before = tree(tmp_path / "s")
    reader = open_store(tmp_path / "s", create=False, read_only=True)
    with reader.shared_lock():
        assert labels(reader) == ["a", "b"]
        assert errors(reader.verify("hash")) == []
        reader.failure(profile(), "0" * 64)
    for write in (
        lambda: reader.publish(*pack("c")),
        lambda: reader.remove_members([]),
        lambda: reader.sweep(),
        lambda: reader.retire([]),
        lambda: reader.unit_locks(),
        lambda: reader.forget_failure(profile(), "0" * 64),
        lambda: reader.quarantine(reader.packs()[0]),
    ):
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.reference == "store_read_only"
    assert tree(tmp_path / "s") == before


def test_paths_are_made_of_checked_parts_only() -> None:
    paths = StorePaths(Path("/s"))
    for bad in ("..", "/etc", "A" * 64, "a" * 65, "", "a/../b"):
        for make in (paths.object, paths.profile, lambda name: paths.manifest("0" * 16, name)):
            with pytest.raises(AssertionError):
                make(bad)
    assert PROFILE_ID.fullmatch(profile().short)


def test_the_import_is_light() -> None:
    """The runtime loads the store's reader: in a fresh process, nothing heavy comes with it."""
    script = "import sys, evmaot.store.directory; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "evmaot.store.directory" in loaded
    heavy = {"llvmlite", "click", "rich", "jsonschema", "multiprocessing", "subprocess", "ctypes", "asyncio"}
    assert loaded.isdisjoint(
        heavy | {"evmaot.codegen", "evmaot.store.elf_rules", "evmaot.store.removal", "evmaot.store.publication"}
    )
