"""Replies of Sourcify's API v2, `/v2/contract/{chain}/{address}?fields=runtimeBytecode,compilation`.

The code is the one on the chain, with the values of that deployment in the holes.
May import: inputs.{context,contract,source}, formats.{base,solidity}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object, text_or_none
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.solidity import target_of
from evmaot.inputs.source import Item

_CODES = ("onchainBytecode", "recompiledBytecode")


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping):
        return False
    runtime = object_or_empty(document.get("runtimeBytecode"))
    return any(key in runtime for key in _CODES)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    runtime = require_object(fields.get("runtimeBytecode"), "runtimeBytecode")
    compilation = object_or_empty(fields.get("compilation"))
    name = compilation.get("fullyQualifiedName") or compilation.get("name") or fields.get("address")
    yield read_code(
        context,
        runtime.get("onchainBytecode") or runtime.get("recompiledBytecode"),
        text_or_none(name) or context.name,
        immutable_references=runtime.get("immutableReferences"),
        link_references=runtime.get("linkReferences"),
        evm_version=target_of(compilation.get("compilerSettings")),
    )


FORMAT = Format("sourcify", "Sourcify API v2 reply", _recognise, _read)
