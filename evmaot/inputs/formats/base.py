"""What a format is.

Job: the row type of `registry.FORMATS`.  Invariants: `recognise` looks at keys and types only,
never fails, and no document is recognised by two formats; `read` yields one item per code and raises
nothing but ShapeError.  May import: inputs.{context,sniff,source}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from evmaot.inputs.context import Context
from evmaot.inputs.sniff import Sort
from evmaot.inputs.source import Item


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write contracts down."""

    name: str
    """As `--format` takes it."""
    title: str
    """For people: what writes it."""
    recognise: Callable[[Any], bool]
    """Whether a document is of this format."""
    read: Callable[[Any, Context], Iterator[Item]]
    """The items of a document."""
    sort: Sort = "json"
    """Which documents it is asked about: bytes, TextDocument, or JSON values."""
