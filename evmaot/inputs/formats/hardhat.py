"""Artifacts of Hardhat 2 (`hh-sol-artifact-1`) and 3 (`hh3-artifact-1`), and of its Vyper plug-in.

Hardhat 2 doesn't say where immutables are; its build-info does.  `hh-zksolc-artifact` is for another
machine than the EVM and not read.  May import: inputs.{context,contract,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_MARKS = ("hh-sol-artifact", "hh3-artifact", "hh-vyper-artifact")


def _recognise(document: Any) -> bool:
    return isinstance(document, Mapping) and str(document.get("_format", "")).startswith(_MARKS)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    label = f"{fields.get('sourceName', '?')}:{fields.get('contractName', '?')}"
    yield read_code(
        context,
        fields.get("deployedBytecode"),
        label,
        immutable_references=fields.get("immutableReferences"),
        link_references=fields.get("deployedLinkReferences"),
        absent="no_runtime_code" if "deployedBytecode" in fields else "runtime_code_missing",
    )


FORMAT = Format("hardhat", "Hardhat artifact", _recognise, _read)
