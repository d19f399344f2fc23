"""Files that have only init code: `bytecode` or `creationCode`, and nothing of the runtime code.

Recognised to say so: compiling init code would look like success.
May import: inputs.{context,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_RUNTIME = ("deployedBytecode", "runtimeBytecode", "evm", "compilerOutput", "_format", "code", "contracts")


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or any(key in document for key in _RUNTIME):
        return False
    return "creationCode" in document or ("bytecode" in document and "abi" in document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    yield context.problem("init_code_only", "only the code that creates the contract, not the code that it runs")


FORMAT = Format("init-only", "artifact without runtime code", _recognise, _read)
