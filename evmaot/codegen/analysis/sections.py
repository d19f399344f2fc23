"""Gas sections of a block: runs that are charged once.

Job: where static gas is charged.  A section ends behind GAS and behind an SSTORE that looks at the
gas left (EIP-2200): charging what follows would be visible there.  Calls and creates end blocks.
Charging early is otherwise invisible: every fault of a frame consumes all of its gas and reverts
it.  May import: `ir`.
"""

from __future__ import annotations

from evmaot.codegen.ir.program import Block, Instruction
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.opcodes import BY_MNEMONIC

_GAS, _SSTORE = BY_MNEMONIC["GAS"].value, BY_MNEMONIC["SSTORE"].value


def gas_sections(block: Block, rules: CompileRules) -> tuple[tuple[int, int], ...]:
    """(index of the instruction before which the section is charged, gas) for each section."""
    sections: list[tuple[int, int]] = []
    start, total = 0, 0
    for index, instruction in enumerate(block.instructions):
        gas = rules.gas(instruction.opcode)
        if gas is None:
            break  # undefined: halts and takes all gas
        total += gas
        if shows_gas(instruction, rules):
            sections.append((start, total))
            start, total = index + 1, 0
    sections.append((start, total))
    return tuple((index, gas) for index, gas in sections if gas)


def shows_gas(instruction: Instruction, rules: CompileRules) -> bool:
    """Whether an instruction that does not end its block looks at the gas left: nothing behind it is charged before.

    An SSTORE's own price is in its schedule, paid by the helper behind the sentry's look (EIP-2200).
    """
    return instruction.opcode == _GAS or (instruction.opcode == _SSTORE and bool(rules["sstore_sentry"]))
