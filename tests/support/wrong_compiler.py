"""A compiler that is wrong about one opcode: what it makes is published under the right keys."""

from __future__ import annotations

from dataclasses import replace

from evmaot.codegen.options import CompileOptions
from evmaot.evm.keccak import keccak256
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.toolchain import Toolchain, UnitJob, UnitOutput, compile_job, toolchain


def compile_wrongly(job: UnitJob) -> UnitOutput:
    """Compile every ADD as if it were SUB; the artifact says that it is of the code as it is.

    The code must have a SUB already, because rules are of the opcodes that occur, and no 1 as an operand.
    """
    wrong = job.code.replace(bytes([BY_MNEMONIC["ADD"].value]), bytes([BY_MNEMONIC["SUB"].value]))
    made = compile_job(replace(job, code=wrong))
    return replace(made, code_hash=keccak256(job.code).hex())


def wrong_toolchain(options: CompileOptions) -> Toolchain:
    """The real one with that compiler."""
    return replace(toolchain(options), compile_function=compile_wrongly)
