"""Compiled units to a published pack: link, check, test in another process, store.

Job: make one library of units and publish it.  Invariants: the same units under the same profile give the same bytes
in any store; a unit that makes its library fail costs itself and not its pack.  May import: `evmaot.build_plan`,
`evmaot.build_report`, `evmaot.toolchain`, `evmaot.workers`, `evmaot.store`, `evmaot.abi`, errors.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from evmaot.abi.library import TABLE_SYMBOL, LibraryTable, TableEntry
from evmaot.build_plan import Unit
from evmaot.build_report import BuildRequest, PackReport
from evmaot.errors import CompilerBug, EvmaotError, LinkError, LoadError, StoreError
from evmaot.store.codes import StoredCode
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest, clean_label, sorted_members
from evmaot.store.publication import NewPack
from evmaot.toolchain import SelfTestJob, Toolchain, UnitOutput
from evmaot.version import VERSION
from evmaot.workers import WorkerLimits, WorkerPool

_SELF_TEST_LIMITS: Final = WorkerLimits(timeout_seconds=60.0, memory_limit_bytes=4 << 30)


@dataclass(frozen=True, slots=True)
class Ready:
    """A unit that was compiled."""

    unit: Unit
    output: UnitOutput


@dataclass(frozen=True, slots=True)
class Refused:
    """A unit whose object makes no good library."""

    unit: Unit
    error: EvmaotError


@dataclass(frozen=True, slots=True)
class PublishedPack:
    """A pack that is in the store now."""

    report: PackReport
    manifest_path: Path
    units: tuple[Unit, ...]


class Publisher:
    """Publishes packs for one build; a context manager, for the process that tests them."""

    def __init__(
        self, request: BuildRequest, tools: Toolchain, store: ArtifactDirectory, *, replaces_members: bool = False
    ) -> None:
        """`replaces_members`: as `NewPack` has it."""
        self._replaces_members = replaces_members
        self._request = request
        self._tools = tools
        self._store = store
        self._tester: WorkerPool | None = None
        self._origin = Origin("build", f"evmaot {VERSION}", clean_label(os.uname().nodename))

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._tester is not None:
            self._tester.close()

    def publish(self, ready: Sequence[Ready]) -> tuple[list[PublishedPack], list[Refused]]:
        """Publish units as one pack; as several, and some not at all, where one would not link or load.

        Raises StoreError where the store can't be written.
        """
        ordered = sorted(ready, key=lambda item: item.unit.key)
        try:
            return [self._publish(ordered)], []
        except (LinkError, LoadError, StoreError) as error:
            if isinstance(error, StoreError) and not error.reference.startswith("elf_rule:"):
                raise
            if len(ordered) == 1:
                return [], [Refused(ordered[0].unit, error)]
        # Halves of halves lead to the one that is wrong; what is right is stored on the way.
        middle = len(ordered) // 2
        first, second = self.publish(ordered[:middle]), self.publish(ordered[middle:])
        return first[0] + second[0], first[1] + second[1]

    def _publish(self, ready: Sequence[Ready]) -> PublishedPack:
        start = time.perf_counter()
        profile = self._tools.profile
        library, soname, table = link_pack(self._tools, ready)
        linked = time.perf_counter()
        manifest = PackManifest(
            profile=profile.digest,
            object=ObjectRecord(hashlib.sha256(library).hexdigest(), len(library), soname, TABLE_SYMBOL),
            origin=self._origin,
            created=self._request.created or self._store.files.now(),
            members=members_of(ready),
        )
        check = partial(self._check, table) if self._tools.self_test is not None else None
        pack = NewPack(library, manifest, profile, check, codes_of(ready), self._replaces_members)
        path = self._store.publish_batch([pack])[0]
        sha256 = manifest.object.sha256
        done = time.perf_counter()
        report = PackReport(sha256, path, len(library), len(ready), linked - start, done - linked)
        return PublishedPack(
            report, self._store.paths.manifest(profile.short, sha256), tuple(item.unit for item in ready)
        )

    def _check(self, table: LibraryTable, path: Path) -> None:
        """Load the library in another process.  Raises LoadError."""
        if self._tester is None:
            assert self._tools.self_test is not None
            self._tester = WorkerPool(self._tools.self_test, workers=1, limits=_SELF_TEST_LIMITS)
        keys = frozenset(entry.key for entry in table.entries)
        self._tester.submit(None, SelfTestJob(str(path), table.profile_id.hex(), keys))
        results = self._tester.wait()
        if len(results) != 1:
            raise CompilerBug("a self-test ended without a result")
        failure = results[0].failure
        if failure is not None:
            raise LoadError(
                "self_test_failed",
                f"a linked library does not load: {failure.message}",
                context={"reason": failure.reason},
                cause=failure.cause,
                hint="please report it with the bytecode",
            )


def link_pack(tools: Toolchain, ready: Sequence[Ready]) -> tuple[bytes, str, LibraryTable]:
    """The library of compiled units in the order of their keys, its soname and its table.  Raises LinkError."""
    table = _table(tools, [item.unit for item in ready])
    keys = hashlib.sha256("".join(item.unit.key for item in ready).encode()).hexdigest()
    soname = f"evmaot-{keys[:16]}.so"
    return tools.link(table, [item.output.object_data for item in ready], soname), soname, table


def codes_of(ready: Sequence[Ready]) -> tuple[StoredCode, ...]:
    """What the store keeps to compile the units again."""
    return tuple(
        StoredCode(code.data, unit.forks, code.labels[0], code.holes)
        for unit, code in ((item.unit, item.unit.code) for item in ready)
    )


def _table(tools: Toolchain, units: Sequence[Unit]) -> LibraryTable:
    entries = tuple(
        TableEntry(bytes.fromhex(unit.code.sha256), bytes.fromhex(unit.rules), unit.symbol) for unit in units
    )
    return LibraryTable(bytes.fromhex(tools.profile.abi), bytes.fromhex(tools.profile.digest), entries)


def members_of(ready: Sequence[Ready]) -> tuple[Member, ...]:
    """What the manifest of a pack lists."""
    members = sorted_members(
        Member(
            code_hash=item.output.code_hash,
            code_sha256=item.unit.code.sha256,
            compile_ms=round(sum(item.output.phase_seconds.values()) * 1000),
            forks=item.unit.forks,
            holes=item.unit.code.holes,
            label=clean_label(item.unit.code.labels[0]),
            length=len(item.unit.code.data),
            opcodes=item.unit.opcodes,
            rules=item.unit.rules,
            slot=0,
            symbol=item.unit.symbol,
        )
        for item in ready
    )
    return tuple(member._replace(slot=slot) for slot, member in enumerate(members))
