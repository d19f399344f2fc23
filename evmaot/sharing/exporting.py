"""Exporting: packs of a store to one file, or to a directory that a web server can serve.

Job: select, read each file through the store's own checks, write.  Invariants: what is exported was hashed while it
was read, so damage stops an export and does not travel; the same packs and selection give the same bytes; what is
written appears as a whole, and the list of a directory after everything that it lists.
May import: `evmaot.errors`, `evmaot.store`, `evmaot.sharing`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from evmaot.errors import CorruptionError, UsageError
from evmaot.sharing.archive import write_archive
from evmaot.sharing.contents import (
    CONTENTS_NAME,
    Contents,
    ExportedFile,
    ExportedPack,
    contents_document,
    sorted_contents,
)
from evmaot.store.codes import pack_codes, read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import translated
from evmaot.store.index import Entry, Pack
from evmaot.store.keys import profile_document
from evmaot.store.manifest import Member, PackManifest, to_json

SIGNATURE_SUFFIX: Final = ".minisig"
ZSTD_SUFFIX: Final = ".zst"


@dataclass(frozen=True, slots=True)
class Export:
    """What is going to be exported; the store must stay locked until it is written."""

    store: ArtifactDirectory
    contents: Contents
    artifacts: int
    documents: dict[str, bytes]
    """Files that are made for the export: manifests of the selected members, profiles, codes."""

    def read(self, file: ExportedFile) -> bytes:
        """The bytes of a file, whose SHA-256 was checked.  Raises CorruptionError ``hash_mismatch``, StoreError."""
        if file.name in self.documents:
            return self.documents[file.name]
        files = self.store.files
        data = files.read(files.paths.root / file.name, file.size)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise _damaged_library(file.name)
        return data


def plan_export(store: ArtifactDirectory, entries: Iterable[Entry], *, with_codes: bool) -> Export:
    """What the entries' packs are as an export; the caller holds the store's lock.

    Raises UsageError ``nothing_to_export``.  A pack's library travels whole; its manifest lists only what was
    selected.
    """
    chosen: dict[Path, tuple[Pack, list[Member]]] = {}
    for pack, member in entries:
        chosen.setdefault(pack.manifest_path, (pack, []))[1].append(member)
    if not chosen:
        raise UsageError("nothing_to_export", "nothing in the store matches", hint="evmaot ls shows what there is")
    documents: dict[str, bytes] = {}
    profiles: dict[str, ExportedFile] = {}
    packs = []
    root = store.paths.root

    def document(path: Path, data: bytes) -> ExportedFile:
        name = path.relative_to(root).as_posix()
        documents[name] = data
        return ExportedFile(name, hashlib.sha256(data).hexdigest(), len(data))

    for pack, members in chosen.values():
        record, short = pack.manifest.object, pack.profile.short
        if short not in profiles:
            profiles[short] = document(store.paths.profile_document(short), profile_document(pack.profile.profile))
        manifest = to_json(_as_exported(pack.manifest, members))
        library = ExportedFile(pack.object_path.relative_to(root).as_posix(), record.sha256, record.size)
        codes = document_of_codes(store, record.sha256, members) if with_codes else None
        packs.append(
            ExportedPack(
                record.sha256,
                profiles[short],
                document(store.paths.manifest(short, record.sha256), manifest),
                library,
                None if codes is None else document(store.paths.pack_codes(record.sha256), codes),
            )
        )
    artifacts = sum(len(members) for _, members in chosen.values())
    return Export(store, sorted_contents(profiles.values(), packs), artifacts, documents)


def _as_exported(manifest: PackManifest, members: Iterable[Member]) -> PackManifest:
    """Who signed it before is this store's note, and no news for who imports it."""
    return replace(manifest, members=tuple(members), origin=replace(manifest.origin, signed_by=""))


def document_of_codes(store: ArtifactDirectory, object_sha256: str, members: Iterable[Member]) -> bytes | None:
    """The bytecode of some members of a pack, None where the store does not have it."""
    wanted = {member.code_sha256 for member in members}
    codes = [code for code in read_codes(store.files, object_sha256) or () if code.sha256 in wanted]
    return pack_codes(codes) if codes else None


def write_file(export: Export, path: Path, sign: Callable[[BinaryIO], str] | None) -> int:
    """Write an export to a file, and its signature beside it; answers the file's size in bytes.  Raises OSError."""
    signature_path = path.with_name(path.name + SIGNATURE_SUFFIX)
    with _replaced(path) as stream:
        write_archive(stream, export.contents, export.read, zstd=path.name.endswith(ZSTD_SUFFIX))
        stream.flush()
        text = sign(stream) if sign is not None else None
        size_bytes = stream.seek(0, os.SEEK_END)
        # An old signature beside new bytes would be called a forgery; none is called by its name.
        signature_path.unlink(missing_ok=True)
    if text is not None:
        _write(signature_path, text.encode())
    return size_bytes


def write_directory(export: Export, directory: Path, sign: Callable[[BinaryIO], str] | None) -> int:
    """Write an export as files for a web server; answers the size of all files in bytes.  Raises OSError.

    What is there already under its SHA-256 stays; what an older list named is left, for who is just reading it.
    """
    for file in export.contents.files:
        path = directory / file.name
        if not _is_there(path, file):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, export.read(file))
    write_list(directory, export.contents, sign)
    return export.contents.size_bytes


def write_list(directory: Path, contents: Contents, sign: Callable[[BinaryIO], str] | None) -> None:
    """Write the list of a directory, after everything that it lists, and its signature.  Raises OSError."""
    index = directory / CONTENTS_NAME
    _write(index, contents_document(contents))
    signature = index.with_name(index.name + SIGNATURE_SUFFIX)
    if sign is None:
        signature.unlink(missing_ok=True)
    else:
        with open(index, "rb") as stream:
            text = sign(stream)
        _write(signature, text.encode())


def stored_contents(store: ArtifactDirectory) -> Contents | None:
    """All packs as they lie in a store, None where there is none; the caller holds the store's lock.

    Raises CorruptionError ``hash_mismatch``, StoreError.
    """
    root = store.paths.root

    def file(path: Path) -> ExportedFile:
        with translated("read the store", path):
            return ExportedFile(path.relative_to(root).as_posix(), *store.files.sha256(path))

    profiles: dict[str, ExportedFile] = {}
    packs = []
    for pack in store.packs():
        short, sha256 = pack.profile.short, pack.manifest.object.sha256
        if short not in profiles:
            profiles[short] = file(store.paths.profile_document(short))
        library, codes = file(pack.object_path), store.paths.pack_codes(sha256)
        if library.sha256 != sha256:
            raise _damaged_library(library.name)
        packs.append(
            ExportedPack(
                sha256, profiles[short], file(pack.manifest_path), library, file(codes) if codes.exists() else None
            )
        )
    return sorted_contents(profiles.values(), packs) if packs else None


def _damaged_library(name: str) -> CorruptionError:
    return CorruptionError(
        "hash_mismatch",
        "a library of the store is damaged, nothing was exported",
        context={"path": name},
        hint="evmaot verify --repair",
    )


def _is_there(path: Path, file: ExportedFile) -> bool:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read(file.size + 1)).hexdigest() == file.sha256
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    with _replaced(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end of the block, durable; everybody may read it."""
    # A link stays one: its file is replaced.
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError(errno.EISDIR, "it is there, and no regular file")
        temporary.unlink(missing_ok=True)
        # Exclusive: in a directory of many writers, a link of that name would lead elsewhere.
        created = open(temporary, "x+b")  # noqa: SIM115  # the block below closes it
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        context, cause = {"path": str(path)}, error.strerror or str(error)
        hint = "name a file in a directory that you can write to"
        raise UsageError("cannot_write", "cannot write the export", context=context, cause=cause, hint=hint) from error
    try:
        with created as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
