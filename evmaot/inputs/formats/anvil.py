"""State of anvil: `anvil --dump-state FILE`, and `anvil_dumpState`, compressed in hexadecimal digits.

May import: inputs.{context,documents,source,streams}, formats.{accounts,base}.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, require_object
from evmaot.inputs.documents import GZIP_HEX, decode_utf8, parse_json
from evmaot.inputs.formats.accounts import is_account_map, read_accounts
from evmaot.inputs.formats.base import Format
from evmaot.inputs.hexadecimal import HexFault, decode_hex, strip_prefix
from evmaot.inputs.source import Item
from evmaot.inputs.streams import ReadFailure, open_stream, read_at_most


def _is_state(document: Any) -> bool:
    # geth's dump has the same key beside the root of the state.
    return isinstance(document, Mapping) and "root" not in document and is_account_map(document.get("accounts"))


def _is_compressed(document: Any) -> bool:
    return isinstance(document, str) and document[: len(GZIP_HEX)].lower() == GZIP_HEX


def _read_state(document: Any, context: Context) -> Iterator[Item]:
    fields = require_object(document, "the document")
    yield from read_accounts(require_object(fields.get("accounts"), "accounts"), context)


def _read_compressed(document: Any, context: Context) -> Iterator[Item]:
    decoded = decode_hex("".join(strip_prefix(str(document)).split()))
    if isinstance(decoded, HexFault):
        yield context.problem(decoded.code, decoded.message)
        return
    try:
        stream = open_stream(io.BytesIO(decoded.code), context.limits)
        state = parse_json(decode_utf8(read_at_most(stream, context.limits.document_size_bytes)))
    except ReadFailure as failure:
        yield context.problem(failure.code, failure.message, cause=failure.cause)
        return
    yield from _read_state(state, context)


FORMAT = Format("anvil", "anvil --dump-state", _is_state, _read_state)
COMPRESSED = Format("anvil-rpc", "anvil_dumpState reply", _is_compressed, _read_compressed)
