"""Repair: what is damaged in a store is compiled again, or moved aside.

Job: findings to actions.  Invariants: the replacement is published before what is damaged is moved aside, so that a
repair that is killed has lost nothing; nothing is deleted; what nobody knows how to repair is left and said.
May import: `evmaot.members`, `evmaot.rebuild`, `evmaot.build_packs`, `evmaot.build_report`, `evmaot.toolchain`,
`evmaot.store`, `evmaot.abi`, errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from evmaot.build_packs import Publisher, codes_of
from evmaot.build_report import BuildRequest
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import EvmaotError
from evmaot.members import corrected
from evmaot.rebuild import Rebuilt, rebuild, tools_like
from evmaot.store.codes import read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.elf_rules import MAX_SPAN_BYTES, read_layout, table_of
from evmaot.store.files import translated
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import IndexReader, Pack, StoreIndex
from evmaot.store.paths import MANIFEST_NAME, OBJECT_NAME, PROFILE_ID
from evmaot.store.publication import NewPack, ensure_profile
from evmaot.target import TARGETS
from evmaot.toolchain import Toolchain, toolchain

_LEFT_ALONE: Final = frozenset(
    {"store_untrusted", "parent_untrusted", "unsigned", "untrusted_key", "pin_damaged", "unreadable"}
)
"""Damage that only a person can judge."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done about a finding."""

    subject: str
    code: str
    """Of the finding."""
    action: str
    """``recompiled``, ``replaced`` (compiled by this version: the old one is in quarantine), ``quarantined``,
    ``made_read_only``, ``rewritten`` (a profile's document, or a manifest) or ``left``.
    """
    message: str


def repair(store: ArtifactDirectory, findings: Iterable[Finding], *, jobs: int = 1) -> list[Repair]:
    """Repair what is damaged.  Raises StoreError (the store can't be written), BusyError."""
    store.require_writable()
    index = IndexReader(store.files).read()
    return [_Repairer(store, index, finding, jobs).run() for finding in findings if finding.severity is Severity.ERROR]


@dataclass(frozen=True, slots=True)
class _Repairer:
    store: ArtifactDirectory
    index: StoreIndex
    finding: Finding
    jobs: int

    def run(self) -> Repair:
        name = Path(self.finding.subject).name
        if self.finding.code in _LEFT_ALONE:
            return self._done("left", "owner, mode, signatures and pins are for a person to judge")
        if OBJECT_NAME.fullmatch(name):
            packs = [pack for pack in self.index.packs if pack.manifest.object.sha256 == name[:64]]
            if self.finding.code == "library_writable" and self._lock_up(packs):
                return self._done("made_read_only", "its bytes are right")
            if packs:
                return self._pack(packs[0], packs)
        elif MANIFEST_NAME.fullmatch(name) and Path(self.finding.subject).parent.name == "packs":
            return self._manifest(name[:64], self.store.paths.root / self.finding.subject)
        elif name == "profile.json":
            return self._profile(Path(self.finding.subject).parent.name)
        return self._done("left", "nobody knows what it should be")

    def _done(self, action: str, message: str) -> Repair:
        return Repair(self.finding.subject, self.finding.code, action, message)

    def _lock_up(self, packs: Sequence[Pack]) -> bool:
        """Take the permission to write from a library that is as it should be."""
        files = self.store.files
        for pack in packs[:1]:
            with translated("make a library read-only", pack.object_path):
                if files.sha256(pack.object_path)[0] == pack.manifest.object.sha256:
                    with files.opened(pack.object_path) as (descriptor, _):
                        files.system.chmod(descriptor, 0o444)
                    return True
        return False

    def _pack(self, pack: Pack, packs: Sequence[Pack]) -> Repair:
        """A damaged library."""
        try:
            tools = tools_like(pack.profile.profile)
            rebuilt = self._rebuilt(tools, pack.manifest.object.sha256)
        except EvmaotError as error:
            return self._quarantine(packs, f"it could not be compiled again: {error.message} [{error.reference}]")
        if rebuilt is None:
            return self._quarantine(packs, "the store has not its bytecode; build its inputs again")
        if tools.profile.digest == pack.profile.digest and rebuilt.sha256 == pack.manifest.object.sha256:
            codes = codes_of(rebuilt.ready)
            self.store.publish_batch([NewPack(rebuilt.library, pack.manifest, tools.profile, codes=codes)])
            return self._done("recompiled", "the very bytes that were published")
        refused = self._publish(tools, rebuilt)
        if refused:
            return self._quarantine(packs, f"compiled again, {refused} of its artifacts would not link or load")
        # Bytes of this compiler under another profile's manifest: then that is what is wrong, not the library.
        keeps = rebuilt.sha256 == pack.manifest.object.sha256
        self._quarantine(packs, "", keeps_library=keeps)
        return self._done("replaced", f"by this version of the compiler, profile {tools.profile.short}")

    def _manifest(self, object_sha256: str, path: Path) -> Repair:
        """A damaged manifest, or one that says something wrong."""
        done = self._members(path)
        if done is not None:
            return done
        tools = _tools_of(path.parent.parent.name)
        try:
            rebuilt = None if tools is None else self._rebuilt(tools, object_sha256)
        except EvmaotError:
            rebuilt = None
        if tools is not None and rebuilt is not None:
            self._publish(tools, rebuilt, replaces_members=rebuilt.sha256 == object_sha256)
            if rebuilt.sha256 == object_sha256:
                return self._done("recompiled", "from the bytecode that the store keeps; deleted members are back")
        rest = [pack for pack in self.index.packs if pack.manifest_path != path]
        others = any(pack.manifest.object.sha256 == object_sha256 for pack in rest)
        self.store.quarantine_files(object_sha256, [path] if others else [path, *self._bytes(object_sha256)])
        return self._done("quarantined", "it can't be made again; build its inputs again")

    def _members(self, path: Path) -> Repair | None:
        """Wrong members of a manifest that can be read, made right by their bytecode and the library's table."""
        pack = next((pack for pack in self.index.packs if pack.manifest_path == path), None)
        codes = None if pack is None else read_codes(self.store.files, pack.manifest.object.sha256)
        if pack is None or codes is None:
            return None
        try:
            library = self.store.files.read(pack.object_path, MAX_SPAN_BYTES)
        except (OSError, EvmaotError):
            return None
        layout = read_layout(library, architecture=pack.profile.profile.target.architecture)
        if isinstance(layout, str) or hashlib.sha256(library).hexdigest() != pack.manifest.object.sha256:
            return None
        table = table_of(library, layout)
        if table.profile_id.hex() != pack.manifest.profile or pack.profile.profile.digest != pack.manifest.profile:
            return None
        members = corrected(pack.manifest, codes, table)
        if members is None:
            return None
        manifest = replace(pack.manifest, members=members)
        self.store.publish_batch([NewPack(library, manifest, pack.profile.profile, replaces_members=True)])
        return self._done("rewritten", "from the bytecode that the store keeps, and what the library says of itself")

    def _profile(self, profile_id: str) -> Repair:
        """A damaged profile document: its content follows from its name, if it is one of this compiler's."""
        tools = _tools_of(profile_id)
        if tools is None:
            return self._done("left", "another version of the compiler wrote it; evmaot clear --all removes its packs")
        document = self.store.paths.profile_document(profile_id)
        with self.store.shared_lock(), translated("write a profile's document", document):
            ensure_profile(self.store.files, tools.profile)
        return self._done("rewritten", "its content follows from its name")

    def _rebuilt(self, tools: Toolchain, object_sha256: str) -> Rebuilt | None:
        codes = read_codes(self.store.files, object_sha256)
        return None if codes is None else rebuild(tools, codes, jobs=self.jobs)

    def _publish(self, tools: Toolchain, rebuilt: Rebuilt, *, replaces_members: bool = False) -> int:
        """Answers how many artifacts could not be published."""
        request = BuildRequest((), (), tools.options)
        with Publisher(request, tools, self.store, replaces_members=replaces_members) as publisher:
            return len(publisher.publish(rebuilt.ready)[1])

    def _bytes(self, object_sha256: str) -> list[Path]:
        """Library and bytecode: what is left without a manifest is swept within the day, quarantine is kept."""
        return [self.store.paths.object(object_sha256), self.store.paths.pack_codes(object_sha256)]

    def _quarantine(self, packs: Sequence[Pack], why: str, *, keeps_library: bool = False) -> Repair:
        sha256 = packs[0].manifest.object.sha256
        paths = [pack.manifest_path for pack in packs]
        self.store.quarantine_files(sha256, paths if keeps_library else [*paths, *self._bytes(sha256)])
        return self._done("quarantined", why)


def _tools_of(profile_id: str) -> Toolchain | None:
    """This compiler under the options that make that profile id, None if there are none."""
    if PROFILE_ID.fullmatch(profile_id) is None:
        return None
    for target in TARGETS.values():
        for tier in Tier:
            tools = toolchain(CompileOptions(tier, target))
            if tools.profile.short == profile_id:
                return tools
    return None
