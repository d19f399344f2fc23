"""Raw bytecode: the bytes themselves.  May import: inputs.{contract,context,source}, formats.base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evmaot.inputs.context import Context
from evmaot.inputs.contract import accept_code
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    return isinstance(document, bytes)


def _read(document: Any, context: Context) -> Iterator[Item]:
    yield accept_code(context, document, context.name)


FORMAT = Format("raw", "raw bytecode", _recognise, _read, sort="binary")
