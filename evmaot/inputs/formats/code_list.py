"""Plain lists of codes: `{"code", "label"}` objects (one per line, or in a list), or texts.

An object may have `label`, `address`, `name` or `id` for a label, `evm_version`, and `count`.
A single JSON text is what `cast rpc eth_getCode` prints.
May import: inputs.{context,contract,documents,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, text_or_none
from evmaot.inputs.contract import read_code
from evmaot.inputs.documents import GZIP_HEX
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_OTHERS = ("balance", "nonce", "codeHash", "jsonrpc", "pre", "state", "evm", "deployedBytecode", "_format")
_LABELS = ("label", "address", "name", "id")


def _is_entry(value: object) -> bool:
    if isinstance(value, str):
        return value.startswith(("0x", "0X"))
    return (
        isinstance(value, Mapping) and isinstance(value.get("code"), str) and not any(key in value for key in _OTHERS)
    )


def _recognise(document: Any) -> bool:
    if isinstance(document, list):
        return bool(document) and all(map(_is_entry, document))
    if isinstance(document, str):
        return document[: len(GZIP_HEX)].lower() != GZIP_HEX
    return _is_entry(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    if isinstance(document, list):
        for index, entry in enumerate(document):
            yield _read_entry(entry, context.at(str(index)))
    else:
        yield _read_entry(document, context)


def _read_entry(entry: object, context: Context) -> Item:
    if isinstance(entry, str):
        return read_code(context, entry, context.name, absent="empty_code")
    fields = object_or_empty(entry)
    count = fields.get("count")
    return read_code(
        context,
        fields.get("code"),
        next((found for key in _LABELS if (found := text_or_none(fields.get(key)))), context.name),
        evm_version=fields.get("evm_version"),
        count=count if type(count) is int and count > 0 else 1,
        absent="empty_code",
    )


FORMAT = Format("code-list", "list of codes", _recognise, _read)
