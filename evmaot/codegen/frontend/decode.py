"""Bytes to instructions.

Job: one linear sweep; a PUSH takes its immediate bytes with it, so a JUMPDEST byte inside push data
is not an instruction (Yellow Paper 9.4.3).  May import: `ir.program`, `evmaot.evm`.
"""

from __future__ import annotations

from collections.abc import Iterator

from evmaot.codegen.ir.program import Instruction
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES, Trait

_PUSH1, _PUSH32 = BY_MNEMONIC["PUSH1"].value, BY_MNEMONIC["PUSH32"].value
JUMPDEST = BY_MNEMONIC["JUMPDEST"].value
_ENDS = tuple(row is not None and row.has(Trait.TERMINATOR) for row in OPCODES)


def decode(code: bytes) -> Iterator[Instruction]:
    """Every instruction of the code in order, dead ones too."""
    pc, size = 0, len(code)
    while pc < size:
        opcode = code[pc]
        if _PUSH1 <= opcode <= _PUSH32:
            width = opcode - _PUSH1 + 1
            data = code[pc + 1 : pc + 1 + width]
            yield Instruction(pc, opcode, int.from_bytes(data, "big") << (8 * (width - len(data))))
            pc += width + 1
        else:
            yield Instruction(pc, opcode)
            pc += 1


def decode_reachable(code: bytes) -> Iterator[Instruction]:
    """Instructions that are not plainly dead: not behind a terminator without a JUMPDEST between.

    An opcode that some fork does not define does not end a run here, so the answer is the same for
    every fork.
    """
    reachable = True
    for instruction in decode(code):
        reachable = reachable or instruction.opcode == JUMPDEST
        if reachable:
            yield instruction
            reachable = not _ENDS[instruction.opcode]
            # Data behind the last code is often long: 50 KB of it would be decoded for nothing.
            if not reachable and code.find(JUMPDEST, instruction.pc + 1) < 0:
                return


def reachable_opcodes(code: bytes) -> frozenset[int]:
    """The opcodes that decide which of a fork's rules the code can tell apart."""
    return frozenset(instruction.opcode for instruction in decode_reachable(code))
