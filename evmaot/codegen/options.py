"""What a compilation may depend on besides the code and the fork's rules: the whole of it.

Job: frozen options that enter the profile of the artifact key.  Invariant: codegen reads nothing
else (no environment, no host, no clock).  May import: `evmaot.target`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from evmaot.target import Target, host_target


class Tier(str, Enum):
    """How much compile time a contract is worth."""

    FAST = "fast"
    """A function per block, no passes, codegen level 0: the JIT's first answer."""
    OPTIMISED = "optimised"
    """Regions aligned with loops, function O1, codegen level 2: AOT, and the JIT's second answer."""


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Everything besides code and rules that may influence compiled bytes."""

    tier: Tier = Tier.OPTIMISED
    target: Target = field(default_factory=host_target)
    single_error: bool = False
    """Whether every exceptional halt has the status OUT_OF_GAS: they are all one to a caller, who loses the gas."""
