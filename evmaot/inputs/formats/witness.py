"""Replies to `debug_executionWitness`: `{state, codes, keys, headers}`, lists or (older) maps by hash.

The best "compile exactly what this block ran".  The hashes of the older form are not trusted, they
serve as labels.  May import: inputs.{context,contract,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, ShapeError, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.accounts import NO_CODE
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or "state" not in document:
        return False
    return isinstance(document.get("codes"), (list, Mapping))


def _read(document: Any, context: Context) -> Iterator[Item]:
    codes = require_object(document, "the document").get("codes")
    if isinstance(codes, Mapping):
        entries = [(str(key), code) for key, code in codes.items()]
    elif isinstance(codes, list):
        entries = [(f"codes[{index}]", code) for index, code in enumerate(codes)]
    else:
        raise ShapeError("codes is neither a list nor an object")
    for label, code in entries:
        if code not in NO_CODE:  # the empty code is part of many witnesses
            yield read_code(context.at(label), code, label)


FORMAT = Format("witness", "debug_executionWitness", _recognise, _read)
