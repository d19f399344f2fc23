"""Output of `vyper-json`: standard JSON output that says `compiler: "vyper-..."`.

Also: what the formats of Vyper share.  Source: Vyper documentation, "Compiling a Contract".
May import: inputs.{context,hexadecimal,source,vyper_immutables}, formats.{base,solc_standard,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solc_standard import is_standard_output, is_vyper
from evmaot.inputs.formats.solidity import read_bytecode, read_errors
from evmaot.inputs.hexadecimal import strip_prefix
from evmaot.inputs.source import Item
from evmaot.inputs.vyper_immutables import appended_size


def immutables_size(deployed: object, creation: object, layout: object = None) -> int:
    """Bytes that the constructor appends, of the two `{object}` of a contract."""
    runtime = object_or_empty(deployed).get("object")
    if not isinstance(runtime, str):
        return 0
    return appended_size(layout, object_or_empty(creation).get("object"), len(strip_prefix(runtime)) // 2)


def _recognise(document: Any) -> bool:
    return is_standard_output(document) and is_vyper(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    for file, names in object_or_empty(fields.get("contracts")).items():
        for name, contract in object_or_empty(names).items():
            label = f"{file}:{name}"
            parts = object_or_empty(contract)
            evm = object_or_empty(parts.get("evm"))
            deployed = evm.get("deployedBytecode")
            yield read_bytecode(
                deployed,
                context.at(label),
                label,
                evm_version=None,
                appended_size_bytes=immutables_size(deployed, evm.get("bytecode"), parts.get("layout")),
            )
    yield from read_errors(fields.get("errors"), context)


FORMAT = Format("vyper", "vyper-json output", _recognise, _read)
