"""What turns code into a library: the compiler, its linker, and the test of what they made, behind one value.

Job: bind profile, compiler, builtins, table, linker and self-test together for one set of options, so that the build
and its tests agree on what a build needs.  Invariants: what runs in worker processes is importable by name and takes
picklable values; LLVM is loaded when something is compiled and not before.  May import: `evmaot.codegen`,
`evmaot.runtime.image`, `evmaot.store.keys`, `evmaot.evm`, `evmaot.abi`, `evmaot.target`,
`evmaot.compiler_version`, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import EntryKey, LibraryTable
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.compiler_version import compiler_digest, installed_llvmlite
from evmaot.errors import LoadError
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.keccak import keccak256
from evmaot.evm.template import Holes
from evmaot.store.keys import Profile
from evmaot.target import refusal


@dataclass(frozen=True, slots=True)
class UnitJob:
    """One code to compile for one set of rules."""

    code: bytes
    rules: CompileRules
    options: CompileOptions
    symbol: str
    holes: Holes = ()
    """Of a template, whose `code` has zero bytes there."""


@dataclass(frozen=True, slots=True)
class UnitOutput:
    """What a worker made of it."""

    object_data: bytes
    code_hash: str
    """Keccak-256 of the code, hex."""
    phase_seconds: dict[str, float] = field(hash=False)


@dataclass(frozen=True, slots=True)
class SelfTestJob:
    """A library that is about to be published."""

    path: str
    profile_digest: str
    keys: frozenset[EntryKey]
    """Exactly the entries that it must have."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Everything that a build calls to make libraries."""

    profile: Profile
    options: CompileOptions
    reachable_opcodes: Callable[[bytes], frozenset[int]]
    compile_function: Callable[[UnitJob], UnitOutput]
    """Runs in a worker process."""
    link: Callable[[LibraryTable, Sequence[bytes], str], bytes]
    """Table, the units' objects and a soname to a library.  Raises LinkError."""
    self_test: Callable[[SelfTestJob], None] | None
    """Runs in a process of its own; None where the library is for another machine.  Raises LoadError."""
    warm_up: Callable[[], object]
    """Does what linking needs in any case; called while the workers compile."""
    preload: tuple[str, ...] = ()
    """Modules that a worker imports before its first job."""
    template_refusal: Callable[[bytes, CompileRules, Holes], str | None] | None = None
    """Why a code can't be a template, None if it can; without this function none is."""
    profile_there: Callable[[], str] | None = None
    """Digest of the profile where it is called: a worker on another machine may have another compiler."""


def toolchain(options: CompileOptions, linker: str = "own") -> Toolchain:
    """The real one.  Raises UsageError ``unknown_linker`` or ``linker_not_found``."""
    from evmaot.codegen.driver import reachable_opcodes, template_refusal

    _require_linker(linker)
    runs_here = refusal(options.target.triple, options.target.features) is None
    return Toolchain(
        profile=profile_of(options, linker),
        options=options,
        reachable_opcodes=reachable_opcodes,
        compile_function=compile_job,
        link=partial(link_library, options, linker),
        self_test=self_test_job if runs_here else None,
        warm_up=partial(_warm_up, options),
        preload=("evmaot.codegen.driver",),
        template_refusal=template_refusal,
        profile_there=partial(_profile_digest, options, linker),
    )


def profile_of(options: CompileOptions, linker: str = "own") -> Profile:
    """The profile that these options compile under."""
    return Profile(
        **_current_versions(),
        triple=options.target.triple,
        cpu=options.target.cpu,
        features=tuple(sorted(options.target.features)),
        tier=options.tier.value,
        linker=linker,
        single_error=options.single_error,
    )


def _profile_digest(options: CompileOptions, linker: str) -> str:
    return profile_of(options, linker).digest


def stale_in(profile: Profile) -> str | None:
    """What of a profile is not of this version: ``abi``, ``llvmlite`` or ``compiler``; None for a current one.

    It is what the runtime asks too (`runtime.loading.profile_refusal`): stale artifacts are passed over unless any
    version is allowed, and a build makes new ones beside them.  Target, tier and linker are choices and no matter here.
    LLVM is not loaded to answer.
    """
    current = {"abi": FINGERPRINT, "llvmlite": installed_llvmlite(), "compiler": compiler_digest()}
    return next((name for name, value in current.items() if value not in (None, getattr(profile, name))), None)


@cache
def _current_versions() -> dict[str, str]:
    from evmaot.codegen.backend.llvm import LLVM_VERSION, LLVMLITE_VERSION

    return {"abi": FINGERPRINT, "llvm": LLVM_VERSION, "llvmlite": LLVMLITE_VERSION, "compiler": compiler_digest()}


def compile_job(job: UnitJob) -> UnitOutput:
    """Compile one unit.  Raises CompileError, CompilerBug."""
    from evmaot.codegen.driver import compile_unit

    unit = compile_unit(job.code, job.rules, job.options, job.symbol, job.holes)
    return UnitOutput(unit.object_data, keccak256(job.code).hex(), unit.phase_seconds)


def link_library(
    options: CompileOptions, linker: str, table: LibraryTable, objects: Sequence[bytes], soname: str
) -> bytes:
    """Link units with the builtins and a table.  Raises LinkError, UsageError."""
    from evmaot.codegen.backend.linker import link
    from evmaot.codegen.backend.llvm import compile_text
    from evmaot.codegen.builtins.module import builtins_object
    from evmaot.codegen.emit.table import table_text

    table_object = compile_text(table_text(table), Tier.FAST, options.target).data
    parts = [builtins_object(options.target), *objects, table_object]
    return link(linker, parts, soname=soname, target=options.target)


def self_test_job(job: SelfTestJob) -> None:
    """Load a library as the runtime does, and compare what it says it is.  Raises LoadError."""
    from evmaot.runtime.image import load_image, open_library

    path = Path(job.path)
    try:
        library = open_library(path)
    except LoadError as error:
        if error.reference != "dlopen_failed":
            raise
        # On a file system that allows no execution (noexec) the library may still be right, and be exported.
        library = load_image(path.read_bytes(), subject=str(path))
    try:
        found = frozenset(library.entries)
        if library.profile_id.hex() != job.profile_digest:
            raise LoadError("profile_other", "the library is of another profile", context={"path": job.path})
        if found != job.keys:
            context = {"path": job.path, "missing": len(job.keys - found), "unexpected": len(found - job.keys)}
            raise LoadError("table_mismatch", "the library does not hold the codes that it should", context=context)
    finally:
        library.close()


def _require_linker(linker: str) -> None:
    from evmaot.codegen.backend.linker import LINKERS
    from evmaot.codegen.backend.system_linker import SYSTEM_LINKERS, find_linker
    from evmaot.errors import UsageError

    if linker not in LINKERS:
        raise UsageError(
            "unknown_linker",
            f"unknown linker {linker!r}",
            context={"linker": linker, "known": list(LINKERS)},
            hint="one of: " + ", ".join(LINKERS),
        )
    if linker in SYSTEM_LINKERS and find_linker(linker) is None:
        raise UsageError(
            "linker_not_found",
            f"the linker {linker!r} is not installed",
            context={"linker": linker},
            hint="install it, or leave out --linker: evmaot links by itself",
        )


def _warm_up(options: CompileOptions) -> None:
    from evmaot.codegen.builtins.module import builtins_object

    builtins_object(options.target)
