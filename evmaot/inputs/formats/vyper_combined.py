"""Output of `vyper -f combined_json`: `{version, file: {bytecode, bytecode_runtime, layout}}`.

May import: inputs.{context,contract,hexadecimal,source,vyper_immutables}, formats.base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.hexadecimal import strip_prefix
from evmaot.inputs.source import Item
from evmaot.inputs.vyper_immutables import appended_size


def _recognise(document: Any) -> bool:
    return isinstance(document, Mapping) and any(
        isinstance(fields, Mapping) and "bytecode_runtime" in fields for fields in document.values()
    )


def _read(document: Any, context: Context) -> Iterator[Item]:
    for file, fields in require_object(document, "the document").items():
        if not isinstance(fields, Mapping):
            continue  # version
        runtime = fields.get("bytecode_runtime")
        size = len(strip_prefix(runtime)) // 2 if isinstance(runtime, str) else 0
        yield read_code(
            context.at(file),
            runtime,
            file,
            appended_size_bytes=appended_size(fields.get("layout"), fields.get("bytecode"), size),
            absent="no_runtime_code" if "bytecode_runtime" in fields else "runtime_code_missing",
        )


FORMAT = Format("vyper-combined", "vyper -f combined_json", _recognise, _read)
