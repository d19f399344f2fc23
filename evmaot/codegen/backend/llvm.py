"""LLVM IR text to object bytes: the only user of llvmlite.

Job: parse, verify, optimise and emit one module.  Invariants: the same text and options give the
same bytes in any process; no process-wide LLVM option is ever set.  llvmlite has one global lock,
so callers that want parallelism use processes.  May import: `evmaot.codegen.options`, errors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from evmaot.codegen.options import Tier
from evmaot.errors import CompilerBug
from evmaot.target import Target, host_target

LLVM_VERSION: str = ".".join(str(part) for part in llvm.llvm_version_info)
LLVMLITE_VERSION: str = llvmlite.__version__

CODEGEN_LEVEL = {Tier.FAST: 0, Tier.OPTIMISED: 2}


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """A relocatable ELF object and what it cost, in seconds of wall time."""

    data: bytes
    parse_seconds: float
    optimise_seconds: float
    codegen_seconds: float


@cache
def _machine(target: Target, level: int) -> llvm.TargetMachine:
    if target.architecture == host_target().architecture:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, opt=level, reloc="pic", codemodel="small"
    )


def _parse(text: str, target: Target) -> llvm.ModuleRef:
    header = f'target triple = "{target.triple}"\ntarget datalayout = "{data_layout(target)}"\n'
    try:
        # A context per module: the global one keeps every type and constant for ever.
        module = llvm.parse_assembly(header + text, llvm.create_context())
        module.verify()
    except RuntimeError as error:
        raise CompilerBug(f"LLVM refused emitted IR: {error}") from error
    return module


@cache
def data_layout(target: Target) -> str:
    """LLVM's data layout string of the target."""
    return str(_machine(target, 2).target_data)


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_interleaving = False
    tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    manager = builder.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            manager.run(function, builder)


def compile_text(text: str, tier: Tier, target: Target) -> ObjectCode:
    """Compile a module's text (without triple and layout) to an object.  Raises CompilerBug."""
    machine = _machine(target, CODEGEN_LEVEL[tier])
    start = time.perf_counter()
    module = _parse(text, target)
    parsed = time.perf_counter()
    if tier is Tier.OPTIMISED:
        _optimise(module, machine)
    optimised = time.perf_counter()
    data: bytes = machine.emit_object(module)
    done = time.perf_counter()
    return ObjectCode(data, parsed - start, optimised - parsed, done - optimised)


def assembly_text(text: str, tier: Tier, target: Target) -> str:
    """The same as assembly."""
    machine = _machine(target, CODEGEN_LEVEL[tier])
    module = _parse(text, target)
    if tier is Tier.OPTIMISED:
        _optimise(module, machine)
    return str(machine.emit_assembly(module))


def optimised_text(text: str, tier: Tier, target: Target) -> str:
    """The same as LLVM IR after the passes of the tier."""
    machine = _machine(target, CODEGEN_LEVEL[tier])
    module = _parse(text, target)
    if tier is Tier.OPTIMISED:
        _optimise(module, machine)
    return str(module)
