"""What a caller asks of the runtime, and what it is told.

Job: the values of a look-up.  Invariants: a look-up ends in `Compiled` or `Interpret` with a reason,
never in an exception; a decision to interpret is always right, only slower.
May import: runtime.program.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from evmaot.runtime.program import CompiledProgram


@dataclass(frozen=True, slots=True)
class RuntimeCacheKey:
    """The least that identifies compiled code at run time."""

    code_hash: bytes
    """Keccak-256 of the code, 32 bytes."""
    fork: str
    """Name or alias of the fork whose rules apply."""


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """A key and the code it is of."""

    key: RuntimeCacheKey
    code: bytes


class InterpretReason(Enum):
    """Why a look-up has no compiled program."""

    DISABLED = "disabled"
    INELIGIBLE = "ineligible"
    """This code is never compiled: see `is_eligible`."""
    NOT_READY = "not_ready"
    """Nothing that fits is resident (yet)."""
    JIT_FAILED = "jit_failed"
    """Compiling it failed, and is not tried again for now."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Run this program."""

    program: CompiledProgram


@dataclass(frozen=True, slots=True)
class Interpret:
    """Use an interpreter."""

    reason: InterpretReason


LookupDecision: TypeAlias = Compiled | Interpret
"""What a look-up says."""


def is_eligible(code: bytes, *, limit_bytes: int = 0) -> bool:
    """Whether code is worth a look-up: not empty, not longer than the limit (0: none), not reserved.

    Code that begins with 0xEF is either an EIP-7702 delegation, which is not executed itself, or code
    that EIP-3541 keeps from being deployed.
    """
    return bool(code) and code[0] != 0xEF and (limit_bytes == 0 or len(code) <= limit_bytes)
