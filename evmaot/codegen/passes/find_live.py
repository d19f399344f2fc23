"""Pass: which blocks control can reach.

With a dynamic jump among the live blocks, every JUMPDEST is live.  May import: `ir`, `passes.base`.
"""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.ir.program import Block, Entry, JumpKind, Program
from evmaot.codegen.passes.base import Pass


def find_live(program: Program) -> Program:
    """The program with `live` filled in."""
    live: set[int] = set()
    todo = [1]
    dynamic = False
    while todo:
        label = todo.pop()
        if label in live:
            continue
        live.add(label)
        block = program.block(label)
        todo += _successors(block)
        if block.jump is JumpKind.DYNAMIC and not dynamic:
            dynamic = True
            todo += [other.label for other in program.blocks if other.entry is Entry.JUMPDEST]
    return replace(program, live=frozenset(live))


def _successors(block: Block) -> list[int]:
    return [label for label in (block.falls_to, block.resumes_at, *block.jump_labels) if label is not None]


PASS = Pass("find_live", find_live, needs=("resolve_jumps",))
