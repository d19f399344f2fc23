"""What the workers run: code to a linked library, and objects to one library of many.

Job: the jobs, their results, and `run_job`, which a worker process calls.  Invariants: nothing here keeps state that
decides bytes; the compiler is imported inside the functions, so that the parent can name them without LLVM; a library
leaves the worker only after the worker has read back its table.
May import: `evmaot.runtime`, `evmaot.evm`, `evmaot.abi`, `evmaot.store.keys`, errors; `evmaot.codegen` and
`evmaot.toolchain` inside functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evmaot.abi.layout import FINGERPRINT
from evmaot.errors import CompileError, CompilerBug

if TYPE_CHECKING:
    from evmaot.codegen.options import CompileOptions
    from evmaot.evm.forks import Fork
    from evmaot.evm.instruction_set import CompileRules
    from evmaot.store.keys import Profile

COMPILER_MODULES: Final = ("evmaot.codegen.driver", "evmaot.codegen.builtins.module", "evmaot.codegen.backend.linker")
"""What a worker imports before its first job."""
_SYMBOL_DIGITS: Final = 32
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker does before it does anything else."""

    cpu_count: int = 0
    """CPUs that the workers share; 0: all."""
    is_polite: bool = True
    """Whether it gives way to programs that want the CPU."""


@dataclass(frozen=True, slots=True)
class WarmUpJob:
    """Make what every compilation needs."""

    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class WarmUpOutput:
    """The helpers of compiled code as an object: 1 second of LLVM that is paid once and not by each worker."""

    builtins_object: bytes


@dataclass(frozen=True, slots=True)
class CompileJob:
    """Compile one code under the rules of a fork."""

    code: bytes
    code_hash: bytes
    """What the caller says is its keccak-256; compared."""
    fork: str
    gas_params: tuple[tuple[str, int], ...]
    tier: str
    single_error: bool
    wants_object: bool
    """Whether the object is to be linked into a larger library."""
    is_checked: bool
    """Compile twice, and load what was made."""
    dump_directory: str | None
    builtins_object: bytes | None
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class KeyJob:
    """Find the unit key that a compilation would have."""

    code: bytes
    code_hash: bytes
    fork: str
    gas_params: tuple[tuple[str, int], ...]
    tier: str
    single_error: bool
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class KeyOutput:
    """What became of a `KeyJob`."""

    unit_key: str


@dataclass(frozen=True, slots=True)
class Unit:
    """One compiled code, as a part of libraries."""

    code_hash: bytes
    code_sha256: bytes
    length: int
    rules: str
    opcodes: str
    """Bitmap, hex."""
    symbol: str
    key: str
    """Unit key, hex."""
    profile: Profile
    phase_seconds: dict[str, float] = field(hash=False)


@dataclass(frozen=True, slots=True)
class CompileOutput:
    """What became of a `CompileJob`."""

    unit: Unit
    library: bytes
    """Linked, with this unit alone."""
    code_size_bytes: int
    """Of the library, what is executable."""
    object_data: bytes | None
    builtins_object: bytes | None
    """If this worker had to make them."""


@dataclass(frozen=True, slots=True)
class LinkJob:
    """Link units to one library."""

    units: tuple[Unit, ...]
    objects: tuple[bytes, ...]
    builtins_object: bytes | None
    surroundings: Surroundings


Job = WarmUpJob | KeyJob | CompileJob | LinkJob


def run_job(job: Job) -> WarmUpOutput | KeyOutput | CompileOutput | bytes:
    """Do one job; called in a worker process.  Raises CompileError, LinkError, LoadError, CompilerBug."""
    _settle(job.surroundings)
    if isinstance(job, WarmUpJob):
        from evmaot.codegen.options import CompileOptions

        return WarmUpOutput(_builtins_object(CompileOptions(), None))
    if isinstance(job, LinkJob):
        return link_units(job.units, job.objects, job.builtins_object)
    if isinstance(job, KeyJob):
        return KeyOutput(_identity(job).unit_key)
    return compile_code(job)


@dataclass(frozen=True, slots=True)
class _Identity:
    """What a code is compiled as."""

    options: CompileOptions
    fork: Fork
    rules: CompileRules
    opcodes: frozenset[int]
    profile: Profile
    code_sha256: bytes
    unit_key: str


def _identity(job: CompileJob | KeyJob) -> _Identity:
    """Raises CompileError ``code_hash_mismatch``."""
    from evmaot.codegen.driver import reachable_opcodes
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import FORKS
    from evmaot.evm.instruction_set import restrict
    from evmaot.execution.hashing import keccak256
    from evmaot.runtime.schedule import with_gas_params
    from evmaot.store.keys import unit_key
    from evmaot.toolchain import profile_of

    if keccak256(job.code) != job.code_hash:
        raise CompileError(
            "code_hash_mismatch",
            "the code does not have the hash that it was asked for with",
            context={"code_hash": job.code_hash.hex(), "size_bytes": len(job.code)},
            hint="a code hash is the keccak-256 of the code",
        )
    options = CompileOptions(tier=Tier(job.tier), single_error=job.single_error)
    fork = with_gas_params(FORKS[job.fork], job.gas_params)
    opcodes = reachable_opcodes(job.code)
    rules = restrict(fork, opcodes)
    profile = profile_of(options)
    code_sha256 = hashlib.sha256(job.code).digest()
    key = unit_key(profile.digest, rules.digest, code_sha256.hex(), len(job.code))
    return _Identity(options, fork, rules, opcodes, profile, code_sha256, key)


def compile_code(job: CompileJob) -> CompileOutput:
    """Compile, link and check one code."""
    from evmaot.codegen.driver import compile_unit
    from evmaot.evm.instruction_set import opcode_bitmap

    start = time.perf_counter()
    identity = _identity(job)
    options, rules = identity.options, identity.rules
    symbol = f"u_{identity.unit_key[:_SYMBOL_DIGITS]}"
    prepared = time.perf_counter()
    if job.dump_directory is not None:
        _dump(Path(job.dump_directory), job, identity.fork, options)
    made = compile_unit(job.code, rules, options, symbol)
    if job.is_checked and compile_unit(job.code, rules, options, symbol).object_data != made.object_data:
        raise CompilerBug("compiled twice, the same code gave different bytes")
    phases = dict(made.phase_seconds)
    phases["analyse"] += prepared - start
    phases["emit"] += phases.pop("parse")
    unit = Unit(
        code_hash=job.code_hash,
        code_sha256=identity.code_sha256,
        length=len(job.code),
        rules=rules.digest,
        opcodes=opcode_bitmap(identity.opcodes),
        symbol=symbol,
        key=identity.unit_key,
        profile=identity.profile,
        phase_seconds=phases,
    )
    linking = time.perf_counter()
    builtins_object = _builtins_object(options, job.builtins_object)
    library = link_units((unit,), (made.object_data,), builtins_object)
    if job.is_checked:
        _load_here(library)
    phases["link"] = time.perf_counter() - linking
    return CompileOutput(
        unit=unit,
        library=library,
        code_size_bytes=_checked(library, (unit,)),
        object_data=made.object_data if job.wants_object else None,
        builtins_object=None if job.builtins_object is not None else builtins_object,
    )


def link_units(units: tuple[Unit, ...], objects: tuple[bytes, ...], builtins_object: bytes | None) -> bytes:
    """One library of units of one profile, checked.  Raises LinkError, CompilerBug."""
    from evmaot.abi.library import LibraryTable, TableEntry
    from evmaot.codegen.backend.linker import link
    from evmaot.codegen.backend.llvm import compile_text
    from evmaot.codegen.emit.table import table_text
    from evmaot.codegen.options import CompileOptions, Tier

    profile = units[0].profile
    options = CompileOptions(tier=Tier(profile.tier))
    entries = tuple(TableEntry(unit.code_sha256, bytes.fromhex(unit.rules), unit.symbol) for unit in units)
    table = LibraryTable(bytes.fromhex(FINGERPRINT), bytes.fromhex(profile.digest), entries)
    table_object = compile_text(table_text(table), Tier.FAST, options.target).data
    parts = [_builtins_object(options, builtins_object), *objects, table_object]
    library = link(profile.linker, parts, soname=soname_of(units), target=options.target)
    _checked(library, units)
    return library


def soname_of(units: tuple[Unit, ...]) -> str:
    """The name of a library of these units: the same units give the same name, as in a build."""
    return f"evmaot-{hashlib.sha256(''.join(unit.key for unit in units).encode()).hexdigest()[:16]}.so"


def _checked(library: bytes, units: tuple[Unit, ...]) -> int:
    """Size of the executable part of a library that keeps the rules and holds exactly these units."""
    from evmaot.abi import elf
    from evmaot.abi.library import parse_table
    from evmaot.store.elf_rules import read_layout
    from evmaot.target import host_target

    layout = read_layout(library, architecture=host_target().architecture)
    if isinstance(layout, str):
        raise CompilerBug(f"a linked library breaks the rule {layout!r}")
    table = parse_table(library[layout.table_offset : layout.table_offset + layout.table_size_bytes])
    found = {(code_sha256, rules) for code_sha256, rules, _ in table}
    if found != {(unit.code_sha256, bytes.fromhex(unit.rules)) for unit in units}:
        raise CompilerBug("a linked library does not hold the units that it was linked from")
    return sum(part.file_bytes for part in layout.segments if part.flags & elf.PF_X)


def _load_here(library: bytes) -> None:
    """Map the library in this worker as the parent will: if that crashes, it costs this job."""
    from evmaot.runtime.image import load_image

    load_image(library).close()


_remembered_builtins: dict[str, bytes] = {}


def _builtins_object(options: CompileOptions, given: bytes | None) -> bytes:
    from evmaot.codegen.builtins.module import builtins_object

    if given is not None:
        _remembered_builtins[options.target.triple] = given
    return _remembered_builtins.get(options.target.triple) or builtins_object(options.target)


def _dump(directory: Path, job: CompileJob, fork: Fork, options: CompileOptions) -> None:
    from evmaot.codegen.dump import STAGES, dump

    folder = directory / job.fork / f"0x{job.code_hash.hex()}"
    folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        (folder / f"{options.tier.value}.{stage}.txt").write_text(dump(job.code, fork, options, stage), "utf-8")


_settled: list[Surroundings] = []


def _settle(surroundings: Surroundings) -> None:
    """Once for each worker: which CPUs, and how eagerly."""
    if _settled:
        return
    _settled.append(surroundings)
    # A system that allows neither is no reason not to compile.
    with contextlib.suppress(OSError, AttributeError):
        if surroundings.cpu_count:
            # The last ones: programs that choose for themselves begin with the first.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-surroundings.cpu_count :])
    with contextlib.suppress(OSError):
        if surroundings.is_polite:
            os.nice(_NICENESS)
