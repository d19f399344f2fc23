"""Where an import reads from."""

from __future__ import annotations

from pathlib import Path

from evmaot.sharing.source import private_copy


def test_what_is_read_stays_what_it_was_when_its_signature_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "packs.tar"
    path.write_bytes(b"signed")
    with private_copy(path, tmp_path) as stream:
        path.write_bytes(b"forged")
        assert stream.read() == b"signed"
