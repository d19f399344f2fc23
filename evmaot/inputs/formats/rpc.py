"""Replies of a node to `eth_getCode`: one, or a batch; Etherscan's proxy answers in the same form.

Also: replies to other methods are unwrapped, so that a saved reply is read like the value in it.
Source: JSON-RPC 2.0, sections 5 and 6.  May import: inputs.{context,contract,documents,source},
formats.{accounts,base}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, ShapeError, object_or_empty
from evmaot.inputs.contract import read_code
from evmaot.inputs.documents import GZIP_HEX
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item


def is_reply(value: object) -> bool:
    """Whether it is a JSON-RPC reply: the mark, or at least an id with result or error."""
    if not isinstance(value, Mapping) or not ("result" in value or "error" in value):
        return False
    return "jsonrpc" in value or "id" in value


def unwrap(document: Any, context: Context) -> Iterator[tuple[Any, Context]]:
    """The values of replies whose results are objects, lists or compressed; else the document itself."""
    if isinstance(document, list) and document and all(is_reply(reply) for reply in document):
        if not all(_is_code_reply(reply) for reply in document):
            for index, reply in enumerate(document):
                yield from unwrap(reply, context.at(str(index)))
            return
    elif is_reply(document) and not _is_code_reply(document):
        yield document["result"], context
        return
    yield document, context


def _is_code_reply(reply: Mapping[str, Any]) -> bool:
    if "error" in reply and reply["error"] is not None:
        return True
    result = reply.get("result")
    if isinstance(result, str):
        return not result.startswith(GZIP_HEX)
    return not isinstance(result, (Mapping, list))


def _is_etherscan_error(document: Any) -> bool:
    """`{"status":"0","message":"NOTOK","result":"why"}`."""
    return isinstance(document, Mapping) and document.get("status") == "0" and "message" in document


def _recognise(document: Any) -> bool:
    if isinstance(document, list):
        return bool(document) and all(is_reply(reply) and _is_code_reply(reply) for reply in document)
    return (is_reply(document) and _is_code_reply(document)) or _is_etherscan_error(document)


def _read(document: Any, context: Context) -> Iterator[Item]:
    if _is_etherscan_error(document):
        yield context.problem("rpc_error", "the service answered with an error", cause=str(document.get("result")))
    elif isinstance(document, list):
        for index, reply in enumerate(document):
            yield _read_reply(reply, context.at(str(index)))
    else:
        yield _read_reply(document, context)


def _read_reply(reply: object, context: Context) -> Item:
    if not is_reply(reply):
        raise ShapeError("not a reply of JSON-RPC")
    fields = object_or_empty(reply)
    identifier = fields.get("id")
    # Whoever asks may use the address as the id; it is the only place for it in a reply.
    label = identifier if isinstance(identifier, str) and identifier else f"reply {identifier}"
    error = fields.get("error")
    if error is not None:
        cause = str(object_or_empty(error).get("message", error))
        return context.problem("rpc_error", f"{label}: the node answered with an error", cause=cause)
    return read_code(context, fields.get("result"), label)


FORMAT = Format("rpc", "eth_getCode reply", _recognise, _read)
