"""The table of a library as LLVM IR: `evmaot.abi.library` says what its bytes mean.

Job: text that compiles to one more object, so that every linker gets the same objects.  Invariants: an entry is a
distance within the library (entry minus table), never an address, so no dynamic relocation is needed and the
table stays in read-only memory.  May import: `evmaot.abi.library`, errors.
"""

from __future__ import annotations

import re
from typing import Final

from evmaot.abi.library import HEADER, MAGIC, TABLE_SYMBOL, LibraryTable
from evmaot.errors import CompilerBug

_SYMBOL: Final = re.compile(r"[A-Za-z_.$][A-Za-z0-9_.$]*")


def table_text(table: LibraryTable) -> str:
    """LLVM IR that defines `evmaot_table`; its entries' symbols must be defined by other objects.

    Raises CompilerBug for a name that is no plain identifier.
    """
    entries = table.sorted_entries
    for entry in entries:
        if _SYMBOL.fullmatch(entry.symbol) is None or entry.symbol == TABLE_SYMBOL:
            raise CompilerBug(f"not a name for an entry symbol: {entry.symbol!r}")
    header = HEADER.pack(MAGIC, table.abi_fingerprint, len(entries), table.profile_id)
    types = [f"[{len(header)} x i8]"]
    values = [f"{types[0]} {_bytes(header)}"]
    for entry in entries:
        digests = entry.code_sha256 + entry.rules
        types += [f"[{len(digests)} x i8]", "i64"]
        values += [f"{types[-2]} {_bytes(digests)}", _distance(entry.symbol)]
    # `dso_local` says that nothing can take the table's place at run time; without it LLVM would have the
    # dynamic loader compute the distances, in a writable section.
    lines = [f"declare hidden i32 @{symbol}(ptr)" for symbol in sorted({entry.symbol for entry in entries})]
    lines.append(f"@{TABLE_SYMBOL} = dso_local constant <{{ {', '.join(types)} }}> <{{")
    lines.append(",\n".join(values))
    lines.append("}>, align 8\n")
    return "\n".join(lines)


def _distance(symbol: str) -> str:
    """Entry minus table as a constant: R_X86_64_PC64 or R_AARCH64_PREL64 in the object."""
    return f"i64 sub (i64 ptrtoint (ptr @{symbol} to i64), i64 ptrtoint (ptr @{TABLE_SYMBOL} to i64))"


def _bytes(data: bytes) -> str:
    r"""A byte string as LLVM spells it: every byte as \xx."""
    return 'c"' + "".join(f"\\{byte:02x}" for byte in data) + '"'
