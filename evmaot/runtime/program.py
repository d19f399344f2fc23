"""`CompiledProgram`: an entry address and what keeps it callable.

Job: one compiled contract under one set of rules, and the function objects that enter it.
Invariants: a program never changes; whoever holds it may call it, because it holds its backing (the
loaded library or image); evicting it elsewhere does not unmap it.
May import: `evmaot.abi`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evmaot.abi.status import Status
    from evmaot.runtime.frame import Frame

# Both prototypes are without argument types on purpose: `Frame` passes an argument that it converted
# once (`ctypes.c_void_p.from_param`), which saves 30 of 125 ns a call.
_HOLDING = ctypes.PYFUNCTYPE(ctypes.c_int32)
_RELEASING = ctypes.CFUNCTYPE(ctypes.c_int32)


class ProgramKind(Enum):
    """Where a compiled program came from."""

    AOT = "aot"
    """Loaded from an artifact store."""
    JIT = "jit"
    """Compiled in this process's lifetime."""


class CompiledProgram:
    """Native code for one contract code under one set of fork rules.

    `address` is that of ``int32 entry(Frame *)``; `code_sha256`, `code_hash` (keccak-256) and
    `rules_digest` are 32 bytes each; `tier` is ``fast`` or ``optimised``; `size_bytes` is this program's
    share of its library; `backing` is the loaded library or image.
    """

    __slots__ = (
        "__weakref__",
        "_holding",
        "_releasing",
        "address",
        "backing",
        "code_hash",
        "code_sha256",
        "kind",
        "rules_digest",
        "size_bytes",
        "tier",
    )

    def __init__(
        self,
        address: int,
        code_sha256: bytes,
        code_hash: bytes,
        rules_digest: bytes,
        *,
        kind: ProgramKind,
        tier: str,
        size_bytes: int,
        backing: object,
    ) -> None:
        # SAFETY: the caller vouches that `address` is an entry function of this ABI fingerprint, and that
        # it stays mapped while `backing` lives.
        self.address = address
        self.code_sha256 = code_sha256
        self.code_hash = code_hash
        self.rules_digest = rules_digest
        self.kind = kind
        self.tier = tier
        self.size_bytes = size_bytes
        self.backing = backing
        self._holding: Callable[[object], int] | None = None
        self._releasing: Callable[[object], int] | None = None

    # Function objects are made at the first call: a preload of 10,000 programs calls few of them.

    def entry_holding(self) -> Callable[[object], int]:
        """The entry as a function of a converted frame address that keeps the interpreter lock."""
        entry = self._holding
        if entry is None:
            entry = self._holding = _HOLDING(self.address)
        return entry

    def entry_releasing(self) -> Callable[[object], int]:
        """The same; the interpreter lock is released while native code runs."""
        entry = self._releasing
        if entry is None:
            entry = self._releasing = _RELEASING(self.address)
        return entry

    def call(self, frame: Frame) -> Status:
        """Run a started or resumed frame until it ends or suspends; the same as ``frame.run(program)``."""
        return frame.run(self)

    def __repr__(self) -> str:
        return (
            f"CompiledProgram(0x{self.code_hash.hex()}, rules={self.rules_digest.hex()[:16]}, "
            f"{self.kind.value}, {self.tier}, {self.size_bytes} bytes)"
        )
