"""Artifacts of 0x (`@0x/contract-artifacts`): the compiler's output under `compilerOutput`.

May import: inputs.{context,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object, text_or_none
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import read_evm, target_of
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("compilerOutput"), Mapping)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    output = require_object(fields.get("compilerOutput"), "compilerOutput")
    label = text_or_none(fields.get("contractName")) or context.name.removesuffix(".json")
    settings = object_or_empty(fields.get("compiler")).get("settings")
    yield read_evm(output.get("evm"), context, label, evm_version=target_of(settings))


FORMAT = Format("0x", "0x artifact", _recognise, _read)
