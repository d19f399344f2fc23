"""Packs compiled again from the bytecode that the store keeps.

Job: the units of a pack, their objects, and the library that these make.  Invariants: the same compiler makes the same
bytes (P5), so a pack of this compiler is compared with them, or replaced by them; a code is believed only if it is
one that the library was made of.  May import: `evmaot.build_packs`, `evmaot.build_inputs`, `evmaot.build_plan`,
`evmaot.build_report`, `evmaot.toolchain`, `evmaot.workers`, `evmaot.store`, `evmaot.evm`, errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from evmaot.build_inputs import Code
from evmaot.build_packs import Ready, link_pack
from evmaot.build_plan import Unit
from evmaot.build_report import DEFAULT_MEMORY_LIMIT_BYTES, DEFAULT_TIMEOUT_SECONDS, UnitReport, UnitStatus
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import CompileError
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.store.codes import StoredCode
from evmaot.store.index import rules_digest
from evmaot.store.keys import Profile, unit_key
from evmaot.toolchain import Toolchain, toolchain
from evmaot.workers import WorkerLimits, WorkerPool


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A pack that was compiled again."""

    library: bytes
    soname: str
    ready: tuple[Ready, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the library, hex."""
        return hashlib.sha256(self.library).hexdigest()


def tools_like(profile: Profile) -> Toolchain:
    """This compiler, with the tier, target and linker of a profile.  Raises UsageError ``linker_not_found``."""
    return toolchain(CompileOptions(Tier(profile.tier), profile.target), profile.linker)


def rebuild(tools: Toolchain, codes: Sequence[StoredCode], *, jobs: int = 1) -> Rebuilt:
    """Compile codes and link them as one pack.

    Raises CompileError with the reason of the first that fails, and LinkError.
    """
    units = {unit.key: unit for unit in (_unit(tools, item) for item in codes)}
    limits = WorkerLimits(DEFAULT_TIMEOUT_SECONDS, DEFAULT_MEMORY_LIMIT_BYTES)
    ready: list[Ready] = []
    waiting = sorted(units.values(), key=lambda unit: len(unit.code.data))
    workers = max(1, min(jobs, len(units)))
    with WorkerPool(tools.compile_function, workers=workers, limits=limits, preload=tools.preload) as pool:
        while waiting or pool.pending:
            while waiting and pool.has_room:
                unit = waiting.pop()
                pool.submit(unit.key, unit.job(tools.options))
            for result in pool.wait():
                if result.failure is not None:
                    failure = result.failure
                    raise CompileError(failure.reason, failure.message, cause=failure.cause, hint=failure.hint)
                ready.append(Ready(units[result.token], result.value))
    ready.sort(key=lambda item: item.unit.key)
    library, soname, _ = link_pack(tools, ready)
    return Rebuilt(library, soname, tuple(ready))


def _unit(tools: Toolchain, item: StoredCode) -> Unit:
    """The unit of a stored code.  Raises CompileError ``unknown_fork`` for a fork of a newer version."""
    if any(fork not in FORKS for fork in item.forks):
        raise CompileError("unknown_fork", f"this version does not know the forks {', '.join(item.forks)}")
    sha256 = item.sha256
    opcodes = opcode_bitmap(tools.reachable_opcodes(item.code))
    rules = rules_digest(FORKS[item.forks[0]], opcodes)
    key = unit_key(tools.profile.digest, rules, sha256, len(item.code), item.holes)
    report = UnitReport(
        unit_key=key,
        code_hash=None,
        code_sha256=sha256,
        code_size_bytes=len(item.code),
        label=item.label,
        labels=(item.label,),
        sources=1,
        heat=1,
        forks=item.forks,
        rules=rules,
        status=UnitStatus.PLANNED,
        holes=item.holes,
    )
    code = Code(item.code, sha256, [item.label], 1, 1, holes=item.holes)
    return Unit(key, code, opcodes, rules, item.forks, report)
