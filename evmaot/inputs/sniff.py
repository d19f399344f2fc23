"""What the beginning of a file looks like: raw bytes, text, or JSON.

Job: the decision, from content first; a suffix only rules out that a text file is taken for
bytecode.  May import: inputs.streams.
"""

from __future__ import annotations

import codecs
from typing import Literal, TypeAlias

from evmaot.inputs.streams import ReadFailure

Sort: TypeAlias = Literal["binary", "text", "json"]

LINE_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (".json", *LINE_SUFFIXES, ".hex", ".txt", ".asm", ".bin-runtime", ".sol", ".vy")
COMPRESSION_SUFFIXES = (".xz", ".gz")
SPACE = b" \t\r\n\f\v"
UTF8_MARK = b"\xef\xbb\xbf"

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(value for value in range(32) if value not in SPACE) + b"\x7f"
_JSON_STARTS = (b"{", b"[", b'"')
_JSON_LOOK_BYTES = 64
_PROGRAMS = {
    b"\x7fELF": "an ELF file",
    b"\xcf\xfa\xed\xfe": "a Mach-O file",
    b"\xce\xfa\xed\xfe": "a Mach-O file",
    b"\xca\xfe\xba\xbe": "a Mach-O file or a Java class",
    b"\0asm\1\0\0\0": "a WebAssembly module",
}
"""Programs and libraries of machines, by their beginnings; those of Windows have more to tell them."""
_OTHER_FILES = {
    b"\x89PNG": "an image",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"BZh": "bzip2-compressed, which is not read; xz and gzip are",
    b"\x28\xb5\x2f\xfd": "zstd-compressed, which is not read; xz and gzip are",
}
"""Beginnings that bytecode doesn't have."""
_PE_PLACE = 0x3C
"""Where a Windows program says where its header is."""
_PROGRAM_HINT = (
    "this is a program or library of a machine: give EVM bytecode, or what a contract's compiler wrote; "
    "libraries of another store come by evmaot import"
)
_TAR_MAGIC, _TAR_MAGIC_OFFSET = b"ustar", 257


def plain_suffix(path: str) -> str:
    """The suffix in lower case, looking through that of the compression; "" if there is none."""
    name = path.rpartition("/")[2].lower()
    for suffix in COMPRESSION_SUFFIXES:
        name = name.removesuffix(suffix)
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if stem else ""


def sniff(head: bytes, suffix: str) -> Sort:
    """The sort of a file by its first bytes.  ReadFailure for what is surely none of ours."""
    if not head.strip(SPACE):
        raise ReadFailure("empty_code", "the file is empty")
    program = _program(head)
    if program is not None:
        raise ReadFailure("unknown_format", f"not bytecode but {program}", hint=_PROGRAM_HINT)
    for magic, name in _OTHER_FILES.items():
        if head.startswith(magic):
            code = "archive" if name.endswith("archive") else "unknown_format"
            raise ReadFailure(code, f"not bytecode but {name}")
    if head[_TAR_MAGIC_OFFSET:].startswith(_TAR_MAGIC):
        raise ReadFailure("archive", "not bytecode but a tar archive")
    if _is_utf16(head):
        raise ReadFailure("not_utf8", "the text is UTF-16")
    first = head.lstrip(SPACE)
    # Text has no control characters; bytecode nearly always has (STOP, ADD, small constants).
    if first.startswith(_JSON_STARTS) and not _has_control(first[:_JSON_LOOK_BYTES]):
        return "json"
    if not _has_control(head) and _is_utf8(head):
        return "text"
    if suffix in TEXT_SUFFIXES:
        raise ReadFailure("not_utf8", f"not the UTF-8 text that the suffix {suffix} promises")
    return "binary"


def _program(head: bytes) -> str | None:
    """What a file of machine code is."""
    if head.startswith(b"MZ"):
        # Two bytes alone may be a code; the header that they announce is none.
        start = int.from_bytes(head[_PE_PLACE : _PE_PLACE + 4], "little")
        return "a Windows program" if head[start : start + 4] == b"PE\0\0" else None
    return next((name for magic, name in _PROGRAMS.items() if head.startswith(magic)), None)


def _has_control(data: bytes) -> bool:
    return len(data.translate(None, _CONTROL)) != len(data)


def _is_utf8(head: bytes) -> bool:
    """Whether it is UTF-8, but for a character cut off at the end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf16(head: bytes) -> bool:
    """Whether it has the mark and then reads as ASCII, as `>` of a Windows shell writes it."""
    if not head.startswith(_UTF16_MARKS):
        return False
    text = head[: min(len(head) & ~1, 1024)].decode("utf-16", "replace")
    return bool(text) and text.isascii()
