"""A store whose files are changed at random: named findings, no exception, and nothing that is loaded."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from evmaot.errors import EvmaotError
from evmaot.runtime.loading import load_pack
from evmaot.runtime.preloading import LibraryMapping
from evmaot.store.collection import Limits, collect
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import Pack
from evmaot.store.manifest import to_json
from evmaot.store.publication import NewPack
from tests.support.scale import scaled
from tests.support.store_samples import errors, open_store, pack

ROUNDS = scaled(150)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    from evmaot.store.codes import StoredCode

    store = open_store(tmp_path / "base")
    store.publish_batch([NewPack(*pack("a b"), codes=(StoredCode(b"\x00", ("osaka",), "a"),))])
    store.pin("p", [entry.key for entry in store.index()])
    collect(store, Limits())
    return tmp_path / "base"


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)


def put(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Cut off, flipped, doubled, or with a piece of something else in it."""
    kind = chance.randrange(4)
    at = chance.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        return data + data[:at]
    return data[:at] + chance.choice((b"../../x", b"/etc/passwd", b"\x00", b"1e999", b"[" * 2000, b"\xff")) + data[at:]


def use(root: Path) -> None:
    """Everything that reads a store; only failures with a name are allowed."""
    try:
        store = open_store(root, create=False)
        store.index()
        store.verify("elf")
        collect(store, Limits(), dry_run=True)
    except EvmaotError as error:
        assert error.reference
        assert error.message


def test_whatever_is_changed_has_a_name(base: Path) -> None:
    chance = random.Random(5)
    names = [path.relative_to(base) for path in files(base)]
    assert len(names) >= 7, "manifest, profile, codes, pin, record, STORE, tag and library"
    originals = {name: (base / name).read_bytes() for name in names}
    for _ in range(ROUNDS):
        name = chance.choice(names)
        put(base / name, damaged(chance, originals[name]))
        use(base)
        put(base / name, originals[name])
    assert errors(open_store(base).verify("hash")) == []


def test_every_document_cut_off_has_a_name(base: Path) -> None:
    """At some 40 places each; the manifest at every byte is in the unit tests."""
    for path in files(base):
        if path.suffix == ".so":
            continue
        original = path.read_bytes()
        for length in range(0, len(original), 1 + len(original) // 40):
            put(path, original[:length])
            use(base)
        put(path, original)


ELSEWHERE = ("link", "directory", "pipe", "socket name")


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_stands_in_the_place_of_a_file_is_not_followed(base: Path, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for relative in [path.relative_to(base) for path in files(base)]:
        root = tmp_path / "copy"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base, root)
        path = root / relative
        path.unlink()
        if kind == "link":
            path.symlink_to(secret)
        elif kind == "directory":
            path.mkdir()
        else:
            os.mkfifo(path)
        use(root)
        assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("name", ["../../../escape", "/etc/passwd", "a/../../b", "..", "."])
def test_no_document_leads_out_of_the_store(base: Path, name: str) -> None:
    """Names are digests and nothing else; what a document calls a name is never a path."""
    store = open_store(base)
    (found,) = store.packs()
    text = to_json(found.manifest).decode()
    olds = [found.manifest.object.sha256, found.manifest.profile]
    # The soname is for the loader's list of names; with a slash it would be a path there.
    olds += [found.manifest.object.soname] if "/" in name else []
    for old in olds:
        put(found.manifest_path, text.replace(old, name).encode())
        use(base)
        (refusal,) = open_store(base).index().refusals
        assert refusal.code in ("manifest_field", "manifest_mismatch")
        assert not open_store(base).packs()


@pytest.mark.parametrize("mapping", list(LibraryMapping))
def test_a_changed_library_never_reaches_the_loader(
    base: Path, mapping: LibraryMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def never(*arguments: object, **options: object) -> None:
        calls.append(arguments)

    monkeypatch.setattr("evmaot.runtime.loading.open_library", never)
    monkeypatch.setattr("evmaot.runtime.loading.load_image", never)
    store: ArtifactDirectory = open_store(base)
    (found,) = store.packs()
    original = found.object_path.read_bytes()
    chance = random.Random(6)
    for _ in range(ROUNDS):
        data = damaged(chance, original)
        put(found.object_path, data)
        require_refused(store, found, mapping)
    assert calls == []


def require_refused(store: ArtifactDirectory, found: Pack, mapping: LibraryMapping) -> None:
    with pytest.raises(EvmaotError) as caught:
        load_pack(store.files, found, mapping)
    assert caught.value.reference in ("size_mismatch", "hash_mismatch")
