"""Collection: keep a store within its limits, and remove what nobody needs.

Job: decide which packs go (stale, too old, over the size, for room on the disk: the least recently used first), and
what lies around.  Invariants: what is pinned, younger than an hour, or not written by this format stays, whatever the
limits say; times in the future count as young, so that a clock that jumped removes nothing that is young; a pack
goes whole, its manifest first; it runs alone in the store.  Nothing here is called by the runtime.
May import: `evmaot.errors`, `evmaot.json_text`, the rest of the store.

A pack was used when it was published, when a build asked for what it holds (`mark_used`, once a day), or when its
library was read, where the file system keeps access times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from evmaot.errors import BusyError, EvmaotError, StoreError, TrustError
from evmaot.json_text import parse_json
from evmaot.store import removal
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import StoreFiles, translated
from evmaot.store.index import Pack, StoreIndex
from evmaot.store.keys import Profile, canonical_json
from evmaot.store.negative import record_paths
from evmaot.store.paths import QUARANTINE_NAME
from evmaot.store.pins import pinned_members

RECORD_SCHEMA: Final = "evmaot.collected/1"
YOUNG_SECONDS: Final = 3600.0
"""What is younger is never removed."""
DAY_SECONDS: Final = 86400.0
DEFAULT_MAX_SIZE_BYTES: Final = 10 << 30
DEFAULT_MAX_AGE_SECONDS: Final = 90 * DAY_SECONDS
DEFAULT_KEEP_FREE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """What a store may take.  None: no limit."""

    max_size_bytes: int | None = DEFAULT_MAX_SIZE_BYTES
    max_age_seconds: float | None = DEFAULT_MAX_AGE_SECONDS
    """Since it was used last."""
    keep_free: int | float | None = DEFAULT_KEEP_FREE
    """Room on the file system: bytes, or (a float) a share of its size."""
    is_stale: Callable[[Profile], bool] | None = None
    """Whether a profile's packs are to go whatever their age."""

    def room_bytes(self, disk_bytes: int) -> int:
        """Bytes that have to be free on a disk of that size."""
        if isinstance(self.keep_free, float):
            return round(self.keep_free * disk_bytes)
        return self.keep_free or 0


@dataclass(frozen=True, slots=True)
class Removed:
    """A pack that goes, and why."""

    sha256: str
    profile: str
    members: int
    size_bytes: int
    reason: str
    """``stale``, ``max_age``, ``max_size`` or ``keep_free``."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection did, or would do."""

    removed: tuple[Removed, ...] = ()
    size_before_bytes: int = 0
    """Libraries, manifests, bytecode, quarantine and left-overs."""
    size_after_bytes: int = 0
    free_bytes: int = 0
    """On the file system, before."""
    pinned_packs: int = 0
    young_packs: int = 0
    records_removed: int = 0
    """Remembered failures."""
    leftovers_bytes: int = 0
    """Files that nothing refers to."""
    quarantine_bytes: int = 0
    unmet: tuple[str, ...] = ()
    """Limits that could not be kept, for what is pinned or young stays: ``max_size``, ``keep_free``."""
    members: int = 0
    """Artifacts in what goes."""

    @property
    def freed_bytes(self) -> int:
        """Bytes that were given back."""
        return self.size_before_bytes - self.size_after_bytes


@dataclass(frozen=True, slots=True)
class _Held:
    """A pack as the collector sees it."""

    pack: Pack
    size_bytes: int
    age_seconds: float
    unused_seconds: float
    is_pinned: bool

    @property
    def may_go(self) -> bool:
        return not self.is_pinned and self.age_seconds >= YOUNG_SECONDS


def collect(
    store: ArtifactDirectory, limits: Limits, *, dry_run: bool = False, timeout_seconds: float | None = None
) -> Collection:
    """Bring a store within its limits, waiting that long (None: as the store does) for others to leave it.

    Raises BusyError ``store_busy``, CorruptionError ``pin_damaged``, StoreError.
    """
    with contextlib.nullcontext() if dry_run else store.exclusive_lock(timeout_seconds):
        index = store.index()
        chosen, result = _choose(store.files, _look(store.files, index), limits)
        if not dry_run:
            removal.apply_plan(store.files, index, {path: [] for path in chosen})
        swept = removal.sweep(store.files, min_age_seconds=YOUNG_SECONDS, dry_run=dry_run).bytes_freed
        quarantine, records = 0, 0
        if limits.max_age_seconds is not None:
            oldest = max(limits.max_age_seconds, YOUNG_SECONDS)
            quarantine = _empty_quarantine(store.files, oldest, dry_run=dry_run)
            records = _forget(store.files, oldest, dry_run=dry_run)
        if not dry_run:
            removal.remove_empty_profiles(store.files)
            _write_record(store.files, store.files.system.now_seconds())
        return replace(
            result,
            size_after_bytes=result.size_after_bytes - swept - quarantine,
            leftovers_bytes=swept,
            quarantine_bytes=quarantine,
            records_removed=records,
        )


def collect_if_due(store: ArtifactDirectory, limits: Limits) -> Collection | None:
    """Collect after a build: at most daily, or at once where the store is over its size.

    None where it is not due, or the store is in use: then the next build does it.  It removes by age only if the
    last collection is not longer ago than that age itself: whoever finds the clock that far ahead waits for the
    next day.  Raises StoreError, CorruptionError ``pin_damaged``.
    """
    now, last = store.files.system.now_seconds(), last_collection(store.files)
    due = last is None or not 0 <= now - last < DAY_SECONDS
    if not due and (limits.max_size_bytes is None or store_size_bytes(store) <= limits.max_size_bytes):
        return None
    age = limits.max_age_seconds
    if age is not None and (last is None or not 0 <= now - last < age):
        limits = replace(limits, max_age_seconds=None)
    with contextlib.suppress(BusyError):
        return collect(store, limits, timeout_seconds=0.0)
    return None


def mark_used(store: ArtifactDirectory, packs: Iterable[Pack]) -> None:
    """Note that a build asked for these packs.  Never fails: it only makes them look older than they are."""
    system = store.files.system
    now = system.now_seconds()
    for pack in packs:
        with contextlib.suppress(OSError):
            path = str(pack.manifest_path)
            if abs(now - system.lstat(path).st_mtime) > DAY_SECONDS:
                system.touch(path)


def store_size_bytes(store: ArtifactDirectory) -> int:
    """Bytes that the packs take."""
    return sum(_pack_size_bytes(store.files, pack) for pack in store.packs())


def last_collection(files: StoreFiles) -> float | None:
    """When the collector ran last, seconds since 1970; None where that is not known."""
    try:
        document = parse_json(files.read(files.paths.collected, 64 * 1024), allow_constants=False)
        seconds = document["seconds"]
        return float(seconds) if type(seconds) in (int, float) and document["schema"] == RECORD_SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, EvmaotError):
        return None


def _write_record(files: StoreFiles, seconds: float) -> None:
    document: dict[str, Any] = {"schema": RECORD_SCHEMA, "seconds": int(seconds), "time": files.now()}
    # On a full disk it has done what it can all the same; without a record the next build collects again.
    with contextlib.suppress(OSError):
        files.replace_document(files.paths.collected, canonical_json(document) + b"\n")


def _pack_size_bytes(files: StoreFiles, pack: Pack) -> int:
    codes = files.paths.pack_codes(pack.manifest.object.sha256)
    return sum(removal.size_bytes(files, path) for path in (pack.object_path, pack.manifest_path, codes))


def _look(files: StoreFiles, index: StoreIndex) -> list[_Held]:
    """Every pack, the least recently used first."""
    pinned = pinned_members(files)
    held = []
    for pack in index.packs:
        profile = pack.manifest.profile
        keeps = bool(pinned) and any((profile, m.code_sha256, m.rules) in pinned for m in pack.manifest.members)
        age, unused = _ages(files, pack)
        held.append(_Held(pack, _pack_size_bytes(files, pack), age, unused, keeps))
    return sorted(held, key=lambda item: (-item.unused_seconds, item.pack.manifest.object.sha256))


def _ages(files: StoreFiles, pack: Pack) -> tuple[float, float]:
    """Seconds since the youngest file of a pack was written, and since it was used."""
    now = files.system.now_seconds()
    written, used = 0.0, 0.0
    for path in (pack.manifest_path, pack.object_path):
        try:
            status = files.system.lstat(str(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError("store_io", f"could not look at {path}", cause=error.strerror) from error
        written = max(written, status.st_mtime)
        used = max(used, status.st_mtime, status.st_atime if path == pack.object_path else 0.0)
    # A time in the future: the clock was wrong then, or is now.  Either way nothing is known to be old.
    return max(0.0, now - written), max(0.0, now - used)


def _choose(files: StoreFiles, held: list[_Held], limits: Limits) -> tuple[dict[Path, str], Collection]:
    """Manifests that go, with the reason; and the counts."""
    with translated("ask for the room on the disk", files.paths.root):
        free, disk = files.system.space(str(files.paths.root))
    lying = sum(removal.size_bytes(files, path) for path in removal.unreferenced(files) + removal.leftovers(files))
    quarantined = sum(removal.size_bytes(files, path) for path in _quarantined_files(files))
    total = before = sum(item.size_bytes for item in held) + lying + quarantined
    chosen: dict[Path, str] = {}
    wanted_free = limits.room_bytes(disk)
    for item in held:
        if not item.may_go:
            continue
        if limits.is_stale is not None and limits.is_stale(item.pack.profile.profile):
            reason = "stale"
        elif limits.max_age_seconds is not None and item.unused_seconds > limits.max_age_seconds:
            reason = "max_age"
        else:
            continue
        chosen[item.pack.manifest_path] = reason
        total -= item.size_bytes
    for item in held:
        if not item.may_go or item.pack.manifest_path in chosen:
            continue
        if limits.max_size_bytes is not None and total > limits.max_size_bytes:
            reason = "max_size"
        elif free + before - total < wanted_free:
            reason = "keep_free"
        else:
            break
        chosen[item.pack.manifest_path] = reason
        total -= item.size_bytes
    unmet = []
    if limits.max_size_bytes is not None and total > limits.max_size_bytes:
        unmet.append("max_size")
    if free + before - total < wanted_free:
        unmet.append("keep_free")
    return chosen, Collection(
        removed=tuple(_removed(item, chosen) for item in held if item.pack.manifest_path in chosen),
        size_before_bytes=before,
        size_after_bytes=total,
        free_bytes=free,
        pinned_packs=sum(item.is_pinned for item in held),
        young_packs=sum(item.age_seconds < YOUNG_SECONDS for item in held),
        unmet=tuple(unmet),
        members=sum(len(item.pack.manifest.members) for item in held if item.pack.manifest_path in chosen),
    )


def _removed(item: _Held, chosen: dict[Path, str]) -> Removed:
    manifest = item.pack.manifest
    reason = chosen[item.pack.manifest_path]
    return Removed(manifest.object.sha256, manifest.profile, len(manifest.members), item.size_bytes, reason)


def _quarantines(files: StoreFiles) -> Iterator[tuple[Path, list[Path]]]:
    """Directories in quarantine and their files; one that is not to be trusted, as a link, is left alone."""
    for name in files.names(files.paths.quarantine):
        directory = files.paths.quarantine / name
        if QUARANTINE_NAME.fullmatch(name):
            with contextlib.suppress(TrustError):
                yield directory, [directory / item for item in files.names(directory)]


def _quarantined_files(files: StoreFiles) -> list[Path]:
    return [path for _, found in _quarantines(files) for path in found]


def _empty_quarantine(files: StoreFiles, oldest_seconds: float, *, dry_run: bool) -> int:
    """Remove what was moved aside that long ago; answers its bytes."""
    freed = 0
    with translated("empty the quarantine", files.paths.quarantine):
        for directory, found in _quarantines(files):
            if removal.age_seconds(files, directory) < oldest_seconds:
                continue
            for path in found:
                freed += removal.size_bytes(files, path)
                if not dry_run:
                    files.system.unlink(str(path))
            if not dry_run:
                files.system.rmdir(str(directory))
    return freed


def _forget(files: StoreFiles, oldest_seconds: float, *, dry_run: bool) -> int:
    """Forget failures that long ago; answers their number."""
    count = 0
    with translated("forget old failures", files.paths.negative):
        for path in record_paths(files):
            if removal.age_seconds(files, path) >= oldest_seconds:
                count += 1
                if not dry_run:
                    files.system.unlink(str(path))
    return count
