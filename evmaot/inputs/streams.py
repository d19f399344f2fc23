"""Bytes of an input: decompressed, never more than the limits.

Job: a buffered stream over a file, a pipe or standard input, with xz and gzip undone.  Invariants:
nothing is read ahead beyond one buffer; whatever goes wrong below is a `ReadFailure` with the name
of a problem.  May import: inputs.source.
"""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from evmaot.inputs.source import InputLimits

BUFFER_SIZE_BYTES = 1 << 18
_READ_SIZE_BYTES = 1 << 16
XZ_MAGIC = b"\xfd7zXZ\x00"
GZIP_MAGIC = b"\x1f\x8b\x08"


class ReadFailure(Exception):
    """An input cannot be read on; becomes the problem of that name."""

    def __init__(self, code: str, message: str, cause: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause
        self.hint = hint


class _Decoder(Protocol):
    """One compressed stream."""

    unused: bytes
    """What follows the end of the stream."""
    ended: bool

    def feed(self, data: bytes, max_size_bytes: int) -> bytes:
        """Decode; with empty `data`, hand out more of what was fed before."""

    def wants_input(self) -> bool:
        """Whether nothing can be handed out without more data."""


class _Xz:
    def __init__(self, limits: InputLimits) -> None:
        self._decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=limits.decoder_memory_bytes)
        self.unused = b""
        self.ended = False

    def feed(self, data: bytes, max_size_bytes: int) -> bytes:
        result = self._decoder.decompress(data, max_size_bytes)
        self.ended = self._decoder.eof
        if self.ended:
            self.unused = self._decoder.unused_data
        return result

    def wants_input(self) -> bool:
        return self._decoder.needs_input


class _Gzip:
    def __init__(self, limits: InputLimits) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._held = b""
        self._full = False
        self.unused = b""
        self.ended = False

    def feed(self, data: bytes, max_size_bytes: int) -> bytes:
        result = self._decoder.decompress(self._held + data, max_size_bytes)
        self._held = self._decoder.unconsumed_tail
        # zlib may keep output back without keeping input back, but only if it filled the room.
        self._full = len(result) == max_size_bytes
        self.ended = self._decoder.eof
        if self.ended:
            self.unused = self._decoder.unused_data
        return result

    def wants_input(self) -> bool:
        return not self._held and not self._full


_DECODERS: tuple[tuple[bytes, Callable[[InputLimits], _Decoder]], ...] = ((XZ_MAGIC, _Xz), (GZIP_MAGIC, _Gzip))


class _Plain(io.RawIOBase):
    """The input itself; fills every request, so that one look ahead sees a whole buffer."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def read_some(self, size_bytes: int) -> bytes:
        """At least one byte, or none at the end.  ReadFailure("unreadable")."""
        try:
            data = self._source.read(size_bytes)
        except OSError as error:
            raise ReadFailure("unreadable", "cannot be read", error.strerror or str(error)) from None
        except ValueError as error:  # a closed stream
            raise ReadFailure("unreadable", "cannot be read", str(error)) from None
        if data is None:  # not the end: more may come
            raise ReadFailure("unreadable", "cannot be read", "the stream is in non-blocking mode")
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # no other buffer comes here
        """Fill the buffer as far as the input reaches."""
        filled = 0
        while filled < len(buffer):
            data = self.read_some(len(buffer) - filled)
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled


class _Decompressed(_Plain):
    """The decoded bytes of a compressed input, which may be several streams in a row."""

    def __init__(
        self, source: BinaryIO, make: Callable[[InputLimits], _Decoder], magic: bytes, limits: InputLimits
    ) -> None:
        super().__init__(source)
        self._make = make
        self._magic = magic
        self._limits = limits
        self._decoder = make(limits)
        self._pending = b""
        """Read, but not yet fed."""
        self._done = False
        self._produced = 0

    def read_some(self, size_bytes: int) -> bytes:
        """At least one decoded byte, or none at the end.  ReadFailure."""
        while not self._done:
            result = self._decode(size_bytes)
            if self._decoder.ended:
                self._start_next()
            if result:
                self._produced += len(result)
                if self._produced > self._limits.decompressed_size_bytes:
                    limit = self._limits.decompressed_size_bytes
                    raise ReadFailure("too_large", f"more than {limit} bytes when decompressed")
                return result
        return b""

    def _decode(self, size_bytes: int) -> bytes:
        data = b""
        if self._decoder.wants_input():
            data = self._pending or super().read_some(_READ_SIZE_BYTES)
            self._pending = b""
            if not data:
                raise ReadFailure("bad_compression", "the compressed data ends too early")
        try:
            return self._decoder.feed(data, size_bytes)
        except (lzma.LZMAError, zlib.error, MemoryError) as error:
            raise ReadFailure("bad_compression", "the compressed data cannot be decoded", str(error)) from None

    def _start_next(self) -> None:
        """Go on behind the end of a stream: padding with zeros, then another stream or the end."""
        data = self._decoder.unused.lstrip(b"\0")
        while len(data) < len(self._magic):
            more = super().read_some(_READ_SIZE_BYTES)
            if not more:
                break
            data = (data + more).lstrip(b"\0")
        if not data:
            self._done = True
        elif data.startswith(self._magic):
            self._decoder = self._make(self._limits)
            self._pending = data
        else:
            raise ReadFailure("bad_compression", "something else follows the compressed data")


def open_stream(source: BinaryIO, limits: InputLimits, *, decompress: bool = True) -> io.BufferedReader:
    """A buffered stream over the source, decompressed by its magic number.

    The source stays the caller's to close.  Reading raises ReadFailure.
    """
    # The buffers of the caller's object are of no use here: our own look-ahead needs whole ones.
    plain: io.BufferedReader = io.BufferedReader(_Plain(source), BUFFER_SIZE_BYTES)
    if decompress:
        head = plain.peek(len(XZ_MAGIC))
        for magic, make in _DECODERS:
            if head.startswith(magic):
                return io.BufferedReader(_Decompressed(plain, make, magic, limits), BUFFER_SIZE_BYTES)
    return plain


def read_at_most(stream: io.BufferedReader, limit_bytes: int) -> bytes:
    """The rest of the stream.  ReadFailure("too_large") if it is longer."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(BUFFER_SIZE_BYTES):
        size += len(piece)
        if size > limit_bytes:
            raise ReadFailure("too_large", f"more than {limit_bytes} bytes to be read as one document")
        pieces.append(piece)
    return b"".join(pieces)
