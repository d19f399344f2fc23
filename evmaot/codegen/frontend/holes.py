"""Templates: which holes of a code can be left open, and where known code ends.

Job: sort holes into *operands* (exactly the immediate of a PUSH: its value is read from the running code)
and *data* (behind all code).  From the first hole that is no operand on, nothing is known of the code, not
even where instructions begin, so control must be proved never to get there: no live instruction reaches
that far, and no jump can go there.  Raises CompileError `template_refused` where that can't be proved: the
code is then compiled without holes.  May import: `frontend.decode`, `analysis.jump_targets`, `ir`,
`evmaot.evm`, errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from evmaot.codegen.analysis.jump_targets import jump_targets
from evmaot.codegen.frontend.decode import decode
from evmaot.codegen.ir.program import Program
from evmaot.errors import CompileError
from evmaot.evm.opcodes import Trait
from evmaot.evm.template import Holes, masked_code


@dataclass(frozen=True, slots=True)
class OpenCode:
    """A code with its holes as the compiler sees it."""

    code: bytes
    """With zero bytes in every hole."""
    operands: frozenset[int]
    """Offsets of PUSH immediates that are holes."""
    known_bytes: int
    """Behind this many bytes nothing is known."""


def open_code(code: bytes, holes: Holes) -> OpenCode:
    """Mask a code and sort its holes."""
    masked = masked_code(code, holes)
    wanted = dict(holes)
    operands: set[int] = set()
    known_bytes = len(code)
    if wanted:
        for instruction in decode(masked):
            start = instruction.pc + 1
            width = instruction.row.immediate_size if instruction.row else 0
            if width and wanted.get(start) == width:
                operands.add(start)
        others = [offset for offset in wanted if offset not in operands]
        known_bytes = min(others, default=len(code))
        # What was decoded behind the first unknown byte may be decoded otherwise in a deployed code.
        operands = {offset for offset in operands if offset < known_bytes}
    return OpenCode(masked, frozenset(operands), known_bytes)


def require_closed(program: Program, known_bytes: int) -> None:
    """Prove that control stays within the known bytes.  Raises CompileError `template_refused`."""
    size_bytes = len(program.code)
    if known_bytes == size_bytes:
        return
    if program.has_dynamic_jump:
        raise _refused("a computed jump might go to what a hole holds", known_bytes)
    targets = jump_targets(program)
    for label in program.live:
        pcs = targets.get(label, frozenset())
        if pcs is None or any(known_bytes <= pc < size_bytes for pc in pcs):
            raise _refused(f"a jump at a pc from {program.block(label).pc} on goes behind a hole", known_bytes)
        block = program.block(label)
        last = block.instructions[-1] if block.instructions else None
        width = last.row.immediate_size if last is not None and last.row is not None else 0
        if last is not None and last.pc + 1 + width > known_bytes:
            raise _refused(f"the instruction at pc {last.pc} has a hole in a part of its operand", known_bytes)
        if block.falls_to is None and block.resumes_at is None and not _ends(program, label):
            raise _refused("code runs into a hole that is no operand", known_bytes)


def _ends(program: Program, label: int) -> bool:
    """Whether the block's last instruction ends the frame or jumps, or is undefined."""
    instructions = program.block(label).instructions
    if not instructions:
        return False
    row = instructions[-1].row
    return row is None or row.has(Trait.TERMINATOR) or program.rules.gas(instructions[-1].opcode) is None


def _refused(what: str, offset: int) -> CompileError:
    return CompileError(
        "template_refused",
        f"the code can't be compiled with its holes open: {what}",
        context={"offset": offset},
        hint="it is compiled as it is: deployments with other values need their own artifacts",
    )
