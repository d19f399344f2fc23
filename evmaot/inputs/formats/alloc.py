"""Allocations: a genesis file, or the alloc of `evm t8n`, wrapped in `alloc` or bare.

A bare map of accounts is this, unless it is written as a tracer writes it.
May import: inputs.{context,source}, formats.{accounts,base,prestate}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object
from evmaot.inputs.formats.accounts import is_account_map, read_accounts
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.prestate import is_traced_map
from evmaot.inputs.source import Item


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping) or not document:
        return False
    if "alloc" in document:
        return is_account_map(document["alloc"])
    return is_account_map(document) and not is_traced_map(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    accounts = require_object(fields["alloc"], "alloc") if "alloc" in fields else fields
    yield from read_accounts(accounts, context)


FORMAT = Format("alloc", "genesis or t8n alloc", _recognise, _read)
