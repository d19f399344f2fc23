"""Lowerings: what each opcode becomes, one file per opcode family (EELS names).

Job: the table from mnemonic to lowering, and the folding of pure operations on constants.
May import: the files of this folder, `evmaot.evm.semantics`, `codegen.ir`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from evmaot.codegen.emit.lowerings import (
    arithmetic,
    bitwise,
    block,
    comparison,
    control_flow,
    environment,
    keccak,
    log,
    memory,
    stack,
    storage,
    system,
)
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant
from evmaot.codegen.ir.program import Block, Instruction
from evmaot.errors import CompilerBug
from evmaot.evm.semantics import PURE_FUNCTIONS

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        **arithmetic.LOWERINGS,
        **bitwise.LOWERINGS,
        **block.LOWERINGS,
        **comparison.LOWERINGS,
        **control_flow.LOWERINGS,
        **environment.LOWERINGS,
        **keccak.LOWERINGS,
        **log.LOWERINGS,
        **memory.LOWERINGS,
        **stack.LOWERINGS,
        **storage.LOWERINGS,
        **system.LOWERINGS,
    }
)
"""Lowering by mnemonic."""


def lower(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
    """Emit one instruction."""
    row = instruction.row
    if row is None or row.mnemonic not in LOWERINGS:
        raise CompilerBug(f"no lowering for opcode 0x{instruction.opcode:02x}")
    function = PURE_FUNCTIONS.get(row.mnemonic)
    if function is not None:
        operands = [emitter.stack.peek_constant(depth) for depth in range(row.inputs)]
        numbers = [number for number in operands if number is not None]
        if len(numbers) == row.inputs:
            # EXP is charged by its exponent's length before the operands are gone.
            if row.mnemonic == "EXP":
                emitter.charge(arithmetic.exponent_gas(emitter, numbers[1]))
            for _ in numbers:
                emitter.stack.drop()
            emitter.stack.push(Constant(function(*numbers)))
            return
    LOWERINGS[row.mnemonic](emitter, instruction, block)
