"""The module of all helpers, as text and as the object that is linked into each library.

Job: assemble the bodies and compile them.  Invariants: one text per target, the same in every
process; compiled optimised whatever the contract's tier; the object has no undefined symbol, no
writable data and no unwind tables; only the symbols of `table` are visible to other objects.
May import: `evmaot.codegen.builtins.*`, `evmaot.codegen.backend.llvm`, `evmaot.codegen.options`,
`evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.builtins import division, exponent, keccak256, memory, memory_operands, modular, state, system, wide
from evmaot.codegen.builtins.writer import MODULE_FOOTER
from evmaot.codegen.options import Tier
from evmaot.target import Target

BODIES: tuple[Mapping[str, Callable[[Target], str]], ...] = (
    division.BODIES,
    modular.BODIES,
    exponent.BODIES,
    wide.BODIES,
    keccak256.BODIES,
    memory.BODIES,
    memory_operands.BODIES,
    state.BODIES,
    system.BODIES,
)
"""The bodies of each file: name to definition for a target.  A new file of helpers is one line here."""


def builtins_text(target: Target) -> str:
    """All helpers as LLVM IR, without triple and data layout."""
    return "\n".join(write(target) for bodies in BODIES for write in bodies.values()) + MODULE_FOOTER


@cache
def builtins_object(target: Target) -> bytes:
    """All helpers as a relocatable object; compiled once per target and process.  Raises CompilerBug."""
    return compile_text(builtins_text(target), Tier.OPTIMISED, target).data
