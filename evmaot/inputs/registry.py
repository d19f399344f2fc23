"""The table of input formats: one row per format, one file per row.

Job: find the format of a document, or by name.  Invariant: no document has two formats; the order
of the table is for people only.  May import: errors, inputs.formats.*.
"""

from __future__ import annotations

import difflib
from typing import Any

from evmaot.errors import UsageError
from evmaot.inputs.documents import TextDocument
from evmaot.inputs.formats import (
    alloc,
    anvil,
    ape,
    assembly,
    build_info,
    code_list,
    foundry,
    geth_dump,
    hardhat,
    hardhat_deploy,
    hexadecimal,
    init_only,
    prestate,
    raw,
    rpc,
    solc_combined,
    solc_standard,
    sourcify,
    state_test,
    truffle,
    vyper,
    vyper_combined,
    waffle,
    witness,
    zero_x,
)
from evmaot.inputs.formats.base import Format
from evmaot.inputs.sniff import Sort

FORMATS: tuple[Format, ...] = (
    raw.FORMAT,
    hexadecimal.FORMAT,
    assembly.FORMAT,
    foundry.FORMAT,
    hardhat.FORMAT,
    build_info.FORMAT,
    solc_standard.FORMAT,
    solc_combined.FORMAT,
    vyper.FORMAT,
    vyper_combined.FORMAT,
    truffle.FORMAT,
    hardhat_deploy.FORMAT,
    zero_x.FORMAT,
    waffle.FORMAT,
    ape.FORMAT,
    sourcify.FORMAT,
    init_only.FORMAT,
    rpc.FORMAT,
    anvil.FORMAT,
    anvil.COMPRESSED,
    geth_dump.FORMAT,
    alloc.FORMAT,
    state_test.FORMAT,
    prestate.FORMAT,
    witness.FORMAT,
    code_list.FORMAT,
)
"""Every format that is read."""

AUTOMATIC = "auto"
"""What `--format` says to have the format recognised."""


def find_format(name: str) -> Format:
    """The format of that name.  UsageError("unknown_format_name")."""
    names = {row.name: row for row in FORMATS}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        "unknown_format_name",
        f"no input format has the name {name!r}",
        context={"name": name, "known": sorted(names)},
        hint=f"did you mean {near[0]}?" if near else f"formats: {', '.join(sorted(names))}",
    )


def sort_of(document: Any) -> Sort:
    """The sort of formats that a document may have."""
    if isinstance(document, bytes):
        return "binary"
    return "text" if isinstance(document, TextDocument) else "json"


def recognise(document: Any, first: Format | None = None) -> Format | None:
    """The format of a document; `first` is asked first (the same as that of the record before)."""
    sort = sort_of(document)
    if first is not None and first.sort == sort and first.recognise(document):
        return first
    for row in FORMATS:
        if row.sort == sort and row.recognise(document):
            return row
    return None
