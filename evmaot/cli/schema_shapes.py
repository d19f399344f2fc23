"""The language in which `evmaot.cli.schemas` says what documents look like.

Job: a shape to a JSON Schema.  May import: nothing of evmaot.

A shape is a dict of names to shapes (``"*"``: any name), a list of one shape, a tuple of alternatives, or one of:
``text count bytes seconds number bool digest hash time any``; a ``?`` behind it: or null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Shape = Any

_WORDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "any": {},
    "bool": {"type": "boolean"},
    "bytes": {"type": "integer", "minimum": 0, "description": "bytes"},
    "count": {"type": "integer", "minimum": 0},
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256, hex"},
    "hash": {"type": "string", "pattern": "^0x[0-9a-f]{64}$", "description": "keccak-256"},
    "number": {"type": "number"},
    "seconds": {"type": "number", "minimum": 0, "description": "seconds"},
    "text": {"type": "string"},
    "time": {
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
        "description": "RFC 3339, UTC",
    },
}


def schema_of(shape: Shape) -> dict[str, Any]:
    """A shape as a JSON Schema."""
    if isinstance(shape, dict):
        if set(shape) == {"*"}:
            return {"type": "object", "additionalProperties": schema_of(shape["*"])}
        properties = {name: schema_of(part) for name, part in shape.items()}
        return {"type": "object", "required": list(shape), "properties": properties}
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0])}
    if isinstance(shape, tuple):
        return {"anyOf": [schema_of(part) for part in shape]}
    if shape == "null":
        return {"type": "null"}
    word, optional = shape.rstrip("?"), shape.endswith("?")
    found = dict(_WORDS[word])
    return {"anyOf": [found, {"type": "null"}]} if optional and found else found
