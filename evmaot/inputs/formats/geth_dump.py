"""`geth dump` and `debug_dumpBlock`: the accounts of a state; whole, or one account per line.

With `--iterative` the first line is `{"root"}`, and every other one an account.  A key may be
`pre(0x<hash>)` where the address is not known.  Code hashes in the dump are not trusted, and not
read: the hash is computed from the code.  May import: inputs.{context,source}, formats.{accounts,base}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.formats.accounts import read_account, read_accounts
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_WHOLE = {"root", "accounts", "next"}


def _is_account(document: Mapping[str, Any]) -> bool:
    named = "address" in document or "key" in document
    return named and "balance" in document and ("codeHash" in document or "root" in document)


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping):
        return False
    if isinstance(document.get("root"), str) and set(document) <= _WHOLE:
        return isinstance(document.get("accounts", {}), Mapping)
    return _is_account(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    if _is_account(fields):
        yield from read_account(fields, context, str(fields.get("address") or fields.get("key")))
    else:
        yield from read_accounts(object_or_empty(fields.get("accounts")), context)


FORMAT = Format("geth-dump", "geth dump", _recognise, _read)
