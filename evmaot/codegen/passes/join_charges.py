"""Pass: one charge for a run of blocks that nothing enters in the middle.

Job: where a JUMPDEST that no jump reaches follows a block that always falls through to it, what it charges first is
charged with the last section before it; so 24,576 JUMPDESTs are one charge and not as many branches, which took LLVM
half a millisecond each.  Invariant: a charge moves only backwards over instructions that surely ran or will run, and
never over one behind which gas is observable (sections end there).  May import: `analysis`,
`ir`, `passes.base`.
"""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.analysis.sections import shows_gas
from evmaot.codegen.ir.program import Block, Entry, JumpKind, Program
from evmaot.codegen.passes.base import Pass


def join_charges(program: Program) -> Program:
    """The program with the charges of such blocks moved into the block before."""
    blocks = list(program.blocks)
    jumped_to = program.jumped_to
    # From the end: a charge that came from the block behind moves on with the block's own.
    for index in range(len(blocks) - 1, 0, -1):
        before, block = blocks[index - 1], blocks[index]
        if not block.charges or block.charges[0][0] != 0 or not before.charges:
            continue
        first, gas = before.charges[-1]
        if any(shows_gas(instruction, program.rules) for instruction in before.instructions[first:]):
            continue
        if block.label in program.live and _always_follows(before, block) and block.label not in jumped_to:
            blocks[index - 1] = replace(before, charges=(*before.charges[:-1], (first, gas + block.charges[0][1])))
            blocks[index] = replace(block, charges=block.charges[1:])
    return replace(program, blocks=tuple(blocks))


def _always_follows(before: Block, block: Block) -> bool:
    return (
        block.entry is Entry.JUMPDEST
        and before.falls_to == block.label
        and before.jump is JumpKind.NONE
        and before.resumes_at is None
    )


PASS = Pass("join_charges", join_charges, needs=("measure_blocks", "find_live"))
