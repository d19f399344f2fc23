"""Pass: stack effect and gas sections of each block.

May import: `analysis`, `ir`, `passes.base`.
"""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.analysis.sections import gas_sections
from evmaot.codegen.analysis.stack_height import stack_effect
from evmaot.codegen.ir.program import Program
from evmaot.codegen.passes.base import Pass


def measure_blocks(program: Program) -> Program:
    """The program with `stack` and `charges` of every block filled in."""
    blocks = tuple(
        replace(block, stack=stack_effect(block, program.rules), charges=gas_sections(block, program.rules))
        for block in program.blocks
    )
    return replace(program, blocks=blocks)


PASS = Pass("measure_blocks", measure_blocks)
