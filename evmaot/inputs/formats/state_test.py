"""State tests and their relatives: `{name: {env, pre, transaction, post}}`, or one test per line.

Every code of the prestate is a contract; VM tests (`exec.code`) and blockchain tests too.
May import: inputs.{context,contract,source}, formats.{accounts,base}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.accounts import NO_CODE, read_accounts
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

_KINDS = ("env", "transaction", "exec", "blocks", "genesisBlockHeader")


def _is_test(value: object) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("pre"), Mapping):
        return False
    return any(key in value for key in _KINDS)


def _recognise(document: Any) -> bool:
    if not isinstance(document, Mapping):
        return False
    tests = [value for key, value in document.items() if not key.startswith(("_", "//"))]
    return _is_test(document) or (bool(tests) and all(map(_is_test, tests)))


def _read(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    if _is_test(fields):
        yield from _read_test(fields, context, str(fields.get("id", "")))
        return
    for name, test in fields.items():
        if _is_test(test):
            yield from _read_test(test, context.at(name), name)


def _read_test(test: Mapping[str, Any], context: Context, name: str) -> Iterator[Item]:
    prefix = f"{name}/" if name else ""
    accounts = require_object(test.get("pre"), "pre")
    yield from read_accounts(accounts, context, prefix=prefix)
    run = object_or_empty(test.get("exec"))
    code = run.get("code")
    if code not in NO_CODE and code != object_or_empty(accounts.get(str(run.get("address")))).get("code"):
        yield read_code(context.at("exec"), code, f"{prefix}exec")


FORMAT = Format("state-test", "state test", _recognise, _read)
