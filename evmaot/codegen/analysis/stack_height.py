"""Stack effect of a block.

Job: the words a block needs, its largest growth, its change.  May import: `ir`.
"""

from __future__ import annotations

from evmaot.codegen.ir.program import Block, Entry, StackEffect
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.opcodes import Trait


def stack_effect(block: Block, rules: CompileRules) -> StackEffect:
    """The block's effect; a resume block begins with the result of its call pushed."""
    height = 1 if block.entry is Entry.RESUME else 0
    needs, grows = 0, height
    for instruction in block.instructions:
        row = instruction.row
        if row is None or rules.gas(instruction.opcode) is None:
            break  # halts: nothing behind it counts
        needs = max(needs, row.inputs - height)
        height -= row.inputs
        if not row.has(Trait.SUSPENDS):
            height += row.outputs
        grows = max(grows, height)
    return StackEffect(needs, grows, height)
