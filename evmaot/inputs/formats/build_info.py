"""Build-info files of Hardhat 2 and 3 and of older Foundry: a compiler's input and output in one.

Hardhat 3 splits them: `<id>.json` has the input, `<id>.output.json` the output with the codes.
May import: inputs.{context,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import is_contracts, read_contracts, read_errors, target_of
from evmaot.inputs.source import Item

_MARKS = ("hh-sol-build-info", "hh3-sol-build-info")


def _is_marked(document: Mapping[str, Any]) -> bool:
    return str(document.get("_format", "")).startswith(_MARKS)


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping):
        return False
    return _is_marked(document) or is_contracts(object_or_empty(document.get("output")).get("contracts"))


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    if "output" not in fields:
        yield context.problem("no_code", "only the compiler's input; the codes are in the .output.json file beside it")
        return
    output = require_object(fields["output"], "output")
    settings = object_or_empty(fields.get("input")).get("settings")
    yield from read_contracts(output.get("contracts"), context, evm_version=target_of(settings))
    yield from read_errors(output.get("errors"), context)


FORMAT = Format("build-info", "build-info of Hardhat or Foundry", _recognise, _read)
