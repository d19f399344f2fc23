"""Every stage of a compilation as text.

Job: what `evmaot dump` prints, from the same stages as the driver.  May import: all of
`evmaot.codegen`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from evmaot.codegen.backend import llvm
from evmaot.codegen.driver import plan
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.frontend.decode import decode, reachable_opcodes
from evmaot.codegen.ir.printer import control_flow_graph, instruction_text, program_text
from evmaot.codegen.ir.program import Program
from evmaot.codegen.options import CompileOptions
from evmaot.errors import UsageError
from evmaot.evm.forks import Fork
from evmaot.evm.instruction_set import restrict

SYMBOL = "evmaot_entry"
"""Name of the entry function in dumps; in artifacts it is derived from the unit key."""


def dump(code: bytes, fork: Fork, options: CompileOptions, stage: str) -> str:
    """The text of a stage (see `STAGES`).  Raises UsageError `unknown_stage`, CompileError."""
    if stage not in STAGES:
        raise UsageError(
            "unknown_stage",
            f"unknown stage {stage!r}",
            context={"stage": stage, "known": list(STAGES)},
            hint="one of: " + ", ".join(STAGES),
        )
    return STAGES[stage](code, fork, options)


def _plan(code: bytes, fork: Fork, options: CompileOptions) -> Program:
    return plan(code, restrict(fork, reachable_opcodes(code)), options)


def _bytecode(code: bytes, fork: Fork, _: CompileOptions) -> str:
    return "".join(
        f"{instruction.pc:05x}: {instruction_text(instruction, fork.opcode_gas[instruction.opcode])}\n"
        for instruction in decode(code)
    )


def _program(code: bytes, fork: Fork, options: CompileOptions) -> str:
    return program_text(_plan(code, fork, options))


def _graph(code: bytes, fork: Fork, options: CompileOptions) -> str:
    return control_flow_graph(_plan(code, fork, options))


def _emitted(code: bytes, fork: Fork, options: CompileOptions) -> str:
    return module_text(_plan(code, fork, options), SYMBOL, single_error=options.single_error)


def _optimised(code: bytes, fork: Fork, options: CompileOptions) -> str:
    return llvm.optimised_text(_emitted(code, fork, options), options.tier, options.target)


def _assembly(code: bytes, fork: Fork, options: CompileOptions) -> str:
    return llvm.assembly_text(_emitted(code, fork, options), options.tier, options.target)


STAGES: Mapping[str, Callable[[bytes, Fork, CompileOptions], str]] = MappingProxyType(
    {
        "bytecode": _bytecode,
        "program": _program,
        "cfg": _graph,
        "ir": _emitted,
        "optimised": _optimised,
        "assembly": _assembly,
    }
)
"""Stages in order: mnemonics, planned program, control flow as dot, IR, IR after passes, assembly."""
