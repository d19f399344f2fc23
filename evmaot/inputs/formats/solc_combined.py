"""Output of `solc --combined-json bin-runtime`: `{contracts: {"file:name": {"bin-runtime"}}, version}`.

May import: inputs.{context,contract,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import target_in_metadata
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or not isinstance(document.get("contracts"), Mapping):
        return False
    contracts = document["contracts"].values()
    if not all(isinstance(fields, Mapping) for fields in contracts):
        return False
    # Waffle writes the same without the version.
    return isinstance(document.get("version"), str) or any(isinstance(c.get("bin-runtime"), str) for c in contracts)


def _read(document: Any, context: Context) -> Iterator[Item]:
    contracts = require_object(require_object(document, "the document").get("contracts"), "contracts")
    for label, contract in contracts.items():
        fields = object_or_empty(contract)
        yield read_code(
            context.at(label),
            fields.get("bin-runtime"),
            label,
            evm_version=target_in_metadata(fields.get("metadata")),
            absent="no_runtime_code" if "bin-runtime" in fields else "runtime_code_missing",
        )


FORMAT = Format("solc-combined", "solc --combined-json bin-runtime", _recognise, _read)
