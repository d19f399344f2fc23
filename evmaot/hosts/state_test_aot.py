"""State tests ahead of time: their codes are built into a store, loaded with all checks, and run from there.

Job: `codes_of` says which codes a set of cases starts with, `build_codes` builds them as `evmaot build` does,
`BuiltPrograms` serves them from the store as users' runtimes do.  What a transaction creates on the way is in no
file: it is compiled to complete the case, reported, built, and the case runs again (`hosts.state_test_rounds`).
Invariant: a result counts as ahead of time only if the store had every code that it ran; only codes that a
build rightly refuses (first byte 0xEF, longer than init code may be) are compiled on demand.
May import: `evmaot.build`, `evmaot.toolchain`, `evmaot.runtime`, `evmaot.execution`, hosts.state_tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evmaot.evm.forks import FORKS
from evmaot.execution.programs import JitPrograms, StorePrograms
from evmaot.execution.protocol import delegate_of
from evmaot.hosts.state_tests import CaseKey, StateTest, fork_of_test
from evmaot.inputs.source import ContractSource
from evmaot.runtime.preload import open_runtime

if TYPE_CHECKING:
    from evmaot.codegen.options import CompileOptions
    from evmaot.evm.forks import Fork
    from evmaot.runtime.program import CompiledProgram


@dataclass(frozen=True, slots=True)
class BuiltStore:
    """A store that codes were built into."""

    path: str
    profile: str
    """Digest of the only profile that counts: another tier's code is not what the run is about."""
    refused: frozenset[str] = frozenset()
    """SHA-256 of codes that a build refuses, hex."""
    packs: int = 0
    """Libraries published so far: with more of them a worker loads the store again."""


@dataclass(slots=True)
class BuildOutcome:
    """What building codes came to."""

    packs: int = 0
    compiled: int = 0
    refused: set[str] = field(default_factory=set)
    """SHA-256 of codes that the build refuses, hex."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a code was not built, by SHA-256."""


class BuiltPrograms:
    """Programs of a store, loaded eagerly with all checks; what it lacks is compiled, and noted."""

    def __init__(self, store: BuiltStore, compiler: JitPrograms) -> None:
        resident = open_runtime(store.path, profiles={store.profile})
        self._programs = StorePrograms(resident.lookup)
        self._compiler = compiler
        self._refused = store.refused
        self._missing: set[tuple[bytes, str]] = set()

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        """The program of a code under a fork's rules."""
        program = self._programs.program_for(code, code_hash, fork)
        if program is not None:
            return program
        if hashlib.sha256(code).hexdigest() not in self._refused:
            self._missing.add((code, fork.name))
        return self._compiler.program_for(code, code_hash, fork)

    def take_missing(self) -> tuple[tuple[bytes, str], ...]:
        """Codes, with names of forks, that the store lacked since the last call."""
        missing = tuple(self._missing)
        self._missing.clear()
        return missing


def codes_of(tests: Iterable[StateTest], wants: Callable[[StateTest, CaseKey], bool]) -> dict[str, dict[bytes, str]]:
    """Codes that the wanted cases start with, by fork, with a label: accounts' and init code of transactions."""
    found: dict[str, dict[bytes, str]] = {}
    for test in tests:
        forks = {fork_of_test(key.fork_name) for key in test.cases() if wants(test, key)}
        if not forks:
            continue
        content = test.content
        texts = [account.get("code", "0x") for account in content["pre"].values()]
        if not content["transaction"].get("to"):
            texts += content["transaction"]["data"]
        codes = [bytes.fromhex(text.removeprefix("0x")) for text in texts]
        for fork in forks:
            if fork is not None:
                known = found.setdefault(fork.name, {})
                for code in codes:
                    if code and delegate_of(code) is None:
                        known.setdefault(code, test.id)
    return found


def build_codes(
    path: Path, codes: Mapping[str, Mapping[bytes, str]], options: CompileOptions, jobs: int
) -> BuildOutcome:
    """Build codes (with labels, by fork) into a store.  Raises what `evmaot.build.build` raises."""
    from evmaot.build import BuildRequest, UnitStatus, build
    from evmaot.store.directory import ArtifactDirectory

    outcome = BuildOutcome()
    store = ArtifactDirectory.open(path, create=True)
    for fork, sources in codes.items():
        request = BuildRequest(
            sources=[
                ContractSource(code, label, hashlib.sha256(code).hexdigest()) for code, label in sources.items()
            ],
            forks=(FORKS[fork],),
            options=options,
            jobs=jobs,
        )  # fmt: skip
        report = build(request, store)
        outcome.packs += len(report.packs)
        outcome.refused.update(problem.subject for problem in report.problems)
        for unit in report.units:
            outcome.compiled += unit.status is UnitStatus.COMPILED
            if unit.status is UnitStatus.FAILED:
                outcome.failures[unit.code_sha256] = f"{unit.reason}: {unit.message}"
    return outcome
