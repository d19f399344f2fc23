"""Analysed programs for tests of the compiler's stages."""

from __future__ import annotations

from evmaot.codegen.driver import plan
from evmaot.codegen.frontend.decode import reachable_opcodes
from evmaot.codegen.frontend.lift import lift
from evmaot.codegen.ir.program import Program
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import CompileRules, restrict
from tests.support.assembler import asm


def rules_of(code: bytes, fork: str = "osaka") -> CompileRules:
    """The rules of a fork that a code can tell apart."""
    return restrict(FORKS[fork], reachable_opcodes(code))


def lifted(text: str, fork: str = "osaka") -> Program:
    """Blocks, and nothing known of them."""
    code = asm(text)
    return lift(code, rules_of(code, fork))


def planned(text: str, fork: str = "osaka", tier: Tier = Tier.OPTIMISED) -> Program:
    """All that emission needs."""
    code = asm(text)
    return plan(code, rules_of(code, fork), CompileOptions(tier))


SAMPLES = {
    "branch_and_loop": "5 loop: DUP1 ISZERO @done JUMPI 1 SWAP1 SUB @loop JUMP done: 0 MSTORE 32 0 RETURN",
    "function_called_twice": (
        "@one 7 @double JUMP one: @two SWAP1 @double JUMP two: 0 MSTORE 32 0 RETURN double: DUP1 ADD SWAP1 JUMP"
    ),
    "call_and_resume": "0 0 32 0 1 CALLER 5000 CALL @good JUMPI 0 0 REVERT good: RETURNDATASIZE 0 RETURN",
    "computed_jump": "0 CALLDATALOAD JUMP a: 1 STOP b: 2 STOP INVALID c: STOP",
    "gas_sections": "1 0 SSTORE CALLER GAS ADD 0 SLOAD 1 ADD 0 SSTORE GAS GAS 0 SELFDESTRUCT",
    "odd_ends": "0 CALLDATALOAD @x JUMPI x0c 1 2 ADD y: STOP ADD x: PUSH0 x7fff",
}
"""Small codes for golden text: the name of a golden file, and mnemonics."""
