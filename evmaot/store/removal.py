"""Removal: members, packs, what nothing refers to.

Job: take things out of a store.  Invariants: only names that the store itself makes are removed; a manifest goes
before its library, so that a crash between them leaves an unreferenced file and never a broken reference; what
removes libraries holds the exclusive lock (the caller's duty).  May import: `evmaot.errors`, the store's lower modules.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from evmaot.errors import StoreError
from evmaot.store.files import StoreFiles, translated
from evmaot.store.index import Entry, MemberKey, Pack, StoreIndex
from evmaot.store.manifest import Member, to_json
from evmaot.store.negative import record_paths
from evmaot.store.paths import CODES_NAME, MANIFEST_NAME, OBJECT_NAME, PROFILE_ID, SHARD_NAME

_TEMPORARY = re.compile(r"[0-9]+-[0-9a-f]{16}(\.so|\.json)?")


@dataclass(frozen=True, slots=True)
class Selector:
    """What to clear: `everything`, or the members that every given condition selects."""

    everything: bool = False
    forks: frozenset[str] = frozenset()
    """Fork names; a member that was built for others too is kept for these."""
    profiles: tuple[str, ...] = ()
    """Prefixes of profile digests."""
    pattern: str | None = None
    """A shell pattern for labels, or ``0x`` and the beginning of a code hash."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected: an error, never everything."""
        return not (self.everything or self.forks or self.profiles or self.pattern)

    def matches(self, entry: Entry) -> bool:
        """Whether every condition holds for the member."""
        member = entry.member
        if self.profiles and not entry.pack.manifest.profile.startswith(self.profiles):
            return False
        if self.forks and not self.forks & set(member.forks):
            return False
        return self.pattern is None or matches_pattern(self.pattern, member)


def matches_pattern(pattern: str, member: Member) -> bool:
    """Whether a pattern (`Selector.pattern`) selects a member."""
    if pattern.startswith("0x"):
        return member.code_hash.startswith(pattern[2:].lower())
    return fnmatchcase(member.label, pattern)


@dataclass(frozen=True, slots=True)
class RemovalReport:
    """What a removal did, or would do."""

    members_removed: int = 0
    members_kept_for_other_forks: int = 0
    packs_removed: int = 0
    members_kept_for_pins: int = 0
    records_removed: int = 0
    """Negative records."""
    bytes_freed: int = 0


def plan_selection(
    index: StoreIndex, selector: Selector, pinned: Collection[MemberKey] = ()
) -> tuple[dict[Path, list[Member]], int]:
    """For each manifest that changes, the members that stay; and how many are kept because they are pinned."""
    plan: dict[Path, list[Member]] = {}
    kept_for_pins = 0
    for pack in index.packs:
        kept: list[Member] = []
        for member in pack.manifest.members:
            if not selector.everything and not selector.matches(Entry(pack, member)):
                kept.append(member)
                continue
            # Without selected forks none is left; what others need stays for these, pinned or not.
            rest = tuple(fork for fork in member.forks if selector.forks and fork not in selector.forks)
            if rest and not selector.everything:
                kept.append(member._replace(forks=rest))
            elif (pack.manifest.profile, member.code_sha256, member.rules) in pinned:
                kept.append(member)
                kept_for_pins += 1
        if tuple(kept) != pack.manifest.members:
            plan[pack.manifest_path] = kept
    return plan, kept_for_pins


def plan_members(index: StoreIndex, keys: Collection[MemberKey]) -> dict[Path, list[Member]]:
    """The same for a choice of members."""
    wanted, plan = set(keys), {}
    for pack in index.packs:
        profile = pack.manifest.profile
        kept = [m for m in pack.manifest.members if (profile, m.code_sha256, m.rules) not in wanted]
        if len(kept) != len(pack.manifest.members):
            plan[pack.manifest_path] = kept
    return plan


def apply_plan(
    files: StoreFiles, index: StoreIndex, plan: dict[Path, list[Member]], *, dry_run: bool = False
) -> RemovalReport:
    """Rewrite or remove manifests, then the libraries that nothing refers to any more.  Raises StoreError."""
    removed = kept_for_others = 0
    emptied: list[Pack] = []
    with translated("remove from the store", files.paths.root):
        for pack in index.packs:
            if pack.manifest_path not in plan:
                continue
            kept = plan[pack.manifest_path]
            removed += len(pack.manifest.members) - len(kept)
            kept_for_others += len(set(kept) - set(pack.manifest.members))
            if not kept:
                emptied.append(pack)
            if not dry_run:
                _rewrite(files, pack, kept)
        if not dry_run:
            files.sync_directories(path.parent for path in plan)
        freed = 0
        gone = {pack.manifest_path for pack in emptied}
        left = {pack.manifest.object.sha256 for pack in index.packs if pack.manifest_path not in gone}
        referenced = left if dry_run else referenced_libraries(files)
        for pack in emptied:
            if pack.manifest.object.sha256 not in referenced:
                for path in (pack.object_path, files.paths.pack_codes(pack.manifest.object.sha256)):
                    freed += size_bytes(files, path)
                    if not dry_run:
                        _unlink(files, path)
    return RemovalReport(removed, kept_for_others, len(emptied), bytes_freed=freed)


def _rewrite(files: StoreFiles, pack: Pack, kept: list[Member]) -> None:
    if kept:
        files.replace_document(pack.manifest_path, to_json(replace(pack.manifest, members=tuple(kept))))
    else:
        _unlink(files, pack.manifest_path)


def _unlink(files: StoreFiles, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        files.system.unlink(str(path))


def size_bytes(files: StoreFiles, path: Path) -> int:
    """Size of a file; 0 where there is none."""
    try:
        return files.system.lstat(str(path)).st_size
    except OSError:
        return 0


def referenced_libraries(files: StoreFiles) -> set[str]:
    """SHA-256 of every library that has a manifest, readable or not: a doubtful one keeps its library."""
    found: set[str] = set()
    for profile_id in files.names(files.paths.profiles):
        if PROFILE_ID.fullmatch(profile_id):
            names = files.names(files.paths.packs(profile_id))
            found |= {name[:64] for name in names if MANIFEST_NAME.fullmatch(name)}
    return found


def unreferenced(files: StoreFiles) -> list[Path]:
    """Libraries, and bytecode of libraries, without a manifest.  Raises TrustError and StoreError."""
    referenced = referenced_libraries(files)
    found = [*libraries(files), *_sharded(files, files.paths.codes, CODES_NAME)]
    return [path for path in found if path.stem not in referenced]


def libraries(files: StoreFiles) -> list[Path]:
    """Every library in the store, referenced or not."""
    return _sharded(files, files.paths.objects, OBJECT_NAME)


def _sharded(files: StoreFiles, directory: Path, pattern: re.Pattern[str]) -> list[Path]:
    found = []
    for shard in files.names(directory):
        if SHARD_NAME.fullmatch(shard):
            names = files.names(directory / shard)
            found += [directory / shard / name for name in names if pattern.fullmatch(name)]
    return found


def leftovers(files: StoreFiles) -> list[Path]:
    """Files in `tmp/` that a process did not live to rename."""
    return [files.paths.tmp / name for name in files.names(files.paths.tmp) if _TEMPORARY.fullmatch(name)]


def age_seconds(files: StoreFiles, path: Path) -> float:
    """Age of a file by its times; 0 where these lie in the future, or there is none: what is doubtful is young."""
    try:
        status = files.system.lstat(str(path))
    except OSError:
        return 0.0
    return max(0.0, files.system.now_seconds() - max(status.st_mtime, status.st_ctime))


def sweep(files: StoreFiles, *, min_age_seconds: float = 0.0, dry_run: bool = False) -> RemovalReport:
    """Remove unreferenced libraries and left-over files of at least that age.  Raises StoreError."""
    freed = 0
    with translated("sweep the store", files.paths.root):
        for path in [*unreferenced(files), *leftovers(files)]:
            if min_age_seconds and age_seconds(files, path) < min_age_seconds:
                continue
            freed += size_bytes(files, path)
            if not dry_run:
                _unlink(files, path)
    return RemovalReport(bytes_freed=freed)


def remove_manifests(files: StoreFiles, paths: Iterable[Path]) -> None:
    """Take packs out of the index that a larger pack replaces; their libraries stay for the next sweep.

    This needs the shared lock only: who has read such a manifest already still finds its library.
    """
    paths = list(paths)
    with translated("replace packs of the store", files.paths.profiles):
        for path in paths:
            _unlink(files, path)
        files.sync_directories(path.parent for path in paths)


def remove_refused(files: StoreFiles, index: StoreIndex) -> None:
    """Remove manifests that can't be used, but for those of a newer version.  Raises StoreError."""
    with translated("remove from the store", files.paths.profiles):
        for finding in index.refusals:
            path = files.paths.root / finding.subject
            if finding.code == "format_newer" or MANIFEST_NAME.fullmatch(path.name) is None:
                continue
            with contextlib.suppress(IsADirectoryError, PermissionError):
                _unlink(files, path)


def clear_records(files: StoreFiles, profiles: tuple[str, ...], *, dry_run: bool = False) -> int:
    """Forget the failures of some profiles (prefixes), or of all; answers their number.  Raises StoreError."""
    count = 0
    with translated("remove from the store", files.paths.negative):
        for path in record_paths(files):
            profile_id = path.parent.name
            if profiles and not any(profile_id.startswith(wanted[: len(profile_id)]) for wanted in profiles):
                continue
            count += 1
            if not dry_run:
                _unlink(files, path)
    return count


def remove_empty_profiles(files: StoreFiles) -> None:
    """Remove the directories of profiles that hold no pack any more.  Raises StoreError."""
    for profile_id in files.names(files.paths.profiles):
        if PROFILE_ID.fullmatch(profile_id) is None or files.names(files.paths.packs(profile_id)):
            continue
        with contextlib.suppress(FileNotFoundError), translated("remove a profile", files.paths.profile(profile_id)):
            _unlink(files, files.paths.profile_document(profile_id))
            _unlink(files, files.paths.summary(profile_id))
            for directory in (files.paths.packs(profile_id), files.paths.profile(profile_id)):
                with contextlib.suppress(OSError):
                    files.system.rmdir(str(directory))


def require_selection(selector: Selector) -> None:
    """Raise StoreError ``nothing_selected`` for an empty selector."""
    if selector.is_empty:
        hint = "choose with --all, --fork, --profile or a pattern"
        raise StoreError("nothing_selected", "nothing was selected to clear", hint=hint)
