"""Publication: how a pack gets into a store.

Job: write a library and its manifest so that a crash, a kill, a full disk or a power loss at any call leaves a store
that verifies.  Order: library to `tmp/` (checked, 0444, synced), renamed to its content name, directories synced;
then the manifest the same way: that rename is the commit.  Invariants: a published path is never written to and
never gets other bytes; nothing after the commit can fail the publication.  May import: `evmaot.abi`,
`evmaot.errors`, `evmaot.evm`, the store's lower modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evmaot.errors import CompilerBug, EvmaotError, StoreError
from evmaot.evm.forks import FORKS
from evmaot.store.codes import StoredCode, write_codes
from evmaot.store.elf_rules import read_layout, table_of
from evmaot.store.files import Durability, StoreFiles, translated
from evmaot.store.index import serves
from evmaot.store.keys import Profile, profile_document
from evmaot.store.manifest import (
    IMPORTED_KINDS,
    MAX_MANIFEST_BYTES,
    Member,
    Origin,
    PackManifest,
    parse,
    sorted_members,
    to_json,
)

LibraryRules = Callable[[bytes], "str | None"]
"""First ELF rule that a library breaks, None where it keeps all (`evmaot.store.elf_rules.check_library`)."""
Alone = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class NewPack:
    """A pack to publish."""

    library: bytes
    manifest: PackManifest
    profile: Profile
    check: Callable[[Path], None] | None = None
    """Called with the written, not yet published library; raises what is wrong with it."""
    codes: tuple[StoredCode, ...] = ()
    """The bytecode in it, so that it can be compiled again; empty where it is not known."""
    replaces_members: bool = False
    """Whether a manifest of the same library that is there already is wrong, and counts for nothing but forks."""


def publish_batch(
    files: StoreFiles, packs: Sequence[NewPack], library_rules: LibraryRules, manifests: Alone = contextlib.nullcontext
) -> list[Path]:
    """Publish packs; answers the paths of their libraries.  The caller holds the store's lock.

    `manifests` is the lock of who changes manifests: what is published is read, merged and replaced under it.

    Raises StoreError (``elf_rule:<rule>``, ``store_full``, ``store_not_writable``, ``store_io``), BusyError, and what
    a check raises; then every pack is either published or not there.
    """
    step = 1 if files.durability is Durability.FULL else max(1, len(packs))
    published: list[Path] = []
    for start in range(0, len(packs), step):
        published += _publish(files, packs[start : start + step], library_rules, manifests)
    return published


def _publish(files: StoreFiles, packs: Sequence[NewPack], library_rules: LibraryRules, alone: Alone) -> list[Path]:
    manifests = [_judged(pack, library_rules) for pack in packs]
    temporaries: list[Path] = []
    try:
        with translated("write to the store", files.paths.root):
            for profile in {pack.profile for pack in packs}:
                ensure_profile(files, profile)
            for pack in packs:
                temporaries.append(files.write_temporary(pack.library, 0o444, suffix=".so"))
                if pack.check is not None:
                    pack.check(temporaries[-1])
            targets = [files.paths.object(pack.manifest.object.sha256) for pack in packs]
            for temporary, target in zip(temporaries, targets, strict=True):
                _place(files, temporary, target)
            for pack in packs:
                if pack.codes:
                    write_codes(files, pack.manifest.object.sha256, pack.codes)
            files.sync_directories(target.parent for target in targets)
            temporaries.clear()
            with alone():
                for pack, data in zip(packs, manifests, strict=True):
                    temporaries.append(_write_manifest(files, pack, data))
                for pack, temporary in zip(packs, temporaries, strict=True):
                    path = files.paths.manifest(pack.profile.short, pack.manifest.object.sha256)
                    if temporary != path:
                        files.system.rename(str(temporary), str(path))
    except BaseException:
        for temporary in temporaries:
            if temporary.parent == files.paths.tmp:
                files.discard(temporary)
        raise
    # Committed.  If the names can't be synced the worst is that a power loss takes the packs with it.
    with contextlib.suppress(OSError):
        files.sync_directories(files.paths.packs(pack.profile.short) for pack in packs)
    return targets


def _judged(pack: NewPack, library_rules: LibraryRules) -> bytes:
    """The manifest's bytes, once pack and library are found to be what they should."""
    record = pack.manifest.object
    if hashlib.sha256(pack.library).hexdigest() != record.sha256 or len(pack.library) != record.size:
        raise CompilerBug("a pack's manifest is of another library")
    if pack.manifest.profile != pack.profile.digest:
        raise CompilerBug("a pack's manifest is of another profile")
    broken = library_rules(pack.library)
    if broken is not None:
        raise StoreError(
            f"elf_rule:{broken}",
            "a linked library breaks a rule for published libraries",
            context={"rule": broken, "soname": record.soname},
            hint="leave out --linker: evmaot links by itself",
        )
    return to_json(pack.manifest)


def ensure_profile(files: StoreFiles, profile: Profile) -> None:
    """Make the directories and the document of a profile where they are missing.  Raises OSError."""
    paths = files.paths
    files.make_directory(paths.profile(profile.short))
    files.make_directory(paths.packs(profile.short))
    document, wanted = paths.profile_document(profile.short), profile_document(profile)
    try:
        if files.read(document, len(wanted)) == wanted:
            return
    except (OSError, EvmaotError):
        pass  # missing or damaged: its content follows from its name
    files.replace_document(document, wanted)
    files.sync_directory(document.parent)


def _place(files: StoreFiles, temporary: Path, target: Path) -> None:
    """Give a written library its content name."""
    files.make_directory(target.parent)
    sha256 = target.stem
    try:
        same = files.sha256(target)[0] == sha256
    except FileNotFoundError:
        pass
    else:
        if same:
            files.discard(temporary)
            return
        # Damaged since it was published.  Another file under its name is right: no process loads damaged bytes.
        quarantine_file(files, target, sha256)
    files.system.rename(str(temporary), str(target))


def _write_manifest(files: StoreFiles, pack: NewPack, data: bytes) -> Path:
    """The manifest as a temporary file; or its own path, where the same members are published already."""
    path = files.paths.manifest(pack.profile.short, pack.manifest.object.sha256)
    try:
        published = parse(files.read(path, MAX_MANIFEST_BYTES))
    except (OSError, EvmaotError):
        return files.write_temporary(data, suffix=".json")
    if published.profile != pack.manifest.profile or published.object != pack.manifest.object:
        return files.write_temporary(data, suffix=".json")
    if pack.manifest.origin.is_unsigned and not published.origin.is_unsigned:
        return path  # built here or signed since the import looked: its word is the better one
    old = published.members
    if published.origin.is_unsigned and not pack.manifest.origin.is_unsigned:
        # What nobody signed does not become signed, or ours, with the rest.
        known = {_key(member) for member in pack.manifest.members}
        old = tuple(member for member in old if _key(member) in known)
    members = _merged(pack, old)
    if set(members) == set(published.members) and not _is_better(pack.manifest.origin, published.origin):
        return path
    return files.write_temporary(to_json(replace(pack.manifest, members=members)), suffix=".json")


def _is_better(new: Origin, old: Origin) -> bool:
    """Whether more is known now of where a library comes from: it was made here, or somebody signed it."""
    return old.kind in IMPORTED_KINDS and (new.kind not in IMPORTED_KINDS or (old.is_unsigned and not new.is_unsigned))


def _merged(pack: NewPack, published: Sequence[Member]) -> tuple[Member, ...]:
    """What is published with what was: nothing shrinks, and where both know a member the new facts are right.

    Who built it for other forks still wants it for these: clearing one fork must not take it from them.
    """
    old = {_key(member): member for member in published}
    rows = {}
    for member in pack.manifest.members:
        was = old.pop(_key(member), member)
        forks = was.forks
        if pack.replaces_members:
            forks = tuple(name for name in forks if name in FORKS and serves(member, FORKS[name]))
        # Its name and place in the pack, and how long it took, stay as they were.
        rows[_key(member)] = was._replace(
            code_hash=member.code_hash,
            length=member.length,
            holes=member.holes,
            opcodes=member.opcodes,
            symbol=member.symbol,
            forks=tuple(dict.fromkeys((*forks, *member.forks))),
        )
    if old and not pack.replaces_members:
        rows |= _in_library(pack.library, old)
    members = sorted_members(rows.values())
    if len({member.slot for member in members}) == len(members):
        return members
    return tuple(member._replace(slot=slot) for slot, member in enumerate(members))


def add_forks(files: StoreFiles, paths: Iterable[Path], wanted: Mapping[tuple[str, str], Collection[str]]) -> int:
    """Note that members (by SHA-256 of the code and rules) are wanted for more forks; answers how many were not yet.

    So `clear --fork` knows who needs them.  The caller holds the shared lock and that of manifests.  Raises OSError.
    """
    count = 0
    for path in paths:
        try:
            manifest = parse(files.read(path, MAX_MANIFEST_BYTES))
        except (OSError, EvmaotError):
            continue  # replaced or damaged since it was listed
        rows = [
            member._replace(forks=tuple(dict.fromkeys((*member.forks, *wanted.get(_key(member), ())))))
            for member in manifest.members
        ]
        added = sum(len(row.forks) > len(member.forks) for row, member in zip(rows, manifest.members, strict=True))
        if added:
            files.replace_document(path, to_json(replace(manifest, members=tuple(rows))))
            count += added
    return count


def _key(member: Member) -> tuple[str, str]:
    return member.code_sha256, member.rules


def _in_library(library: bytes, members: dict[tuple[str, str], Member]) -> dict[tuple[str, str], Member]:
    """Members that only the published manifest has, but for those that the library itself does not."""
    layout = read_layout(library)
    if isinstance(layout, str):
        return members
    table = table_of(library, layout)
    return {key: row for key, row in members.items() if table.find(*map(bytes.fromhex, key)) is not None}


def quarantine_file(files: StoreFiles, path: Path, object_sha256: str) -> Path:
    """Move a damaged file aside; answers its new path.  Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(files.system.now_seconds()))
    directory = files.paths.quarantined(stamp, object_sha256)
    files.make_directory(directory)
    target = directory / path.name
    files.system.rename(str(path), str(target))
    return target
