"""Hexadecimal text of one code, over any number of lines; 0x in front or not.

Lines that begin with `//` or `#` are comments: solc writes the names of unlinked libraries so.
May import: inputs.{contract,context,documents,source}, formats.{assembly,base}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from evmaot.inputs.context import Context
from evmaot.inputs.contract import read_code
from evmaot.inputs.documents import TextDocument
from evmaot.inputs.formats import assembly
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_COMMENT = re.compile(r"^\s*(?://|#).*$", re.MULTILINE)
_BEGINNING = re.compile(r"0[xX]|[0-9a-fA-F]{8}|[0-9a-fA-F]+$")


def _digits(text: str) -> str:
    return "".join(_COMMENT.sub("", text).split())


def _recognise(document: Any) -> bool:
    # "ADD" alone could be both: what begins with a mnemonic is assembly.
    if not isinstance(document, TextDocument) or assembly.FORMAT.recognise(document):
        return False
    return _BEGINNING.match(_digits(document.text)) is not None


def _read(document: Any, context: Context) -> Iterator[Item]:
    yield read_code(context, _digits(document.text), context.name, absent="empty_code")


FORMAT = Format("hex", "hexadecimal text", _recognise, _read, sort="text")
