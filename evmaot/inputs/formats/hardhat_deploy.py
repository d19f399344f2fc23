"""Deployments of hardhat-deploy, `deployments/<network>/X.json`: `address` beside `deployedBytecode`.

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
    if not isinstance(document, Mapping) or "_format" in document:
        return False
    return isinstance(document.get("deployedBytecode"), str) and "address" in document


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    yield read_code(
        context,
        fields.get("deployedBytecode"),
        text_or_none(fields.get("contractName")) or context.name.removesuffix(".json"),
        evm_version=target_in_metadata(fields.get("metadata")),
        absent="no_runtime_code" if "deployedBytecode" in fields else "runtime_code_missing",
    )


FORMAT = Format("hardhat-deploy", "hardhat-deploy deployment", _recognise, _read)
