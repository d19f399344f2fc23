"""The compiler's own representation: EVM instructions in blocks, with what is known about them.

Job: frozen data that passes read and replace.  Not SSA: LLVM does SSA.  Invariants (checked by
`ir/verifier.py`): blocks are in order of pc; a label is 1 + the block's position; every static
target names a block.  May import: `evmaot.evm`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.opcodes import OPCODES, Opcode


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction."""

    pc: int
    opcode: int
    immediate: int = 0
    """Value of a PUSH, zero-padded at the end of the code (Yellow Paper 9.4.1); 0 for a hole."""
    is_hole: bool = False
    """The immediate is a hole of a template: its value is read from the running code."""

    @property
    def row(self) -> Opcode | None:
        """The opcode's row, None if no fork knows it."""
        return OPCODES[self.opcode]


class Entry(Enum):
    """How control gets to a block."""

    START = "start"
    JUMPDEST = "jumpdest"
    FALL_THROUGH = "fall-through"
    """Only from the block before it: behind a JUMPI, or where a long block was split."""
    RESUME = "resume"
    """Entered again by the driver after a suspension; the result word is pushed first."""


class JumpKind(Enum):
    """What is known of a block's jump."""

    NONE = "none"
    STATIC = "static"
    SEVERAL = "several"
    """One of several known targets; any other value halts."""
    INVALID = "invalid"
    """A known target that is no JUMPDEST: taking the jump halts."""
    DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True)
class StackEffect:
    """In words, relative to the height at the block's start."""

    needs: int = 0
    """Words that must be on the stack."""
    grows: int = 0
    """The largest height above the start inside the block."""
    change: int = 0
    """Height at the end."""


@dataclass(frozen=True, slots=True)
class Block:
    """A control-flow unit: entered at its first instruction, left at its last."""

    label: int
    pc: int
    entry: Entry
    instructions: tuple[Instruction, ...]
    falls_to: int | None = None
    """Label that follows when the last instruction does not end or redirect control; None: implicit STOP."""
    resumes_at: int | None = None
    """Label entered again after a suspension at the last instruction."""
    jump: JumpKind = JumpKind.NONE
    jump_labels: tuple[int, ...] = ()
    """Where the jump can go, if that is known."""
    stack: StackEffect = field(default_factory=StackEffect)
    charges: tuple[tuple[int, int], ...] = ()
    """Sections: (index of the instruction before which it is charged, gas)."""


@dataclass(frozen=True, slots=True)
class Program:
    """A whole code under the rules it can tell apart."""

    code: bytes
    rules: CompileRules
    blocks: tuple[Block, ...]
    live: frozenset[int] = frozenset()
    """Labels that control can reach, as far as is known."""
    chains: tuple[tuple[int, ...], ...] = ()
    """Live labels in runs of which only the first is entered from elsewhere."""
    regions: tuple[tuple[int, ...], ...] = ()
    """Heads of the chains of each region, in order of pc: a region becomes one native function."""
    facts: frozenset[str] = frozenset()
    """Names of the passes that have run."""

    def block(self, label: int) -> Block:
        """The block of that label."""
        return self.blocks[label - 1]

    @property
    def jumped_to(self) -> frozenset[int]:
        """Labels that a live block may jump to."""
        if self.has_dynamic_jump:
            return frozenset(block.label for block in self.blocks if block.entry is Entry.JUMPDEST)
        return frozenset(target for label in self.live for target in self.block(label).jump_labels)

    @property
    def has_dynamic_jump(self) -> bool:
        """Whether any live block jumps to a target that is not known."""
        return any(self.block(label).jump is JumpKind.DYNAMIC for label in self.live)
