"""ape's build files and ethPM 3 manifests: `contractTypes.{name}.runtimeBytecode.bytecode`.

Source: EIP-2678, "contract type object".  May import: inputs.{context,contract,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object, text_or_none
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping):
        return False
    if isinstance(document.get("contractTypes"), Mapping):
        return True
    return "bytecode" in object_or_empty(document.get("runtimeBytecode"))


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    if "contractTypes" not in fields:
        yield _read_type(fields, context, context.name.removesuffix(".json"))
        return
    for name, contract_type in require_object(fields["contractTypes"], "contractTypes").items():
        yield _read_type(object_or_empty(contract_type), context.at(name), name)


def _read_type(fields: Mapping[str, Any], context: Context, name: str) -> Item:
    name = text_or_none(fields.get("contractName")) or name
    file = text_or_none(fields.get("sourceId"))
    bytecode = object_or_empty(fields.get("runtimeBytecode"))
    return read_code(
        context,
        bytecode.get("bytecode"),
        f"{file}:{name}" if file else name,
        link_references=bytecode.get("linkReferences"),
    )


FORMAT = Format("ape", "ape or ethPM manifest", _recognise, _read)
