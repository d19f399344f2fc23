"""Output of `solc --standard-json`: `{contracts: {file: {name: {evm}}}, sources, errors}`.

Source: Solidity documentation, "Output Description".
May import: inputs.{context,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import is_contracts, read_contracts, read_errors
from evmaot.inputs.source import Item


def is_standard_output(document: Any) -> bool:
    """Whether it is standard JSON output of any compiler."""
    if not isinstance(document, Mapping) or "version" in document:
        return False
    if "contracts" in document:
        return is_contracts(document["contracts"])
    errors = document.get("errors")  # a compilation that failed has no contracts
    return isinstance(errors, list) and any(isinstance(error, Mapping) and "severity" in error for error in errors)


def is_vyper(document: Mapping[str, Any]) -> bool:
    """Whether Vyper says that it wrote it."""
    return str(document.get("compiler", "")).startswith("vyper")


def _recognise(document: Any) -> bool:
    return is_standard_output(document) and not is_vyper(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    yield from read_contracts(fields.get("contracts"), context)
    yield from read_errors(fields.get("errors"), context)


FORMAT = Format("solc", "solc standard JSON output", _recognise, _read)
