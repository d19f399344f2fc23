"""Invariants of a finished program.

Job: find a broken pass before LLVM sees its result.  May import: `ir.program`, errors.
"""

from __future__ import annotations

from itertools import pairwise

from evmaot.codegen.ir.program import Entry, JumpKind, Program
from evmaot.errors import CompilerBug


def verify(program: Program) -> None:
    """Raises CompilerBug where an invariant of `ir.program` does not hold."""
    last_pc = -1
    for position, block in enumerate(program.blocks, 1):
        _require(block.label == position, f"block at pc {block.pc} has label {block.label}, not {position}")
        _require(block.pc >= last_pc, f"blocks are not in order at pc {block.pc}")
        last_pc = block.pc
        for target in (block.falls_to, block.resumes_at, *block.jump_labels):
            _require(target is None or 1 <= target <= len(program.blocks), f"no block has label {target}")
        if block.falls_to is not None:
            entry = program.block(block.falls_to).entry
            _require(entry in (Entry.FALL_THROUGH, Entry.JUMPDEST), f"pc {block.pc} falls through to {entry.value}")
        if block.resumes_at is not None:
            entry = program.block(block.resumes_at).entry
            _require(entry is Entry.RESUME, f"pc {block.pc} resumes at a block of entry {entry.value}")
        _require(
            (block.jump in (JumpKind.STATIC, JumpKind.SEVERAL)) == bool(block.jump_labels), f"jump of pc {block.pc}"
        )
    chained = [label for chain in program.chains for label in chain]
    _require(sorted(chained) == sorted(program.live), "chains do not cover the live blocks once")
    heads = [chain[0] for chain in program.chains]
    _require([head for region in program.regions for head in region] == heads, "regions do not cover the chains")
    jumped_to = program.jumped_to
    for chain in program.chains:
        for before, label in pairwise(chain):
            _require(label not in jumped_to, f"label {label} in the middle of a chain is jumped to")
            _require(program.block(before).falls_to == label, f"label {before} does not fall through to {label}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise CompilerBug(f"invalid program: {what}")
