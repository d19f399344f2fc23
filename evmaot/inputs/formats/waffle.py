"""One contract of a compiler's output in a file of its own: `evm.deployedBytecode` at the top.

Waffle writes it so (Uniswap v2's packages).  May import: inputs.{context,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import read_evm, target_in_metadata
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    return isinstance(document, Mapping) and "deployedBytecode" in object_or_empty(document.get("evm"))


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    evm = require_object(fields.get("evm"), "evm")
    label = context.name.removesuffix(".json")
    yield read_evm(evm, context, label, evm_version=target_in_metadata(fields.get("metadata")))


FORMAT = Format("waffle", "Waffle artifact", _recognise, _read)
