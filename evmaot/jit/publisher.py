"""From compiled units to libraries of the store: when, and which together.

Job: collect what is compiled for the store, and decide what is linked together.  Invariants: bounded in number, bytes
and time; units of one profile and in the order of their keys, so that the same set gives the same library as a build.
It belongs to the thread that schedules, and does nothing that blocks.
May import: `evmaot.store.codes`, `evmaot.store.manifest`, `evmaot.runtime.artifacts`, jit.compiler, jit.jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evmaot.jit.compiler import CompileOutput, soname_of
from evmaot.jit.jobs import Job
from evmaot.runtime.artifacts import NewLibrary
from evmaot.store.codes import StoredCode
from evmaot.store.manifest import Member, clean_label, sorted_members

MAX_UNITS: Final = 256
MAX_OBJECT_BYTES: Final = 64 << 20
LONGEST_WAIT_SECONDS: Final = 10.0
"""So long a unit waits for others that are still being compiled."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Jobs whose units are linked and stored together, in the order of their keys."""

    jobs: tuple[Job, ...]

    @property
    def outputs(self) -> tuple[CompileOutput, ...]:
        """What the workers made."""
        return tuple(job.output for job in self.jobs if job.output is not None)


class Publisher:
    """Compiled units that wait to be stored."""

    def __init__(self) -> None:
        self._ready: list[Job] = []
        self._bytes = 0
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, job: Job, now: float) -> None:
        """A job was compiled."""
        if not self._ready:
            self._since = now
        self._ready.append(job)
        self._bytes += _object_bytes(job)

    def due(self, now: float, *, others_are_coming: bool) -> bool:
        """Whether what there is should be stored now."""
        if not self._ready:
            return False
        full = len(self._ready) >= MAX_UNITS or self._bytes >= MAX_OBJECT_BYTES
        return full or not others_are_coming or now - self._since >= LONGEST_WAIT_SECONDS

    @property
    def deadline(self) -> float | None:
        """When `due` becomes true by itself."""
        return self._since + LONGEST_WAIT_SECONDS if self._ready else None

    def take(self) -> list[Bundle]:
        """Everything, by profile; one unit for each key."""
        bundles: dict[str, dict[str, list[Job]]] = {}
        for job in self._ready:
            assert job.output is not None
            unit = job.output.unit
            bundles.setdefault(unit.profile.digest, {}).setdefault(unit.key, []).append(job)
        self.clear()
        return [
            # Two forks that a code can't tell apart: one unit, asked for twice.
            Bundle(tuple(job for key in sorted(by_key) for job in by_key[key]))
            for _, by_key in sorted(bundles.items())
        ]

    def clear(self) -> None:
        """Forget what waits."""
        self._ready, self._bytes = [], 0


def _object_bytes(job: Job) -> int:
    return len(job.output.object_data or b"") if job.output is not None else 0


def distinct(bundle: Bundle) -> list[CompileOutput]:
    """One output for each unit, in the order of their keys."""
    return list({output.unit.key: output for output in bundle.outputs}.values())


def new_library(bundle: Bundle, data: bytes) -> NewLibrary:
    """A linked library with what the store's manifest says of it."""
    outputs = distinct(bundle)
    members = sorted_members(_member(output, bundle.jobs) for output in outputs)
    return NewLibrary(
        data=data,
        soname=soname_of(tuple(output.unit for output in outputs)),
        profile=outputs[0].unit.profile,
        members=tuple(member._replace(slot=slot) for slot, member in enumerate(members)),
        codes=_codes(bundle),
    )


def _codes(bundle: Bundle) -> tuple[StoredCode, ...]:
    """The bytecode of each unit, with all forks that it was compiled for."""
    forks: dict[str, set[str]] = {}
    codes: dict[str, bytes] = {}
    labels: dict[str, str] = {}
    for job in bundle.jobs:
        if job.output is not None:
            forks.setdefault(job.output.unit.key, set()).add(job.pair[1])
            codes[job.output.unit.key] = job.code
            labels[job.output.unit.key] = f"0x{job.output.unit.code_hash.hex()}"
    return tuple(StoredCode(codes[key], tuple(sorted(forks[key])), labels[key]) for key in sorted(codes))


def _member(output: CompileOutput, jobs: Sequence[Job]) -> Member:
    unit = output.unit
    forks = {job.pair[1] for job in jobs if job.output is not None and job.output.unit.key == unit.key}
    return Member(
        code_hash=unit.code_hash.hex(),
        code_sha256=unit.code_sha256.hex(),
        compile_ms=round(sum(unit.phase_seconds.values()) * 1000),
        forks=tuple(sorted(forks)),
        holes=(),
        label=clean_label(f"0x{unit.code_hash.hex()}"),
        length=unit.length,
        opcodes=unit.opcodes,
        rules=unit.rules,
        slot=0,
        symbol=unit.symbol,
    )
