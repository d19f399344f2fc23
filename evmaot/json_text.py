"""JSON from outside to values, without trusting how deep it nests.

Job: the one place where the package parses JSON.  Python's parser recurses in C and stops at the interpreter's
recursion limit, which other libraries raise (EELS to 100,000); then a small hostile document overflows the C stack
and kills the process.  Invariant: a document that nests deeper than its limit is refused before it is parsed, at a
cost linear in its size.  May import: nothing of evmaot.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, Final

DEPTH_LIMIT: Final = 800
"""Arrays and objects inside each other.  Below Python's own limit of 1000 frames, which the caller's count against;
the deepest that is in use are compilers' syntax trees, with one level for each operator of an expression."""

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"?')
_NOT_STRUCTURE: Final = bytes(value for value in range(256) if value not in b'"[]{}')
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STEPS: Final = [{ord("["): 1, ord("]"): -1}.get(value, 0) for value in range(256)]


class JsonTooDeep(ValueError):
    """A document that nests deeper than its reader allows."""


def parse_json(data: bytes | str, *, depth_limit: int = DEPTH_LIMIT, allow_constants: bool = True) -> Any:
    """The value of a JSON text; bytes are UTF-8, with or without the mark.

    `depth_limit`: levels of arrays and objects, at most `DEPTH_LIMIT`.  `allow_constants`: also Python's NaN,
    Infinity and -Infinity, which RFC 8259 does not have.  Raises JsonTooDeep, or another ValueError where it is not
    JSON, not UTF-8, or has an integer of more digits than Python converts.
    """
    limit = min(depth_limit, DEPTH_LIMIT)
    # Deeper than it has opening brackets, strings' included, no document is; most end here.
    if isinstance(data, str):
        if data.count("[") + data.count("{") > limit:
            _check_depth(data.encode("utf-8", "surrogatepass"), limit)
    elif data.count(b"[") + data.count(b"{") > limit:
        _check_depth(data, limit)
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    try:
        return json.loads(text, parse_constant=None if allow_constants else _refuse_constant)
    except RecursionError:  # few frames were left to the caller
        raise JsonTooDeep("JSON that nests too deeply") from None


def _check_depth(data: bytes, limit: int) -> None:
    """Raise JsonTooDeep where a document nests deeper than `limit`.

    All steps but the last run at the speed of memory.  What is no JSON may be judged too deep; the parser stops at
    its first fault and never gets deeper than counted here.
    """
    if b"\\" in data:
        data = _ESCAPE.sub(b"", data)
    data = data.translate(_ONE_KIND, _NOT_STRUCTURE)
    # Two quotes side by side open and close nothing that counts; strings with brackets in them are rare.
    data = data.replace(b'""', b"")
    if b'"' in data:
        data = _STRING.sub(b"", data)
    # Each time, every innermost pair goes: one level less everywhere, and much less to count.
    removals = min(2, limit)
    for _ in range(removals):
        data = data.replace(b"[]", b"")
    if max(accumulate(map(_STEPS.__getitem__, data)), default=0) + removals > limit:
        raise JsonTooDeep(f"JSON that nests deeper than {limit} levels")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
