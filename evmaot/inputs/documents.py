"""A stream of bytes -> documents: JSON values, texts, or raw bytes.

Job: tell files of one document from files of one document per line, decode and parse.  Invariants:
a file by lines is never held as a whole; an unreadable line costs only itself.  May import:
inputs.{context,sniff,source,streams}, `evmaot.json_text`.

A file is read by lines if its name says so (.jsonl, .ndjson), if its first line is a whole JSON
value and another line follows, or if its first two lines begin with 0x.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from evmaot.inputs.context import Context
from evmaot.inputs.sniff import LINE_SUFFIXES, SPACE, UTF8_MARK, Sort, plain_suffix, sniff
from evmaot.inputs.source import Problem
from evmaot.inputs.streams import BUFFER_SIZE_BYTES, ReadFailure, read_at_most
from evmaot.json_text import JsonTooDeep
from evmaot.json_text import parse_json as parse_json_text

GZIP_HEX = "0x1f8b08"
"""Text that begins so is compressed data in hexadecimal digits, never a code: 0x1F is no opcode."""
_HEX_PREFIXES = (b"0x", b"0X")
_COMMENTS = (b"//", b"#")
_LOOK_LINES = 64
"""Lines that are looked at to tell a list of codes from one text."""


@dataclass(frozen=True, slots=True)
class TextDocument:
    """Text that is not JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file."""

    value: Any
    """bytes (raw), a TextDocument, or a JSON value."""
    line: int | None = None
    """From 1; None where the document is the whole file."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    data: bytes
    complete: bool
    """False: longer than the limit, only the beginning is here."""


def read_documents(
    stream: io.BufferedReader, context: Context, forced: Sort | None = None
) -> Iterator[Document | Problem]:
    """The documents of a stream.  `forced`: the sort, if the user named a format.  ReadFailure ends the file."""
    if forced == "binary":
        yield Document(_read_raw(stream, context))
        return
    head = stream.peek(BUFFER_SIZE_BYTES)
    if head.startswith(UTF8_MARK):
        stream.read(len(UTF8_MARK))
        head = head[len(UTF8_MARK) :]
    sort = forced if forced == "text" and head.strip(SPACE) else sniff(head, plain_suffix(context.path))
    if sort == "binary":
        yield Document(_read_raw(stream, context))
    elif sort == "json":
        yield from _read_json(stream, context)
    else:
        yield from _read_text(stream, context)


def parse_json(text: str) -> Any:
    """The JSON value of a text.  ReadFailure("bad_json")."""
    try:
        return parse_json_text(text)
    except JsonTooDeep:
        raise ReadFailure("bad_json", "JSON that is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError is one; plain for an integer of thousands of digits
        raise ReadFailure("bad_json", "not valid JSON", str(error)) from None


def decode_utf8(data: bytes) -> str:
    """The text.  ReadFailure("not_utf8")."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReadFailure("not_utf8", f"not UTF-8 text at byte {error.start + 1}") from None


def _read_raw(stream: io.BufferedReader, context: Context) -> bytes:
    """Raw bytecode; how much longer than the limit it is doesn't matter."""
    limit = context.limits.code_size_bytes
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise ReadFailure("code_too_long", f"more than {limit} bytes of code")
    return data


def _read_json(stream: io.BufferedReader, context: Context) -> Iterator[Document | Problem]:
    lines = _lines(stream, context)
    first = next(lines)
    if plain_suffix(context.path) in LINE_SUFFIXES:
        yield from _json_by_lines(_put_back(first, lines), context)
        return
    value, failed = None, True
    if first.complete:
        try:
            value = parse_json(decode_utf8(first.data))
            failed = False
        except ReadFailure:
            pass  # the first line of a document over several lines
    if failed:
        yield Document(_parse_whole(first.data, stream, context))
        return
    second = next(lines, None)
    if second is None:
        yield Document(value)
        return
    yield Document(value, first.number)
    del value  # a record may be large, and many follow
    yield from _json_by_lines(_put_back(second, lines), context)


def _parse_whole(head: bytes, stream: io.BufferedReader, context: Context) -> Any:
    """The JSON value of a head that was read and the rest; the bytes are gone when it is used."""
    rest = read_at_most(stream, context.limits.document_size_bytes - len(head))
    return parse_json(decode_utf8(head + rest))


def _json_by_lines(lines: Iterator[_Line], context: Context) -> Iterator[Document | Problem]:
    bad = 0
    for line in lines:
        try:
            if not line.complete:
                limit = context.limits.line_size_bytes
                raise ReadFailure("line_too_long", f"more than {limit} bytes in one line")
            value = parse_json(decode_utf8(line.data))
        except ReadFailure as failure:
            yield context.at(f"L{line.number}").problem(failure.code, failure.message, cause=failure.cause)
            bad += 1
            if bad >= context.limits.bad_lines:
                raise ReadFailure("too_many_bad_lines", f"gave up after {bad} unreadable lines") from None
            continue
        yield Document(value, line.number)


def _read_text(stream: io.BufferedReader, context: Context) -> Iterator[Document | Problem]:
    lines = _lines(stream, context, keep_blank=True)
    looked: list[_Line] = []
    codes = 0
    for line in lines:
        looked.append(line)
        codes += _is_code(line)
        if codes == 2 or not (line.complete and (_is_code(line) or _is_void(line))) or len(looked) == _LOOK_LINES:
            break
    if codes == 2:
        yield from _text_by_lines(itertools.chain(looked, lines), context)
        return
    head = b"".join(line.data for line in looked)
    text = decode_utf8(head + read_at_most(stream, context.limits.document_size_bytes - len(head))).strip()
    # What is compressed in digits is JSON inside, and belongs to the formats of JSON.
    yield Document(text if text[: len(GZIP_HEX)].lower() == GZIP_HEX else TextDocument(text))


def _text_by_lines(lines: Iterable[_Line], context: Context) -> Iterator[Document | Problem]:
    """A list of codes, one per line, each with 0x in front."""
    for line in lines:
        if _is_void(line):
            continue
        place = context.at(f"L{line.number}")
        try:
            if not line.complete:
                raise ReadFailure("line_too_long", f"more than {context.limits.line_size_bytes} bytes in one line")
            if not _is_code(line):
                raise ReadFailure("not_hex", "a line without 0x in a list of codes")
            yield Document(TextDocument(decode_utf8(line.data).strip()), line.number)
        except ReadFailure as failure:
            yield place.problem(failure.code, failure.message, cause=failure.cause)


def _is_code(line: _Line) -> bool:
    return line.data.lstrip(SPACE).startswith(_HEX_PREFIXES)


def _is_void(line: _Line) -> bool:
    """Blank or a comment."""
    content = line.data.lstrip(SPACE)
    return not content or content.startswith(_COMMENTS)


def _put_back(first: _Line, lines: Iterator[_Line]) -> Iterator[_Line]:
    yield first
    del first  # a record may be large, and many follow
    yield from lines


def _lines(stream: io.BufferedReader, context: Context, *, keep_blank: bool = False) -> Iterator[_Line]:
    """The lines of a stream; of one beyond the limit the beginning, its rest is skipped on the next call."""
    limit = context.limits.line_size_bytes
    number = 0
    while data := stream.readline(limit + 1):
        number += 1
        complete = len(data) <= limit or data.endswith(b"\n")
        if keep_blank or data.strip(SPACE):
            yield _Line(number, data, complete)
        if not complete:
            while (rest := stream.readline(BUFFER_SIZE_BYTES)) and not rest.endswith(b"\n"):
                pass
