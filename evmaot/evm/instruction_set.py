"""What the compiler may know of a fork, restricted to the opcodes that a code contains.

Job: `CompileRules` and its digest.  Two forks whose rules a contract cannot tell apart give equal
rules, so they share one artifact.  Invariant: codegen gets `CompileRules`, never a `Fork`: what is
not in the digest cannot be consulted.  May import: `evmaot.evm.forks`, `evmaot.evm.opcodes`, errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from evmaot.errors import CompilerBug
from evmaot.evm.forks import Fork
from evmaot.evm.opcodes import OPCODES


@dataclass(frozen=True, slots=True)
class CompileRules:
    """Prices and parameters of exactly the opcodes that the reachable code contains."""

    opcodes: frozenset[int]
    static_gas: dict[int, int | None] = field(hash=False)
    """Static gas by opcode value; None: undefined."""
    parameters: dict[str, Any] = field(hash=False)
    digest: str
    """SHA-256, hex, of the canonical text of all the above."""

    def gas(self, opcode: int) -> int | None:
        """Static gas of an opcode, None if undefined.  CompilerBug if it is not covered by the digest."""
        if opcode not in self.opcodes:
            raise CompilerBug(f"opcode 0x{opcode:02x} is not covered by the rules digest")
        return self.static_gas[opcode]

    def __getitem__(self, parameter: str) -> Any:
        """A fork parameter.  CompilerBug if it is not covered by the digest."""
        if parameter not in self.parameters:
            raise CompilerBug(f"parameter {parameter!r} is not covered by the rules digest")
        return self.parameters[parameter]


@lru_cache(maxsize=65536)
def restrict(fork: Fork, opcodes: frozenset[int]) -> CompileRules:
    """The rules of `fork` that code with these opcodes can tell apart."""
    static_gas: dict[int, int | None] = {}
    parameters: dict[str, Any] = {}
    for value in sorted(opcodes):
        row = OPCODES[value]
        price = fork.opcode_gas[value]
        static_gas[value] = price
        if row is not None and price is not None:
            parameters |= {name: getattr(fork.parameters, name) for name in row.parameters}
    preimage = json.dumps(
        {"gas": [[value, price] for value, price in static_gas.items()], "parameters": parameters},
        sort_keys=True,
        separators=(",", ":"),
    )
    return CompileRules(opcodes, static_gas, parameters, hashlib.sha256(preimage.encode()).hexdigest())


def opcode_bitmap(opcodes: Iterable[int]) -> str:
    """A set of opcodes as 64 hex digits: bit n of the 256-bit number is opcode n."""
    return f"{sum(1 << value for value in set(opcodes)):064x}"


def opcodes_of_bitmap(bitmap: str) -> frozenset[int]:
    """The inverse of `opcode_bitmap`.  ValueError for anything else."""
    if len(bitmap) != 64:
        raise ValueError("an opcode bitmap has 64 hex digits")
    number = int(bitmap, 16)
    return frozenset(value for value in range(256) if number >> value & 1)
