"""A document that no format recognises: what to say of it.

Job: the most helpful problem: source text, a code with wrong digits, JSON of another sort.
May import: inputs.{context,documents,sniff,source}, formats.hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from evmaot.inputs.context import Context
from evmaot.inputs.documents import TextDocument
from evmaot.inputs.formats import hexadecimal
from evmaot.inputs.sniff import plain_suffix
from evmaot.inputs.source import Item

_SOURCE_SUFFIXES = (".sol", ".vy", ".yul", ".fe", ".huff")
_SOURCE = re.compile(r"^\s*(?:pragma solidity|# @version|# pragma version|// SPDX-License-Identifier)", re.MULTILINE)
_NO_ANSWER = "where a node answered so: it knows no such account, or no such block"
_SCALARS = {"null": _NO_ANSWER, "true": None, "false": None}
"""JSON texts that look like words, with what to do about them."""
_SHOWN_KEYS = 6


def read_unknown(value: object, context: Context) -> Iterator[Item]:
    """The problem of a document that is none of the formats."""
    if not isinstance(value, TextDocument):
        yield context.problem("unknown_format", f"JSON of no known format: {_describe(value)}")
    elif plain_suffix(context.path) in _SOURCE_SUFFIXES or _SOURCE.search(value.text[:4096]):
        yield context.problem("source_code", "source text, not bytecode")
    elif (scalar := value.text.strip()) in _SCALARS:
        yield context.problem("unknown_format", f"JSON of no known format: {scalar}", hint=_SCALARS[scalar])
    elif context.from_directory:
        yield context.problem("unknown_format", "text that is neither hexadecimal nor assembly")
    else:
        # Somebody named it, so it is meant to be a code: say what is wrong with it as such.
        yield from hexadecimal.FORMAT.read(value, context)


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        keys = ", ".join(str(key) for key in list(value)[:_SHOWN_KEYS])
        return f"an object with {keys}{', ...' if len(value) > _SHOWN_KEYS else ''}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return f"{type(value).__name__} {value!r}"
