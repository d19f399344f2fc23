"""The file of an export: a tar, perhaps compressed with zstd, whose every byte follows from its contents.

Job: write one, and read one from a stranger.  First comes `index.json`, then the files that it lists, in its order.
Invariants: reading accepts what writing makes and nothing else: a header is compared with the one that would have been
written, so links, devices, other names, modes and extensions of tar have no way in; nothing is written to disk by
reading; no more is unpacked than the list says, and that is bounded before.  May import: `evmaot.errors`,
`evmaot.sharing.contents`; `zstandard` (extra `evmaot[zstd]`), when it is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from evmaot.errors import UsageError
from evmaot.sharing.contents import (
    CONTENTS_NAME,
    MAX_CONTENTS_BYTES,
    Contents,
    ExportedFile,
    contents_document,
    damaged,
    parse_contents,
)

BLOCK_BYTES: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * BLOCK_BYTES)
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_LEVEL: Final = 10
_MAX_WINDOW_BYTES: Final = 1 << 27
_READ_BYTES: Final = 1 << 20
_LONGEST_FRAME_HEADER_BYTES: Final = 18
_BLOCK_HEADER_BYTES: Final = 3
_CHECKSUM_BYTES: Final = 4
_REPEATED_BYTE: Final = 1
"""Type of a block that is one byte, however long what it stands for."""
_MAX_BLOCKS: Final = 1 << 20
"""128 KiB each: 128 GiB."""
_WRONG_TYPES: Final = {
    tarfile.LNKTYPE: "a link", tarfile.SYMTYPE: "a symbolic link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.DIRTYPE: "a directory",
}  # fmt: skip


def _header(name: str, size_bytes: int) -> bytes:
    information = tarfile.TarInfo(name)
    information.size = size_bytes
    return information.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % BLOCK_BYTES)


def write_archive(stream: BinaryIO, contents: Contents, read: Callable[[ExportedFile], bytes], *, zstd: bool) -> None:
    """Write an export; `read` answers the bytes of a file.  Raises UsageError ``extra_missing``, OSError."""
    with _compressed(stream) if zstd else contextlib.nullcontext(stream) as target:
        document = contents_document(contents)
        _write_member(target, CONTENTS_NAME, document)
        for file in contents.files:
            _write_member(target, file.name, read(file))
        target.write(_END)


def _write_member(target: BinaryIO, name: str, data: bytes) -> None:
    target.write(_header(name, len(data)))
    target.write(data)
    target.write(_padding(len(data)))


def _compressed(stream: BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    try:
        import zstandard
    except ImportError as error:
        raise _no_zstd(error) from error
    # Threads would make the bytes depend on the number of processors.
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    return compressor.stream_writer(stream, closefd=False)


def _no_zstd(error: ImportError) -> UsageError:
    return UsageError(
        "extra_missing",
        "zstd needs the extra evmaot[zstd]",
        cause=str(error),
        hint="python -m pip install 'evmaot[zstd]', or use a name that does not end in .zst",
    )


class ArchiveReader:
    """An export that is read once, from its beginning to its end.

    `limit_bytes` bounds what its files may have together.  Every method raises CorruptionError ``export_damaged``.
    """

    def __init__(self, stream: BinaryIO, *, limit_bytes: int) -> None:
        self._stream = _unpacked(stream)
        self._subject = CONTENTS_NAME
        size_bytes = self._size_of_first()
        self.contents = parse_contents(self._body(size_bytes))
        if self.contents.size_bytes > limit_bytes:
            raise UsageError(
                "export_too_large",
                f"the export's files have {self.contents.size_bytes} bytes, at most {limit_bytes} are allowed",
                hint="--max-size allows more",
            )

    def files(self) -> Iterator[tuple[ExportedFile, bytes]]:
        """Each file with its bytes, whose SHA-256 was checked; at the end, that nothing follows."""
        for file in self.contents.files:
            self._subject = file.name
            found, wanted = self._read(BLOCK_BYTES), _header(file.name, file.size)
            if found != wanted:
                raise damaged(f"{_what_is_wrong(found)} where {file.name} should be", file.name)
            data = self._body(file.size)
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise damaged("its SHA-256 is not the one in the list", file.name)
            yield file, data
        self._subject = "the end"
        if self._read(len(_END)) != _END or self._some(1):
            raise damaged("something follows the last file", self._subject)

    def _size_of_first(self) -> int:
        header = self._read(BLOCK_BYTES)
        try:
            size_bytes = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
        except (tarfile.HeaderError, ValueError) as error:
            raise damaged(f"it is no tar: {error}", self._subject) from error
        if not 0 <= size_bytes <= MAX_CONTENTS_BYTES or header != _header(CONTENTS_NAME, size_bytes):
            raise damaged(f"{_what_is_wrong(header)} where {CONTENTS_NAME} should be", self._subject)
        return size_bytes

    def _body(self, size_bytes: int) -> bytes:
        data = self._read(size_bytes)
        if self._read(-size_bytes % BLOCK_BYTES).strip(b"\0"):
            raise damaged("there is something between its files", self._subject)
        return data

    def _read(self, size_bytes: int) -> bytes:
        pieces = []
        while size_bytes:
            piece = self._some(min(size_bytes, _READ_BYTES))
            if not piece:
                raise damaged("it is cut off", self._subject)
            pieces.append(piece)
            size_bytes -= len(piece)
        return b"".join(pieces)

    def _some(self, size_bytes: int) -> bytes:
        try:
            return self._stream.read(size_bytes)
        except OSError:
            raise
        except Exception as error:  # zstandard's own error, which has no name until it is imported
            raise damaged(f"zstd: {error}", self._subject) from error


def _what_is_wrong(header: bytes) -> str:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
    except (tarfile.HeaderError, ValueError):
        return "there is no header of tar"
    kind = _WRONG_TYPES.get(found.type)
    return f"there is {kind}" if kind else f"there is {ascii(found.name)[:120]} with {found.size} bytes"


def _unpacked(stream: BinaryIO) -> BinaryIO:
    magic = stream.read(len(_ZSTD_MAGIC))
    stream.seek(0)
    if magic != _ZSTD_MAGIC:
        return stream
    try:
        import zstandard
    except ImportError as error:
        raise _no_zstd(error) from error
    _require_one_frame(stream, zstandard)
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    reader: BinaryIO = unpacker.stream_reader(stream, read_size=_READ_BYTES, closefd=False)
    return reader


def _require_one_frame(stream: BinaryIO, zstandard: Any) -> None:
    """A reader stops at the end of a frame: what follows it would be seen by other tools, and not by this one.

    The frame's blocks are walked through by their headers (RFC 8878, section 3.1.1), and nothing is unpacked.
    """
    start = stream.read(_LONGEST_FRAME_HEADER_BYTES)
    try:
        end = zstandard.frame_header_size(start)
        has_checksum = zstandard.get_frame_parameters(start).has_checksum
    except zstandard.ZstdError as error:
        raise damaged(f"zstd: {error}", CONTENTS_NAME) from error
    for _ in range(_MAX_BLOCKS):
        stream.seek(end)
        data = stream.read(_BLOCK_HEADER_BYTES)
        if len(data) < _BLOCK_HEADER_BYTES:
            raise damaged("it is cut off", CONTENTS_NAME)
        header = int.from_bytes(data, "little")
        is_last, kind, size_bytes = header & 1, header >> 1 & 3, header >> 3
        end += _BLOCK_HEADER_BYTES + (1 if kind == _REPEATED_BYTE else size_bytes)
        if is_last:
            break
    else:
        raise damaged("it is cut into too many blocks", CONTENTS_NAME)
    end += _CHECKSUM_BYTES if has_checksum else 0
    size_bytes = stream.seek(0, os.SEEK_END)
    if size_bytes != end:
        raise damaged("it is cut off" if size_bytes < end else "something follows the compressed data", CONTENTS_NAME)
    stream.seek(0)
