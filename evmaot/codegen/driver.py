"""The compiler's driver: every stage on one screen.

Job: code and rules to an object with one entry function.  Invariants: nothing but the arguments
influences the bytes; the stages are the same that `dump` shows.
May import: all of `evmaot.codegen`, errors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from evmaot.codegen.backend import llvm
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.frontend.decode import reachable_opcodes
from evmaot.codegen.frontend.holes import open_code, require_closed
from evmaot.codegen.frontend.lift import lift
from evmaot.codegen.ir.program import Program
from evmaot.codegen.ir.verifier import verify
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.codegen.passes.base import run_pipeline
from evmaot.codegen.passes.pipelines import PIPELINES
from evmaot.compiler_version import compiler_digest
from evmaot.errors import CompileError
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.template import Holes

MAX_CODE_BYTES = 1 << 20
"""Bound on the work of one compilation.  Init code has no limit before EIP-3860, and a state may hold
code longer than EIP-170 allows; what a build accepts is decided by `evmaot.inputs`."""

__all__ = [
    "MAX_CODE_BYTES",
    "CompiledUnit",
    "compile_unit",
    "compiler_digest",
    "plan",
    "reachable_opcodes",
    "template_refusal",
]


@dataclass(frozen=True, slots=True)
class CompiledUnit:
    """One contract under one set of rules, as a relocatable object."""

    object_data: bytes
    symbol: str
    phase_seconds: dict[str, float] = field(hash=False)


def plan(code: bytes, rules: CompileRules, options: CompileOptions, holes: Holes = ()) -> Program:
    """The analysed program: all that emission needs.  Raises CompileError `code_too_long`, `template_refused`."""
    if len(code) > MAX_CODE_BYTES:
        raise CompileError(
            "code_too_long",
            f"code of {len(code)} bytes is longer than {MAX_CODE_BYTES}",
            context={"size_bytes": len(code), "limit_bytes": MAX_CODE_BYTES},
            hint="no transaction can bring code of this length",
        )
    opened = open_code(code, holes)
    program = run_pipeline(lift(opened.code, rules, opened.operands, opened.known_bytes), PIPELINES[options.tier])
    verify(program)
    require_closed(program, opened.known_bytes)
    return program


def template_refusal(code: bytes, rules: CompileRules, holes: Holes) -> str | None:
    """Why a code can't be compiled with its holes open, None if it can: the same for both tiers."""
    try:
        plan(code, rules, CompileOptions(Tier.FAST), holes)
    except CompileError as error:
        return error.message
    return None


def compile_unit(
    code: bytes, rules: CompileRules, options: CompileOptions, symbol: str, holes: Holes = ()
) -> CompiledUnit:
    """Compile a code, or a template of codes that differ in its holes.

    Raises CompileError for the input's fault, CompilerBug for ours.
    """
    start = time.perf_counter()
    program = plan(code, rules, options, holes)
    analysed = time.perf_counter()
    text = module_text(program, symbol, single_error=options.single_error)
    emitted = time.perf_counter()
    compiled = llvm.compile_text(text, options.tier, options.target)
    phases = {
        "analyse": analysed - start,
        "emit": emitted - analysed,
        "parse": compiled.parse_seconds,
        "optimise": compiled.optimise_seconds,
        "codegen": compiled.codegen_seconds,
    }
    return CompiledUnit(compiled.data, symbol, phases)
