"""Files that have only init code: `bytecode` or `creationCode`, and nothing of the runtime code.

Recognised to say so: compiling init code would look like success.  Where constructors may be run, the contract is what
they deploy; one that takes arguments is not run, for what it deploys depends on them.
May import: inputs.{context,contract,hexadecimal,source}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import ConstructorFailed, Context, ShapeError, object_or_empty, require_object, text_or_none
from evmaot.inputs.contract import accept_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.hexadecimal import HexFault, decode_hex, strip_prefix
from evmaot.inputs.source import Item

_RUNTIME = ("deployedBytecode", "runtimeBytecode", "evm", "compilerOutput", "_format", "code", "contracts")


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or any(key in document for key in _RUNTIME):
        return False
    return "creationCode" in document or ("bytecode" in document and "abi" in document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    label = text_or_none(fields.get("contractName")) or context.name
    value = fields.get("creationCode", fields.get("bytecode"))
    if isinstance(value, Mapping):
        value = value.get("object")
    if not isinstance(value, str) or not strip_prefix(value):
        yield context.problem("no_runtime_code", f"{label} has no code (an interface, an abstract contract)")
    elif context.run_constructor is None:
        yield context.problem("init_code_only", "only the code that creates the contract, not the code that it runs")
    else:
        yield _deployed(fields, value, label, context)


def _deployed(document: Mapping[str, Any], value: str, label: str, context: Context) -> Item:
    arguments = _constructor_arguments(document)
    if arguments:
        message = f"{label}: the constructor takes {arguments} argument{'s' if arguments > 1 else ''}"
        return context.problem("constructor_failed", message)
    decoded = decode_hex(strip_prefix(value))
    if isinstance(decoded, HexFault):
        return context.problem(decoded.code, f"{label}: {decoded.message}")
    if decoded.placeholders:
        library = decoded.placeholders[0].name
        return context.problem(
            "constructor_failed", f"{label}: the init code lacks the address of the library {library}"
        )
    if len(decoded.code) > context.limits.code_size_bytes:
        return context.problem("code_too_long", f"{label}: {len(decoded.code)} bytes of init code")
    assert context.run_constructor is not None
    try:
        code, holes = context.run_constructor(decoded.code)
        return accept_code(context, code, label, holes=holes)
    except ConstructorFailed as failure:
        return context.problem("constructor_failed", f"{label}: the constructor: {failure}", cause=failure.cause)
    except ShapeError as fault:
        return context.problem("bad_shape", f"{label}: {fault}")


def _constructor_arguments(document: Mapping[str, Any]) -> int:
    """How many arguments the ABI says that the constructor takes."""
    abi = document.get("abi")
    for entry in abi if isinstance(abi, list) else ():
        row = object_or_empty(entry)
        if row.get("type") == "constructor" and isinstance(row.get("inputs"), list):
            return len(row["inputs"])
    return 0


FORMAT = Format("init-only", "artifact without runtime code", _recognise, _read)
