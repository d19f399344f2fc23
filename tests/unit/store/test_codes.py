"""The bytecode of packs: written with them, gone with them, and never a reason to fail."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from evmaot.errors import CorruptionError
from evmaot.store import codes
from evmaot.store.codes import StoredCode, pack_codes, read_codes, unpack_codes
from evmaot.store.publication import NewPack
from evmaot.store.removal import Selector
from tests.support.store_samples import open_store, pack

CODES = (StoredCode(b"\x60\x01\x00", ("london", "paris"), "a"), StoredCode(b"\x00", ("osaka",), "b\x1b"))


def test_codes_are_read_as_they_were_written() -> None:
    assert unpack_codes(pack_codes(CODES)) == (CODES[0], StoredCode(b"\x00", ("osaka",), "b?"))


def test_codes_come_and_go_with_their_pack(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    library, manifest, profile = pack("a b")
    store.publish_batch([NewPack(library, manifest, profile, codes=CODES)])
    found = read_codes(store.files, manifest.object.sha256)
    assert found is not None
    assert found[0] == CODES[0]
    assert store.verify("hash") == []
    store.clear(Selector(everything=True))
    assert not list(store.paths.codes.rglob("*.codes"))


def test_damaged_codes_are_none(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    library, manifest, profile = pack("a b")
    store.publish_batch([NewPack(library, manifest, profile, codes=CODES)])
    path = store.paths.pack_codes(manifest.object.sha256)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at])
        assert read_codes(store.files, manifest.object.sha256) is None
    path.write_bytes(data + b"x")
    assert read_codes(store.files, manifest.object.sha256) is None


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"schema":"evmaot.codes/2","codes":[]}',
        b'{"schema":"evmaot.codes/1","codes":[]}',
        b'{"schema":"evmaot.codes/1","codes":[1]}',
        b'{"schema":"evmaot.codes/1","codes":[{"code":"xx","forks":["osaka"],"label":""}]}',
        b'{"schema":"evmaot.codes/1","codes":[{"code":"00","forks":[],"label":""}]}',
        b'{"schema":"evmaot.codes/1","codes":[{"code":"00","forks":[1],"label":""}]}',
    ],
)
def test_other_documents_are_no_codes(text: bytes) -> None:
    with pytest.raises(CorruptionError):
        unpack_codes(zlib.compress(text))


def test_codes_unpack_to_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(CorruptionError):
        unpack_codes(zlib.compress(bytes(100_000)))
