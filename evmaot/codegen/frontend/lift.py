"""Instructions to blocks.

Job: cut at JUMPDESTs, jumps, suspensions, undefined opcodes and a length limit.  Invariant: the
result is the same text for the same code and rules.  May import: `frontend.decode`, `ir`.
"""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.frontend.decode import JUMPDEST, decode_reachable
from evmaot.codegen.ir.program import Block, Entry, Instruction, Program
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.opcodes import BY_MNEMONIC, Trait

MAX_BLOCK_INSTRUCTIONS = 256
"""Longer straight runs are split: LLVM's back end is super-linear in the size of a function."""

_JUMPI = BY_MNEMONIC["JUMPI"].value


def lift(
    code: bytes, rules: CompileRules, holes: frozenset[int] = frozenset(), known_bytes: int | None = None
) -> Program:
    """The program of a code; nothing is known yet but its blocks and what falls through to what.

    Of a template: offsets of the PUSH immediates that are holes, and how much of the code is known.
    """
    blocks: list[Block] = []
    run: list[Instruction] = []
    entry = Entry.START
    skipped_to_jumpdest = False
    next_pc = 0

    def close(falls: bool, resumes: bool = False) -> None:
        nonlocal run
        label = len(blocks) + 1
        follower = label + 1
        blocks.append(
            Block(
                label,
                run[0].pc if run else next_pc,
                entry,
                tuple(run),
                falls_to=follower if falls else None,
                resumes_at=follower if resumes else None,
            )
        )
        run = []

    for instruction in decode_reachable(code if known_bytes is None else code[:known_bytes]):
        if instruction.pc + 1 in holes:
            instruction = replace(instruction, is_hole=True)
        if skipped_to_jumpdest and instruction.opcode != JUMPDEST:
            continue  # behind an opcode that this fork does not define
        skipped_to_jumpdest = False
        if instruction.opcode == JUMPDEST and (run or blocks):
            if run or entry in (Entry.FALL_THROUGH, Entry.RESUME):
                close(falls=True)
            entry = Entry.JUMPDEST
        elif len(run) >= MAX_BLOCK_INSTRUCTIONS:
            close(falls=True)
            entry = Entry.FALL_THROUGH
        run.append(instruction)
        next_pc = instruction.pc + 1 + (instruction.row.immediate_size if instruction.row else 0)
        row = instruction.row
        if row is None or rules.gas(instruction.opcode) is None or row.has(Trait.TERMINATOR):
            close(falls=False)
            entry = Entry.JUMPDEST
            skipped_to_jumpdest = True
        elif row.has(Trait.SUSPENDS):
            close(falls=False, resumes=True)
            entry = Entry.RESUME
        elif instruction.opcode == _JUMPI:
            close(falls=True)
            entry = Entry.FALL_THROUGH
    # A code that ends inside a run, or right behind a JUMPI or a suspension, stops there.
    if run or not blocks or entry in (Entry.FALL_THROUGH, Entry.RESUME):
        close(falls=False)
    if blocks[0].instructions and blocks[0].instructions[0].opcode == JUMPDEST:
        blocks = _with_start(blocks)
    return Program(code, rules, tuple(blocks))


def _with_start(blocks: list[Block]) -> list[Block]:
    """Put an empty start block before a code that begins with a JUMPDEST, so that START has one entry."""
    shifted = [
        replace(
            block,
            label=block.label + 1,
            entry=Entry.JUMPDEST if block.label == 1 else block.entry,
            falls_to=block.falls_to + 1 if block.falls_to else None,
            resumes_at=block.resumes_at + 1 if block.resumes_at else None,
        )
        for block in blocks
    ]
    return [Block(1, 0, Entry.START, (), falls_to=2), *shifted]
