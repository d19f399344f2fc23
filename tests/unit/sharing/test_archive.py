"""The file of an export: one spelling, and nothing else is read."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable

import pytest
import zstandard

from evmaot.errors import CorruptionError, UsageError
from evmaot.sharing import archive, contents
from evmaot.sharing.archive import ArchiveReader, write_archive
from evmaot.sharing.contents import (
    Contents,
    ExportedFile,
    ExportedPack,
    contents_document,
    parse_contents,
)
from evmaot.store.keys import canonical_json

BODIES: dict[str, bytes] = {}


def file(name: str, data: bytes) -> ExportedFile:
    BODIES[name] = data
    return ExportedFile(name, hashlib.sha256(data).hexdigest(), len(data))


LIBRARY = b"library" * 300
SHA256 = hashlib.sha256(LIBRARY).hexdigest()
PID = "0123456789abcdef"
PROFILE = file(f"v1/profiles/{PID}/profile.json", b"{}")
PACK = ExportedPack(
    SHA256,
    PROFILE,
    file(f"v1/profiles/{PID}/packs/{SHA256}.json", b"manifest"),
    file(f"v1/objects/{SHA256[:2]}/{SHA256}.so", LIBRARY),
    file(f"v1/codes/{SHA256[:2]}/{SHA256}.codes", b"codes"),
)
CONTENTS = Contents((PROFILE,), (PACK,))


def written(zstd: bool = False) -> bytes:
    stream = io.BytesIO()
    write_archive(stream, CONTENTS, lambda item: BODIES[item.name], zstd=zstd)
    return stream.getvalue()


def read(data: bytes, limit_bytes: int = 1 << 30) -> dict[str, bytes]:
    return {item.name: body for item, body in ArchiveReader(io.BytesIO(data), limit_bytes=limit_bytes).files()}


@pytest.mark.parametrize("zstd", [False, True])
def test_what_was_written_is_read_and_writing_again_gives_the_same_bytes(zstd: bool) -> None:
    assert read(written(zstd)) == BODIES
    assert written(zstd) == written(zstd)


def test_other_programs_read_the_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(written())) as tar:
        assert tar.getnames() == ["index.json", *(item.name for item in CONTENTS.files)]
        assert {(entry.mtime, entry.uid, entry.mode, entry.type) for entry in tar} == {(0, 0, 0o644, tarfile.REGTYPE)}


ZSTD_TAILS: dict[str, Callable[[], bytes]] = {
    "another frame": lambda: written(zstd=True),
    "an empty frame": lambda: zstandard.ZstdCompressor().compress(b""),
    "a frame to skip": lambda: bytes.fromhex("502a4d1804000000") + b"note",
    "a byte": lambda: b"x",
}


@pytest.mark.parametrize("tail", ZSTD_TAILS)
def test_nothing_hides_behind_the_compressed_data(tail: str) -> None:
    """A decompressor stops at the end of its frame: what follows was read by other tools alone."""
    with pytest.raises(CorruptionError) as caught:
        read(written(zstd=True) + ZSTD_TAILS[tail]())
    assert caught.value.reference == "export_damaged"
    assert "something follows" in str(caught.value.cause)


def test_every_cut_of_compressed_data_is_damage() -> None:
    data = written(zstd=True)
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            read(data[:length])


def test_data_in_very_many_blocks_is_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MAX_BLOCKS", 1)
    blocks = bytes.fromhex("28b52ffd2000") + 3 * bytes.fromhex("000000") + bytes.fromhex("010000")
    with pytest.raises(CorruptionError):
        read(blocks)


def test_a_list_has_so_many_files_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written()
    monkeypatch.setattr(contents, "MAX_FILES", len(CONTENTS.files) - 1)
    with pytest.raises(CorruptionError) as caught:
        read(data)
    assert "at most 3" in str(caught.value.cause)
    with pytest.raises(UsageError) as refused:
        written()
    assert (refused.value.reference, "--repack" in str(refused.value.hint)) == ("export_too_large", True)


def test_every_cut_is_damage() -> None:
    data = written()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        with pytest.raises(CorruptionError) as caught:
            read(data[:length])
        assert (caught.value.reference, caught.value.exit_code) == ("export_damaged", 4)


def test_every_flipped_byte_is_damage() -> None:
    data = written()
    for at in range(0, len(data), 13):
        changed = bytearray(data)
        changed[at] ^= 0x20
        with pytest.raises(CorruptionError):
            read(bytes(changed))


def test_a_cut_or_changed_zstd_is_damage() -> None:
    data = written(zstd=True)
    for length in range(4, len(data), 31):
        with pytest.raises(CorruptionError):
            read(data[:length])
    for at in range(4, len(data), 31):
        changed = bytearray(data)
        changed[at] ^= 0x20
        with pytest.raises(CorruptionError):
            read(bytes(changed))


def test_nothing_may_follow_the_last_file() -> None:
    with pytest.raises(CorruptionError, match="not a usable export") as caught:
        read(written() + b"\0")
    assert caught.value.cause == "something follows the last file"


def forged(change: Callable[[tarfile.TarInfo], None], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """The export with another header for its library, written by Python's tarfile."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        rows = [
            ("index.json", contents_document(CONTENTS)),
            *((item.name, BODIES[item.name]) for item in CONTENTS.files),
        ]
        for name, data in rows:
            information = tarfile.TarInfo(name)
            information.size = len(data)
            if name == PACK.library.name:
                change(information)
            tar.addfile(information, io.BytesIO(data) if information.isreg() else None)
    return stream.getvalue()


def _typed(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(information: tarfile.TarInfo) -> None:
        information.type, information.linkname, information.size = kind, "/etc/passwd", 0

    return change


def _named(name: str) -> Callable[[tarfile.TarInfo], None]:
    return lambda information: setattr(information, "name", name)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_typed(tarfile.SYMTYPE), "a symbolic link"),
        (_typed(tarfile.LNKTYPE), "a link"),
        (_typed(tarfile.CHRTYPE), "a device"),
        (_typed(tarfile.FIFOTYPE), "a pipe"),
        (_typed(tarfile.DIRTYPE), "a directory"),
        (_named("/etc/passwd"), "'/etc/passwd'"),
        (_named("../../escape"), "'../../escape'"),
        (_named(PACK.manifest.name), PACK.manifest.name),
        (lambda information: setattr(information, "mode", 0o4755), PACK.library.name),
        (lambda information: setattr(information, "uname", "root"), PACK.library.name),
    ],
)
def test_a_member_that_is_not_as_it_would_be_written_is_refused(
    change: Callable[[tarfile.TarInfo], None], cause: str
) -> None:
    with pytest.raises(CorruptionError) as caught:
        read(forged(change))
    assert caught.value.cause is not None
    assert cause in caught.value.cause


def test_extended_headers_are_refused() -> None:
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with pytest.raises(CorruptionError):
            read(forged(_named("x" * 300), kind))


def _listed(*files: ExportedFile) -> bytes:
    rows = [{"name": item.name, "sha256": item.sha256, "size": item.size} for item in files]
    return canonical_json({"schema": "evmaot.export/1", "files": rows})


def renamed(name: str) -> bytes:
    return _listed(PROFILE, PACK.manifest, ExportedFile(name, SHA256, len(LIBRARY)))


HOSTILE_LISTS = {
    "absolute": renamed(f"/v1/objects/{SHA256[:2]}/{SHA256}.so"),
    "upwards": renamed(f"v1/objects/../{SHA256}.so"),
    "other shard": renamed(f"v1/objects/{'00' if SHA256[:2] != '00' else '01'}/{SHA256}.so"),
    "other name": renamed("locks/store.lock"),
    "new line": renamed(f"v1/objects/{SHA256[:2]}/{SHA256}.so\n"),
    "twice": _listed(PROFILE, PROFILE, *PACK.files),
    "pack twice": _listed(PROFILE, *PACK.files, *PACK.files),
    "no profile": _listed(*PACK.files),
    "no library": _listed(PROFILE, PACK.manifest),
    "library first": _listed(PROFILE, PACK.library, PACK.manifest),
    "no pack": _listed(PROFILE),
    "huge": _listed(PROFILE, PACK.manifest, ExportedFile(PACK.library.name, SHA256, 1 << 40)),
    "negative": _listed(PROFILE, PACK.manifest, ExportedFile(PACK.library.name, SHA256, -1)),
    "wrong hash": _listed(PROFILE, PACK.manifest, ExportedFile(PACK.library.name, "0" * 64, 5)),
    "empty": b"{}",
    "not json": b"{",
    "deep": b"[" * 1000,
    "other schema": canonical_json({"schema": "evmaot.pack/1", "files": []}),
    "no files": canonical_json({"schema": "evmaot.export/1"}),
    "rows": canonical_json({"schema": "evmaot.export/1", "files": [1, None]}),
    "true": canonical_json(
        {"schema": "evmaot.export/1", "files": [{"name": PROFILE.name, "sha256": PROFILE.sha256, "size": True}]}
    ),
}


@pytest.mark.parametrize("name", HOSTILE_LISTS)
def test_hostile_lists_are_refused(name: str) -> None:
    with pytest.raises(CorruptionError) as caught:
        parse_contents(HOSTILE_LISTS[name])
    assert caught.value.reference == "export_damaged"


def test_a_newer_list_says_so() -> None:
    with pytest.raises(CorruptionError) as caught:
        parse_contents(canonical_json({"schema": "evmaot.export/2", "files": []}))
    assert caught.value.reference == "format_newer"


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse_contents(contents_document(CONTENTS)) == CONTENTS


def test_more_than_was_allowed_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(UsageError) as caught:
        ArchiveReader(io.BytesIO(written()), limit_bytes=100)
    assert caught.value.reference == "export_too_large"


def test_no_more_of_a_zstd_is_unpacked_than_its_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(written()[:-1024] + bytes(1 << 28))
    taken: list[int] = []
    some = ArchiveReader._some

    def counted(self: ArchiveReader, size_bytes: int) -> bytes:
        taken.append(size_bytes)
        return some(self, size_bytes)

    monkeypatch.setattr(archive.ArchiveReader, "_some", counted)
    with pytest.raises(CorruptionError):
        read(bomb)
    assert sum(taken) <= len(written()) + 1
