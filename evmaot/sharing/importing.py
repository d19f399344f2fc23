"""Importing: packs that another machine made, into a store.

Job: judge each pack and publish it as a build does.  Invariants: nothing is published that was not hashed, parsed and
judged by the ELF rules, and whose library does not itself say that it is of this profile and holds these members;
profile and ABI stay what they are, so what this machine cannot load is stored and told, never run; where the bytecode
is at hand, hash and length are computed here, and opcodes, rules and forks where this compiler made it; importing twice
changes nothing; a store never loses members or forks.
Publication is the store's own, so an import that is killed leaves a store that verifies.
May import: `evmaot.abi`, `evmaot.errors`, `evmaot.members`, `evmaot.sharing`, `evmaot.store`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from evmaot.abi.elf import MACHINES
from evmaot.errors import EvmaotError, StoreError
from evmaot.members import wrong_members
from evmaot.sharing.archive import ArchiveReader
from evmaot.sharing.contents import ExportedFile, ExportedPack, form_of
from evmaot.store.codes import StoredCode, read_codes, unpack_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.elf_rules import RULES, read_layout, table_of
from evmaot.store.keys import Profile, parse_profile
from evmaot.store.manifest import Member, PackManifest, parse, sorted_members
from evmaot.store.publication import NewPack

BATCH_BYTES: Final = 64 << 20
BATCH_PACKS: Final = 32
Kind = Literal["import", "pull"]
_Key = tuple[str, str]
"""SHA-256 of a member's code, and its rules digest."""


class PackRefused(Exception):
    """A pack that is not imported, with a named reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pack that was not imported."""

    pack: str
    reason: str
    message: str


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    new: list[PackManifest] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    """SHA-256 of the libraries of packs that were there already."""
    refused: list[Refusal] = field(default_factory=list)
    profiles: dict[str, Profile] = field(default_factory=dict)
    """Of new and known packs, by digest."""

    @property
    def artifacts_new(self) -> int:
        """Members of the new packs."""
        return sum(len(manifest.members) for manifest in self.new)


class Importer:
    """Takes packs one after the other; `finish` publishes the last of them."""

    def __init__(self, store: ArtifactDirectory, kind: Kind, told: Callable[[str], None] = lambda text: None) -> None:
        store.require_writable()
        self.report = ImportReport()
        self.signed_by = ""
        """The public key (base64) whose signature of what is taken was checked; it is noted with each pack."""
        self._store = store
        self._kind = kind
        self._told = told
        self._batch: list[NewPack] = []
        self._known = {pack.manifest.object.sha256: pack for pack in store.packs()}

    def is_known(self, pack: ExportedPack) -> bool:
        """Whether the store has a pack of that library, undamaged."""
        known = self._known.get(pack.object_sha256)
        if known is not None and self._adds_signature(known.manifest):
            return False
        try:
            return known is not None and self._store.files.sha256(known.object_path)[0] == pack.object_sha256
        except (OSError, StoreError):
            return False

    def take(self, pack: ExportedPack, profile: bytes, manifest: bytes, library: bytes, codes: bytes | None) -> None:
        """Judge a pack and publish it, now or with the next ones.  Raises StoreError."""
        try:
            judged = judge(pack, profile, manifest, library, codes, self._kind, self.signed_by)
            merged = self._merged(judged)
        except PackRefused as refusal:
            self.report.refused.append(Refusal(pack.object_sha256, refusal.reason, refusal.message))
            return
        self.report.profiles[judged.profile.digest] = judged.profile
        if merged is None:
            self.report.known.append(pack.object_sha256)
            return
        self._batch.append(merged)
        if len(self._batch) >= BATCH_PACKS or sum(len(item.library) for item in self._batch) >= BATCH_BYTES:
            self._publish()

    def finish(self) -> ImportReport:
        """Publish what is left.  Raises StoreError."""
        self._publish()
        return self.report

    def _publish(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self._store.publish_batch(batch)
            self.report.new += [item.manifest for item in batch]
            self._told(f"{len(self.report.new)} packs stored")

    def _merged(self, judged: NewPack) -> NewPack | None:
        """The pack with what the store knows of it already; None where it adds nothing.  Raises PackRefused."""
        record = judged.manifest.object
        pack = self._known.get(record.sha256)
        there = {} if pack is None else {(row.code_sha256, row.rules): row for row in pack.manifest.members}
        adds_signature = pack is not None and self._adds_signature(pack.manifest)
        # What nobody signed does not become signed with the rest.
        rows = self._proved_there(judged, there) if adds_signature else dict(there)
        for row in judged.manifest.members:
            old = there.get((row.code_sha256, row.rules))
            if old is not None:
                added = [fork for fork in row.forks if fork not in old.forks]
                row = (row if adds_signature else old)._replace(forks=(*old.forks, *added))
            rows[row.code_sha256, row.rules] = row
        origin = judged.manifest.origin
        if pack is not None and origin.is_unsigned and not pack.manifest.origin.is_unsigned:
            origin, rows = pack.manifest.origin, self._proved(judged, there, rows)
        if rows == there and not adds_signature and self._is_whole(judged):
            return None
        return replace(judged, manifest=replace(judged.manifest, origin=origin, members=sorted_members(rows.values())))

    def _proved_there(self, judged: NewPack, there: Mapping[_Key, Member]) -> dict[_Key, Member]:
        """Of what an unsigned import said of this library before, what bytecode proves."""
        own = read_codes(self._store.files, judged.manifest.object.sha256) or ()
        codes = {code.sha256: code for code in (*own, *judged.codes)}
        unsigned = replace(judged.manifest, members=tuple(there.values()))
        wrong = {item.member for item in wrong_members(unsigned, judged.profile, codes.values(), decode=True)}
        return {key: row for key, row in there.items() if key[0] in codes and row not in wrong}

    def _proved(self, judged: NewPack, there: Collection[_Key], rows: dict[_Key, Member]) -> dict[_Key, Member]:
        """Without what bytecode does not prove: nobody signed it, and what is there was made here or signed.

        The library is the same to the byte; it is what is said of it that could be a lie.  Raises PackRefused.
        """
        own = read_codes(self._store.files, judged.manifest.object.sha256) or ()
        known = {code.sha256 for code in (*judged.codes, *own)}
        rows = {key: row for key, row in rows.items() if key in there or key[0] in known}
        added = tuple(row for key, row in rows.items() if key not in there)
        _require_right(replace(judged.manifest, members=added), judged.profile, own)
        return rows

    def _adds_signature(self, manifest: PackManifest) -> bool:
        return manifest.origin.is_unsigned and bool(self.signed_by)

    def _is_whole(self, judged: NewPack) -> bool:
        sha256 = judged.manifest.object.sha256
        files = self._store.files
        try:
            return files.sha256(files.paths.object(sha256))[0] == sha256
        except (OSError, StoreError):
            return False


def judge(
    pack: ExportedPack,
    profile_data: bytes,
    manifest_data: bytes,
    library: bytes,
    codes: bytes | None,
    kind: Kind,
    signed_by: str = "",
) -> NewPack:
    """A pack as it may be published; all bytes have the SHA-256 that the list says.  Raises PackRefused."""
    try:
        stored, manifest = parse_profile(profile_data), parse(manifest_data)
    except EvmaotError as error:
        raise PackRefused(error.reference, error.message) from error
    profile = stored.profile
    if profile.digest != stored.digest:
        raise PackRefused("format_newer", "its profile is of a newer version of evmaot")
    names = (form_of(pack.profile.name)[1], form_of(pack.manifest.name)[1])
    if manifest.profile != profile.digest or set(names) != {profile.short}:
        raise PackRefused("profile_mismatch", "its manifest, its profile and their names do not agree")
    if (manifest.object.sha256, manifest.object.size) != (pack.object_sha256, len(library)):
        raise PackRefused("manifest_mismatch", "its manifest is of another library")
    _judge_library(library, manifest, profile)
    found = _judged_codes(codes, manifest, profile)
    # What the stranger's manifest says of signatures is nothing.
    origin = replace(manifest.origin, kind=kind, signed_by=signed_by)
    return NewPack(library, replace(manifest, origin=origin), profile, codes=found)


def _judge_library(library: bytes, manifest: PackManifest, profile: Profile) -> None:
    """ELF rules of the profile's machine, and what the library says of itself."""
    architecture = profile.target.architecture
    if architecture not in MACHINES:
        raise PackRefused(f"architecture:{architecture}"[:80], "made for a machine that this version does not know")
    layout = read_layout(library, architecture=architecture)
    if isinstance(layout, str):
        raise PackRefused(f"elf_rule:{layout}", f"its library breaks a rule: {RULES[layout]}")
    # The rules have parsed it already: it cannot fail here.
    table = table_of(library, layout)
    if table.profile_id.hex() != profile.digest or table.abi_fingerprint.hex() != profile.abi:
        raise PackRefused("table_mismatch", "its library says that it is of another profile or native interface")
    for member in manifest.members:
        if table.find(bytes.fromhex(member.code_sha256), bytes.fromhex(member.rules)) is None:
            raise PackRefused("table_mismatch", f"its library has no code with the SHA-256 {member.code_sha256}")


def _judged_codes(data: bytes | None, manifest: PackManifest, profile: Profile) -> tuple[StoredCode, ...]:
    """The bytecode that travels, once all that it proves of the members was computed again."""
    try:
        codes = () if data is None else unpack_codes(data)
    except EvmaotError as error:
        raise PackRefused(error.reference, error.cause or error.message) from error
    _require_right(manifest, profile, codes)
    return codes


def _require_right(manifest: PackManifest, profile: Profile, codes: Iterable[StoredCode]) -> None:
    """Raise PackRefused for a member that its bytecode or the tables of forks contradict."""
    for wrong in wrong_members(manifest, profile, codes, decode=True):
        reason = "code_hash_mismatch" if wrong.field in ("code_hash", "length") else "member_mismatch"
        raise PackRefused(reason, wrong.message)


def import_archive(importer: Importer, reader: ArchiveReader) -> ImportReport:
    """Import all packs of an archive, in one pass.

    Raises CorruptionError ``export_damaged`` (what was whole before the damage is stored), StoreError.
    """
    waiting = {file.name: pack for pack in reader.contents.packs for file in pack.files}
    last = {pack.files[-1].name for pack in reader.contents.packs}
    profiles: dict[str, bytes] = {}
    held: dict[str, bytes] = {}
    try:
        for file, data in reader.files():
            pack = waiting.get(file.name)
            if pack is None:
                profiles[file.name] = data
                continue
            held[file.name] = data
            if file.name in last:
                codes = _bytes_of(pack.codes, held)
                importer.take(
                    pack, profiles[pack.profile.name], held[pack.manifest.name], held[pack.library.name], codes
                )
                held.clear()
    finally:
        importer.finish()
    return importer.report


def _bytes_of(file: ExportedFile | None, held: dict[str, bytes]) -> bytes | None:
    return None if file is None else held[file.name]
