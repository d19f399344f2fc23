"""Foundry's artifacts, `out/X.sol/X.json`: `deployedBytecode` is an object.

May import: inputs.{context,contract,source,vyper_immutables}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object, text_or_none
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import read_bytecode, target_in_metadata
from evmaot.inputs.formats.vyper import immutables_size
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or "evm" in document or "_format" in document:
        return False
    return isinstance(document.get("deployedBytecode"), Mapping)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    bytecode = require_object(fields.get("deployedBytecode"), "deployedBytecode")
    metadata = fields.get("metadata") or fields.get("rawMetadata")
    yield read_bytecode(
        bytecode,
        context,
        _label(fields, context),
        evm_version=target_in_metadata(metadata),
        # Foundry compiles Vyper too, in the same form.
        appended_size_bytes=immutables_size(bytecode, fields.get("bytecode")),
    )


def _label(fields: Mapping[str, Any], context: Context) -> str:
    """`src/X.sol:X` by the metadata or syntax tree, else `X.sol:X` by the path."""
    stem = context.path.rpartition("/")[2].removesuffix(".json")
    settings = object_or_empty(object_or_empty(fields.get("metadata")).get("settings"))
    for file, name in object_or_empty(settings.get("compilationTarget")).items():
        return f"{file}:{name}"
    source = text_or_none(object_or_empty(fields.get("ast")).get("absolutePath"))
    if source is not None:
        return f"{source}:{stem}"
    parts = context.path.split("/")
    return f"{parts[-2]}:{stem}" if len(parts) > 1 and parts[-2].endswith((".sol", ".vy")) else context.name


FORMAT = Format("foundry", "Foundry artifact", _recognise, _read)
