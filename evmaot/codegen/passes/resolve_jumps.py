"""Pass: classify each jump as static, one of several, invalid or dynamic.

May import: `analysis.jump_targets`, `ir`, `passes.base`.
"""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.analysis.jump_targets import jump_targets
from evmaot.codegen.ir.program import Block, Entry, JumpKind, Program
from evmaot.codegen.passes.base import Pass


def resolve_jumps(program: Program) -> Program:
    """The program with `jump` and `jump_labels` of every block filled in."""
    label_of_pc = {block.pc: block.label for block in program.blocks if block.entry is Entry.JUMPDEST}
    targets = jump_targets(program)

    def resolved(block: Block) -> Block:
        if block.label not in targets:
            return block
        pcs = targets[block.label]
        if pcs is None:
            return replace(block, jump=JumpKind.DYNAMIC)
        labels = tuple(sorted(label_of_pc[pc] for pc in pcs if pc in label_of_pc))
        if not labels:
            return replace(block, jump=JumpKind.INVALID)
        kind = JumpKind.STATIC if len(pcs) == 1 else JumpKind.SEVERAL
        return replace(block, jump=kind, jump_labels=labels)

    return replace(program, blocks=tuple(resolved(block) for block in program.blocks))


PASS = Pass("resolve_jumps", resolve_jumps, needs=("measure_blocks",))
