"""Jump targets: what every JUMP and JUMPI of a program can reach.

Job: an abstract interpretation of the stack over the whole control flow, from the empty stack on.  A
word is a set of at most MAX_TARGETS constants, or unknown.  The state is kept for each block *and
context*: the return addresses on the stack, by position.  Compilers return from internal functions by
jumping to an address that the caller pushed; without contexts, calls of a function from two places
would return into each other's callers.  Where paths meet in one context, words unite.
Soundness: a path that needs a word below the bottom underflows and halts.  Where a jump's target is
unknown, or a bound is reached (height, visits), the whole answer is what single blocks tell.
May import: `ir`, `evmaot.evm`.
"""

from __future__ import annotations

from collections.abc import Mapping

from evmaot.codegen.ir.program import Block, Entry, Program
from evmaot.evm.opcodes import Opcode, Trait
from evmaot.evm.semantics import PURE_FUNCTIONS

Word = frozenset[int] | None
"""Constants that a word may be; None: unknown."""
Stack = tuple[Word, ...]
"""Words from the bottom up."""

Place = tuple[int, tuple[object, ...]]
"""A label, the stack's height, and the topmost return addresses with their positions."""

CONTEXT_ADDRESSES = 4
MAX_TARGETS = 64
MAX_HEIGHT = 256
VISITS_PER_BLOCK = 15

_FOLDED = frozenset(("ADD", "SUB", "AND", "OR", "XOR", "NOT", "SHL", "SHR", "ISZERO"))
_PUSH0, _PUSH32 = 0x5F, 0x7F
_DUP1, _DUP16, _SWAP1, _SWAP16 = 0x80, 0x8F, 0x90, 0x9F
_PC, _JUMP, _JUMPI = 0x58, 0x56, 0x57


def jump_targets(program: Program) -> Mapping[int, Word]:
    """For each block that ends in a jump and may be reached, by label: its possible targets."""
    flow = _Flow(program)
    if flow.run():
        return flow.targets
    return {block.label: _local_target(block) for block in program.blocks if _ends_in_jump(block)}


def _ends_in_jump(block: Block) -> bool:
    return bool(block.instructions) and block.instructions[-1].opcode in (_JUMP, _JUMPI)


def _local_target(block: Block) -> Word:
    """The operand of the block's jump, above words of which nothing is known."""
    padding = (None,) * (block.stack.needs + 1)
    ends = _run_block(block, padding)
    return ends[1] if ends is not None else None


def _run_block(block: Block, entry: Stack) -> tuple[Stack, Word] | None:
    """The stack after a block, and the operand of its final jump; None where it underflows."""
    stack = list(entry)
    if block.entry is Entry.RESUME:
        stack.append(None)
    for instruction in block.instructions:
        opcode, row = instruction.opcode, instruction.row
        if row is None or len(stack) < row.inputs:
            return None
        if _PUSH0 <= opcode <= _PUSH32:
            stack.append(None if instruction.is_hole else frozenset((instruction.immediate,)))
        elif _DUP1 <= opcode <= _DUP16:
            stack.append(stack[_DUP1 - opcode - 1])
        elif _SWAP1 <= opcode <= _SWAP16:
            other = _SWAP1 - opcode - 2
            stack[-1], stack[other] = stack[other], stack[-1]
        elif opcode in (_JUMP, _JUMPI):
            operand = stack[-1]
            del stack[-row.inputs :]
            return tuple(stack), operand
        else:
            result = frozenset((instruction.pc,)) if opcode == _PC else _folded(row, stack)
            if row.inputs:
                del stack[-row.inputs :]
            if not row.has(Trait.SUSPENDS):
                stack += [result] * row.outputs
    return tuple(stack), None


def _folded(row: Opcode, stack: list[Word]) -> Word:
    """The result of a pure operation on single constants (solc masks function pointers by AND)."""
    if row.mnemonic not in _FOLDED:
        return None
    numbers: list[int] = []
    for word in reversed(stack[-row.inputs :]):
        if word is None or len(word) != 1:
            return None
        numbers += word
    return frozenset((PURE_FUNCTIONS[row.mnemonic](*numbers),))


class _Flow:
    """The fixed point: entry stacks by label and context."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.targets: dict[int, Word] = {}
        self._label_of_pc = {b.pc: b.label for b in program.blocks if b.entry is Entry.JUMPDEST}
        self._entries: dict[Place, Stack] = {}
        self._todo: list[Place] = []

    def run(self) -> bool:
        """False where a jump is unknown or a bound is reached."""
        self._reach(1, ())
        for _ in range(VISITS_PER_BLOCK * len(self.program.blocks) + 100):
            if not self._todo:
                return True
            if not self._visit(self._todo.pop()):
                return False
        return False

    def _visit(self, place: Place) -> bool:
        block = self.program.block(place[0])
        ends = _run_block(block, self._entries[place])
        if ends is None:
            return True
        stack, operand = ends
        if len(stack) > MAX_HEIGHT:
            return False
        if _ends_in_jump(block):
            if operand is None:
                return False
            self.targets[block.label] = operand | (self.targets.get(block.label) or frozenset())
            for pc in operand:
                if pc in self._label_of_pc:
                    self._reach(self._label_of_pc[pc], stack)
        for label in (block.falls_to, block.resumes_at):
            if label is not None:
                self._reach(label, stack)
        return True

    def _address(self, word: Word) -> int:
        """The JUMPDEST that a word is the address of, or 0."""
        if word is not None and len(word) == 1:
            (number,) = word
            if number in self._label_of_pc:
                return number
        return 0

    def _reach(self, label: int, stack: Stack) -> None:
        addresses = [(height, pc) for height, word in enumerate(stack) if (pc := self._address(word))]
        place = (label, (len(stack), *addresses[-CONTEXT_ADDRESSES:]))
        known = self._entries.get(place)
        joined = stack if known is None else _join(known, stack)
        if joined != known:
            self._entries[place] = joined
            self._todo.append(place)


def _join(a: Stack, b: Stack) -> Stack:
    return a if a == b else tuple(_unite(x, y) for x, y in zip(a, b, strict=True))


def _unite(a: Word, b: Word) -> Word:
    if a is None or b is None or a == b:
        return a if a == b else None
    union = a | b
    return union if len(union) <= MAX_TARGETS else None
