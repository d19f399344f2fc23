"""Traces of geth's prestateTracer: one map, `{pre, post}` (diffMode), or a block's `[{txHash, result}]`.

A block's trace tells the heat: how many of its transactions met a code.
May import: inputs.{context,source}, formats.{accounts,base}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty, require_object
from evmaot.inputs.contract import read_code
from evmaot.inputs.formats.accounts import NO_CODE, is_account_map
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item


def is_traced_map(value: object) -> bool:
    """Whether it is a map of accounts in the tracer's form: nonces are numbers, balances hexadecimal."""
    return isinstance(value, Mapping) and bool(value) and is_account_map(value) and all(map(_is_traced, value.values()))


def _is_traced(account: Mapping[str, Any]) -> bool:
    if not isinstance(account.get("nonce", 0), int):
        return False
    balance = account.get("balance", "0x0")
    return isinstance(balance, str) and balance.startswith("0x")


def _is_difference(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"pre", "post"} and all(map(is_account_map, value.values()))


def _is_of_transaction(value: object) -> bool:
    if not isinstance(value, Mapping) or "jsonrpc" in value or "id" in value:
        return False
    if "error" in value:
        return "txHash" in value
    result = value.get("result")
    return result == {} or is_traced_map(result) or _is_difference(result)


def _recognise(document: Any) -> bool:
    if isinstance(document, list):
        return bool(document) and all(map(_is_of_transaction, document))
    return is_traced_map(document) or _is_difference(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    if not isinstance(document, list):
        yield from _read_codes(_codes(require_object(document, "the document")), context)
        return
    seen: Counter[tuple[str, str]] = Counter()
    for index, entry in enumerate(document):
        fields = require_object(entry, "a trace")
        if "result" in fields:
            seen.update(set(_codes(object_or_empty(fields["result"]))))
        else:
            transaction = str(fields.get("txHash", index))
            cause = str(fields.get("error", "no result"))
            yield context.at(transaction).problem("rpc_error", "the trace of a transaction failed", cause=cause)
    yield from _read_codes(seen, context)


def _codes(result: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """Address and code of each account of one transaction's result, once each."""
    maps = (result["pre"], result["post"]) if "pre" in result and "post" in result else (result,)
    found: Counter[tuple[str, str]] = Counter()
    for accounts in maps:
        for address, account in object_or_empty(accounts).items():
            code = object_or_empty(account).get("code")
            if code not in NO_CODE:
                found[address, code if isinstance(code, str) else repr(code)] = 1
    return found


def _read_codes(codes: Counter[tuple[str, str]], context: Context) -> Iterator[Item]:
    for (address, code), count in codes.items():
        yield read_code(context.at(address), code, address, count=count)


FORMAT = Format("prestate", "prestateTracer", _recognise, _read)
