"""What a store holds, in memory: the manifests and nothing else.

Job: read every pack's manifest once, and answer by code hash, by SHA-256 of the code, and by fork.  Invariants: the
rules digest decides which fork an artifact serves, never a list of names, so later forks of equal rules are served by
old artifacts; a manifest that can't be used is left out with its reason and never an exception.  May import:
`evmaot.evm`, `evmaot.errors`, the store's lower modules.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from evmaot.errors import EvmaotError
from evmaot.evm.forks import Fork
from evmaot.evm.instruction_set import opcodes_of_bitmap, restrict
from evmaot.evm.template import TemplateTable
from evmaot.store.files import StoreFiles
from evmaot.store.findings import Finding, Severity
from evmaot.store.keys import MAX_PROFILE_BYTES, Holes, StoredProfile, parse_profile
from evmaot.store.manifest import MAX_MANIFEST_BYTES, ManifestError, Member, PackManifest, parse
from evmaot.store.paths import MANIFEST_NAME, PROFILE_ID

UNSIGNED = "it was imported without a signature of a trusted key, and signatures are required"

_rules_digests: dict[tuple[str, str], str] = {}
_MAX_REMEMBERED_DIGESTS = 1 << 18


def rules_digest(fork: Fork, opcodes: str) -> str:
    """Digest of the rules of `fork` restricted to a bitmap of opcodes (hex), remembered."""
    key = (fork.name, opcodes)
    digest = _rules_digests.get(key)
    if digest is None:
        if len(_rules_digests) >= _MAX_REMEMBERED_DIGESTS:
            _rules_digests.clear()
        digest = _rules_digests[key] = restrict(fork, _opcodes(opcodes)).digest
    return digest


# One code is asked about for each fork in turn.
_opcodes = lru_cache(maxsize=64)(opcodes_of_bitmap)


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as it lies in the store."""

    profile: StoredProfile
    manifest: PackManifest
    manifest_path: Path
    object_path: Path


MemberKey = tuple[str, str, str]
"""Profile digest, SHA-256 of the code, rules digest; all hex."""


class Entry(NamedTuple):
    """A member and the pack that it is in."""

    pack: Pack
    member: Member

    @property
    def key(self) -> MemberKey:
        """What the artifact is, wherever it lies."""
        return self.pack.manifest.profile, self.member.code_sha256, self.member.rules


class StoreIndex:
    """All packs of a store at one moment, in an order that depends on names only."""

    def __init__(
        self, profiles: Iterable[StoredProfile], packs: Iterable[Pack], refusals: Iterable[Finding] = ()
    ) -> None:
        self.profiles: dict[str, StoredProfile] = {profile.short: profile for profile in profiles}
        self.packs: tuple[Pack, ...] = tuple(packs)
        self.refusals: tuple[Finding, ...] = tuple(refusals)
        self._by_code_hash: dict[str, list[Entry]] | None = None
        self._by_code_sha256: dict[str, list[Entry]] | None = None
        self._templates: TemplateTable[Entry] | None = None

    def is_same(self, other: StoreIndex) -> bool:
        """Whether both were made of the very same manifests."""
        return (
            self.refusals == other.refusals
            and len(self.packs) == len(other.packs)
            and all(a.manifest is b.manifest for a, b in zip(self.packs, other.packs, strict=True))
        )

    def __len__(self) -> int:
        """Number of members."""
        return sum(len(pack.manifest.members) for pack in self.packs)

    def __iter__(self) -> Iterator[Entry]:
        for pack in self.packs:
            for member in pack.manifest.members:
                yield Entry(pack, member)

    def by_code_hash(self, code_hash: str) -> list[Entry]:
        """Members whose code has that keccak-256 (hex), of every profile and all rules."""
        if self._by_code_hash is None:
            self._by_code_hash = {}
            for entry in self:
                self._by_code_hash.setdefault(entry.member.code_hash, []).append(entry)
        return self._by_code_hash.get(code_hash, [])

    def by_code_sha256(self, code_sha256: str) -> list[Entry]:
        """Members whose code has that SHA-256 (hex), of every profile and all rules."""
        if self._by_code_sha256 is None:
            self._by_code_sha256 = {}
            for entry in self:
                self._by_code_sha256.setdefault(entry.member.code_sha256, []).append(entry)
        return self._by_code_sha256.get(code_sha256, [])

    def templates_of(self, code: bytes) -> list[Entry]:
        """Templates that the code is made of, of every profile and all rules."""
        if self._templates is None:
            self._templates = TemplateTable()
            for entry in self:
                member = entry.member
                if member.holes:
                    self._templates.add(member.length, member.holes, member.code_sha256, entry)
        return self._templates.matching(code)

    def serving(self, code_hash: str, fork: Fork) -> list[Entry]:
        """Members that are right for that code hash (hex) under the rules of `fork`."""
        return [entry for entry in self.by_code_hash(code_hash) if serves(entry.member, fork)]

    def find(self, profile_digest: str, code_sha256: str, rules: str, holes: Holes | None = ()) -> Entry | None:
        """The member of that profile for exactly this code, or template, under these rules, None if there is none.

        `holes` None: whatever it is; the digest of a template is never that of a code.
        """
        for entry in self.by_code_sha256(code_sha256):
            member = entry.member
            if holes is not None and member.holes != holes:
                continue
            if member.rules == rules and entry.pack.manifest.profile == profile_digest:
                return entry
        return None

    def rules_by_fork(self, profile_digest: str, code_sha256: str) -> dict[str, str]:
        """Rules digests of a known code by the forks that its members of that profile were built for.

        The profile covers the tables of forks, so what was computed for it is still right, and need not be again.
        """
        return {
            fork: entry.member.rules
            for entry in self.by_code_sha256(code_sha256)
            if entry.pack.manifest.profile == profile_digest
            for fork in entry.member.forks
        }

    def opcodes(self, profile_digest: str, code_sha256: str) -> str | None:
        """Bitmap of a known code's opcodes: a later fork can be answered without looking at the code."""
        for entry in self.by_code_sha256(code_sha256):
            if entry.pack.manifest.profile == profile_digest:
                return entry.member.opcodes
        return None


def serves(member: Member, fork: Fork) -> bool:
    """Whether the member is right under the rules of `fork`."""
    return rules_digest(fork, member.opcodes) == member.rules


class ProfilePlace(NamedTuple):
    """A profile's directory: its document, and the manifests beside it."""

    profile: StoredProfile
    manifests: list[Path]


class IndexReader:
    """Reads a store's manifests, each file once as long as it stays the same."""

    def __init__(self, files: StoreFiles, *, require_signed: bool = False) -> None:
        """`require_signed`: what another machine made without a trusted signature is refused (``unsigned``)."""
        self._files = files
        self._require_signed = require_signed
        self._known: dict[Path, tuple[tuple[int, int, int], PackManifest]] = {}
        self._last: tuple[set[str] | None, StoreIndex] | None = None

    def read(self, profile_ids: Iterable[str] | None = None) -> StoreIndex:
        """The index of all profiles, or of some.  Raises TrustError and StoreError for the directories."""
        # 100,000 members are as many small objects, none of which can be garbage: the collector would go through
        # them again and again, and take three quarters of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._read(None if profile_ids is None else set(profile_ids))
        finally:
            if collecting:
                gc.enable()

    def _read(self, wanted: set[str] | None) -> StoreIndex:
        profiles: list[StoredProfile] = []
        packs: list[Pack] = []
        refusals: list[Finding] = []
        known: dict[Path, tuple[tuple[int, int, int], PackManifest]] = {}
        paths = self._files.paths
        for profile, manifests in self.places(wanted, refusals):
            profiles.append(profile)
            for path in manifests:
                manifest = self.manifest(path, profile, refusals, known)
                if manifest is not None:
                    packs.append(Pack(profile, manifest, path, paths.object(manifest.object.sha256)))
        if wanted is None:
            self._known = known
        else:
            self._known.update(known)
        index = StoreIndex(profiles, packs, refusals)
        # The same manifests: the index that is there already has its dictionaries made.
        if self._last is not None and self._last[0] == wanted and self._last[1].is_same(index):
            return self._last[1]
        self._last = (wanted, index)
        return index

    def places(self, wanted: set[str] | None, refusals: list[Finding]) -> Iterator[ProfilePlace]:
        """Profiles that have packs, in order; what can't be used is added to `refusals`.  Raises as `read`."""
        paths = self._files.paths
        for profile_id in self._files.names(paths.profiles):
            if PROFILE_ID.fullmatch(profile_id) is None or (wanted is not None and profile_id not in wanted):
                continue
            names = [name for name in self._names(paths.packs(profile_id), refusals) if MANIFEST_NAME.fullmatch(name)]
            if not names:
                continue
            profile = self._profile(profile_id, refusals)
            if profile is not None:
                yield ProfilePlace(profile, [paths.packs(profile_id) / name for name in names])

    def _names(self, directory: Path, refusals: list[Finding]) -> list[str]:
        try:
            for checked in (directory.parent, directory):
                self._files.trusted_directory(checked)
            return self._files.names(directory)
        except EvmaotError as error:
            refusals.append(self._refusal(checked, error))
            return []

    def _profile(self, profile_id: str, refusals: list[Finding]) -> StoredProfile | None:
        path = self._files.paths.profile_document(profile_id)
        try:
            profile = parse_profile(self._files.read(path, MAX_PROFILE_BYTES))
        except FileNotFoundError:
            message = "packs without the document of their profile"
            refusals.append(Finding("profile_missing", self._files.subject(path), message))
            return None
        except (OSError, EvmaotError) as error:
            refusals.append(self._refusal(path, error))
            return None
        if profile.short != profile_id:
            message = f"the document's digest begins with {profile.short}, its directory is {profile_id}"
            refusals.append(Finding("profile_mismatch", self._files.subject(path), message))
            return None
        return profile

    def manifest(
        self,
        path: Path,
        profile: StoredProfile,
        refusals: list[Finding],
        known: dict[Path, tuple[tuple[int, int, int], PackManifest]],
    ) -> PackManifest | None:
        """One manifest, None (and a refusal) where it can't be used; remembered in `known`."""
        try:
            status = self._files.system.lstat(str(path))
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            remembered = self._known.get(path)
            if remembered is not None and remembered[0] == signature:
                self._files.require_trusted(status, path)
                manifest = remembered[1]
            else:
                manifest = parse(self._files.read(path, MAX_MANIFEST_BYTES))
                check_manifest(manifest, path, profile)
        except FileNotFoundError:
            return None  # removed since the directory was listed
        except (OSError, EvmaotError) as error:
            refusals.append(self._sized(path, self._refusal(path, error)))
            return None
        if self._require_signed and manifest.origin.is_unsigned:
            refusals.append(Finding("unsigned", self._files.subject(path), UNSIGNED, Severity.UNCHECKED))
            return None
        known[path] = (signature, manifest)
        return manifest

    def _sized(self, path: Path, refusal: Finding) -> Finding:
        """Where a newer version's pack is passed over, say what it takes: no sum of this version has it."""
        if refusal.code != "format_newer":
            return refusal
        try:
            size = self._files.system.lstat(str(self._files.paths.object(path.stem))).st_size
        except OSError:
            return refusal
        return replace(refusal, message=f"{refusal.message}; its library has {size} bytes")

    def _refusal(self, path: Path, error: OSError | EvmaotError) -> Finding:
        if isinstance(error, EvmaotError):
            return Finding(error.reference, self._files.subject(path), error.cause or error.message)
        return Finding("unreadable", self._files.subject(path), error.strerror or str(error))


def check_manifest(manifest: PackManifest, path: Path, profile: StoredProfile) -> None:
    """A manifest must be what its place says.  Raises ManifestError ``manifest_mismatch``."""
    if manifest.profile != profile.digest:
        raise ManifestError("manifest_mismatch", f"the manifest is of the profile {manifest.profile[:16]}")
    if path.name != f"{manifest.object.sha256}.json":
        raise ManifestError("manifest_mismatch", f"the manifest is of the library {manifest.object.sha256}")
