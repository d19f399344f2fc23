"""Truffle's artifacts and all that look like them (OpenZeppelin builds, Buidler, Brownie).

`deployedBytecode` is a text, and no mark says that another tool wrote the file.
May import: inputs.{context,contract,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object, text_or_none
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import target_in_metadata
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or not isinstance(document.get("deployedBytecode"), str):
        return False
    return not any(key in document for key in ("address", "_format", "evm", "compilerOutput"))


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    yield read_code(
        context,
        fields.get("deployedBytecode"),
        text_or_none(fields.get("contractName")) or context.name.removesuffix(".json"),
        immutable_references=fields.get("immutableReferences"),
        link_references=fields.get("deployedLinkReferences"),
        evm_version=target_in_metadata(fields.get("metadata")),
        absent="no_runtime_code" if "deployedBytecode" in fields else "runtime_code_missing",
    )


FORMAT = Format("truffle", "Truffle artifact", _recognise, _read)
