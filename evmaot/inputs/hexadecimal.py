"""Hexadecimal text of a code, with the placeholders of unlinked libraries.

Job: text -> bytes, or a named fault.  Invariant: nothing is guessed: one odd digit is a fault.
May import: nothing of evmaot.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import Literal

PLACEHOLDER_LENGTH = 40
"""Characters: solc writes `__$<34 hexadecimal digits>$__`, before 0.5 `__<name>` filled up with `_`."""

_NOT_HEX = re.compile(r"[^0-9a-fA-F]")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where the address of a library is missing."""

    offset: int
    """In bytes, from the start of the code."""
    name: str
    """As written: the digits between the dollars, or the (possibly cut) name of the library."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The bytes; zeros where a placeholder was."""

    code: bytes
    placeholders: tuple[Placeholder, ...] = ()


@dataclass(frozen=True, slots=True)
class HexFault:
    """Why a text is not a code."""

    code: Literal["odd_hex", "not_hex"]
    message: str


def strip_prefix(text: str) -> str:
    """The text without white space around it and without 0x in front."""
    text = text.strip()
    return text[2:] if text[:2] in ("0x", "0X") else text


def decode_hex(digits: str) -> Decoded | HexFault:
    """The bytes of a text without prefix and white space."""
    placeholders: tuple[Placeholder, ...] = ()
    if "_" in digits:
        found = _cut_placeholders(digits)
        if isinstance(found, HexFault):
            return found
        digits, placeholders = found
    try:
        return Decoded(binascii.unhexlify(digits), placeholders)
    except ValueError:  # binascii.Error is one; plain for a text with non-ASCII characters
        return _explain(digits)


def _explain(digits: str) -> HexFault:
    bad = _NOT_HEX.search(digits)
    if bad is None:
        return HexFault("odd_hex", f"an odd number of hexadecimal digits ({len(digits)})")
    return HexFault("not_hex", f"not a hexadecimal digit: {bad.group()!r} at character {bad.start() + 1}")


def _cut_placeholders(digits: str) -> tuple[str, tuple[Placeholder, ...]] | HexFault:
    """Replace every placeholder by zeros."""
    pieces: list[str] = []
    placeholders: list[Placeholder] = []
    position = 0
    while (start := digits.find("__", position)) >= 0:
        name = digits[start : start + PLACEHOLDER_LENGTH]
        if len(name) < PLACEHOLDER_LENGTH or start % 2:
            return HexFault("not_hex", f"a cut placeholder of a library at character {start + 1}")
        pieces += (digits[position:start], "0" * PLACEHOLDER_LENGTH)
        placeholders.append(Placeholder(start // 2, name.strip("_").strip("$")))
        position = start + PLACEHOLDER_LENGTH
    pieces.append(digits[position:])
    return "".join(pieces), tuple(placeholders)
