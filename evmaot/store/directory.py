"""The durable artifact store: a directory (its tree is drawn in `evmaot.store.paths`).

Job: open or create it, judge its trust, and offer everything that is done to it.  Invariants: a store that was opened
`read_only` writes nothing, not even a lock file; a store that others can write to is refused; every OSError becomes
a StoreError.  It is imported by the runtime, so it and what it imports stay small.  May import: `evmaot.errors`,
`evmaot.evm`, `evmaot.json_text`, the rest of the store.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evmaot.errors import CorruptionError, StoreError, UsageError
from evmaot.json_text import parse_json
from evmaot.store.files import Durability, StoreFiles, store_error, translated
from evmaot.store.findings import Finding
from evmaot.store.index import Entry, IndexReader, MemberKey, Pack, StoreIndex
from evmaot.store.keys import Profile, StoredProfile, canonical_json
from evmaot.store.locks import StoreLock, UnitLocks
from evmaot.store.manifest import PackManifest
from evmaot.store.paths import CACHEDIR_TAG, ROOT_NAMES, StorePaths
from evmaot.store.system import System

if TYPE_CHECKING:
    from evmaot.store.negative import NegativeRecord
    from evmaot.store.pins import Pin
    from evmaot.store.publication import LibraryRules, NewPack
    from evmaot.store.removal import RemovalReport, Selector

STORE_SCHEMA: Final = "evmaot.store/1"
FORMAT_VERSION: Final = 1
"""What this version writes, and the newest that it reads."""
DEFAULT_LOCK_TIMEOUT_SECONDS: Final = 30.0
_MAX_STORE_DOCUMENT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class StoreDocument:
    """The file STORE."""

    id: str
    created: str
    writer_min: int
    """A program must know this format version to write here."""
    reader_min: int


def _default_library_rules(library: bytes) -> str | None:
    from evmaot.store.elf_rules import check_library

    return check_library(library)


class ArtifactDirectory:
    """An open store.  Holds no descriptor and no lock between calls."""

    def __init__(
        self,
        files: StoreFiles,
        document: StoreDocument,
        *,
        read_only: bool,
        lock_timeout_seconds: float,
        library_rules: LibraryRules,
        require_signed: bool = False,
    ) -> None:
        self.files = files
        self.paths = files.paths
        self.document = document
        self.read_only = read_only
        self.lock_timeout_seconds = lock_timeout_seconds
        self._library_rules = library_rules
        self.require_signed = require_signed
        self._reader = IndexReader(files, require_signed=require_signed)
        self._lock = StoreLock(files, may_create=not read_only)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = False,
        read_only: bool = False,
        durability: Durability = Durability.BATCH,
        lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
        system: System | None = None,
        library_rules: LibraryRules = _default_library_rules,
        require_signed: bool = False,
    ) -> ArtifactDirectory:
        """Open a store; with `create`, make it where it is missing.

        `require_signed`: packs that were imported without a trusted signature are refusals of the index.

        Raises StoreError ``store_missing``, ``not_a_store``, ``store_not_writable``, ``store_full``, ``format_newer``;
        TrustError ``store_untrusted``; CorruptionError ``store_damaged``.
        """
        if create and read_only:
            raise UsageError("read_only_create", "a store can't be created read-only")
        paths = StorePaths(Path(os.path.realpath(path)))
        files = StoreFiles(paths, system or System(), durability)
        if not files.trusted_directory(paths.root) and not create:
            raise _missing(paths.root)
        if create:
            _create(files)
        for directory in paths.directories:
            files.trusted_directory(directory)
        document = _read_document(files)
        if document.reader_min > FORMAT_VERSION:
            raise _newer(paths.root, "read", document.reader_min)
        return cls(
            files,
            document,
            read_only=read_only,
            lock_timeout_seconds=lock_timeout_seconds,
            library_rules=library_rules,
            require_signed=require_signed,
        )

    # Reading.

    def index(self, profile_ids: Iterable[str] | None = None) -> StoreIndex:
        """What is in the store now; a manifest that did not change since the last call is not read again."""
        return self._reader.read(profile_ids)

    def profiles(self) -> list[StoredProfile]:
        """Profiles that have packs, without reading the packs' manifests."""
        return [place.profile for place in IndexReader(self.files).places(None, [])]

    def packs(self) -> Sequence[Pack]:
        """All packs whose manifests can be used."""
        return self.index().packs

    def library_is_there(self, pack: Pack) -> bool:
        """Whether the pack's library exists with the size that its manifest says; the bytes are not read."""
        try:
            self.files.trusted_directory(pack.object_path.parent)
            status = self.files.system.lstat(str(pack.object_path))
            self.files.require_trusted(status, pack.object_path)
        except (OSError, StoreError):
            return False
        return status.st_size == pack.manifest.object.size

    def verify(self, level: str = "hash", only: Collection[Path] | None = None) -> list[Finding]:
        """Findings of a level of `evmaot.store.verification`; `only` some manifests' libraries, or all."""
        from evmaot.store.verification import verify

        # Every manifest is read again: what is remembered is what is being judged.
        return verify(self.files, IndexReader(self.files).read(), level, only)

    def failure(self, profile: Profile, unit_key: str) -> NegativeRecord | None:
        """Why a unit could not be compiled when it was tried last, None where nothing is remembered."""
        from evmaot.store.negative import read_record

        return read_record(self.files, profile.short, unit_key)

    # Locks.

    @contextlib.contextmanager
    def shared_lock(self, timeout_seconds: float | None = None) -> Iterator[None]:
        """Keep others from removing; many may hold it.  Raises BusyError ``store_busy``."""
        timeout = self.lock_timeout_seconds if timeout_seconds is None else timeout_seconds
        with self._lock.shared(timeout):
            yield

    @contextlib.contextmanager
    def exclusive_lock(self, timeout_seconds: float | None = None) -> Iterator[None]:
        """Be alone.  Raises BusyError ``store_busy``, also where this process holds a shared lock."""
        self.require_writable()
        timeout = self.lock_timeout_seconds if timeout_seconds is None else timeout_seconds
        with self._lock.exclusive(timeout):
            yield

    def unit_locks(self) -> UnitLocks:
        """Locks for single flight; a context manager."""
        self.require_writable()
        return UnitLocks(self.files)

    # Writing.

    @property
    def may_write(self) -> bool:
        """Whether `require_writable` lets this program write here; what the system says is another matter."""
        return not self.read_only and self.document.writer_min <= FORMAT_VERSION

    def require_writable(self) -> None:
        """Raise StoreError ``store_read_only`` or ``format_newer`` where this store may not be written.

        What somebody removed while it was open, a part or all of it, is made again: a store is a cache.
        """
        if self.read_only:
            raise StoreError(
                "store_read_only",
                f"the store was opened read-only: {self.paths.root}",
                context={"path": str(self.paths.root)},
                hint="leave out --read-only",
            )
        if self.document.writer_min > FORMAT_VERSION:
            raise _newer(self.paths.root, "write", self.document.writer_min)
        if not (self.files.trusted_directory(self.paths.tmp) and self.files.trusted_directory(self.paths.locks)):
            _create(self.files)

    def publish(self, library: bytes, manifest: PackManifest, profile: Profile) -> Path:
        """Publish one pack; answers the path of its library.  Raises StoreError."""
        from evmaot.store.publication import NewPack

        return self.publish_batch([NewPack(library, manifest, profile)])[0]

    def publish_batch(self, packs: Sequence[NewPack]) -> list[Path]:
        """Publish packs (`evmaot.store.publication`); answers the paths of their libraries.  Raises StoreError."""
        from evmaot.store.publication import publish_batch

        self.require_writable()
        with self.shared_lock():
            alone = partial(self._lock.manifests, self.lock_timeout_seconds)
            return publish_batch(self.files, packs, self._library_rules, alone)

    def add_forks(self, packs: Iterable[Pack], wanted: Mapping[tuple[str, str], Collection[str]]) -> int:
        """Note that members (SHA-256 of the code, rules) of packs are wanted for more forks; answers their number.

        What `clear` of one fork may take is decided by this.  Raises StoreError, BusyError.
        """
        from evmaot.store.publication import add_forks

        paths = [
            pack.manifest_path
            for pack in packs
            if any(not set(wanted.get((m.code_sha256, m.rules), ())) <= set(m.forks) for m in pack.manifest.members)
        ]
        if not paths:
            return 0
        self.require_writable()
        timeout, doing = self.lock_timeout_seconds, translated("note forks", self.paths.profiles)
        with self.shared_lock(), self._lock.manifests(timeout), doing:
            return add_forks(self.files, paths, wanted)

    def remember_failure(self, profile: Profile, record: NegativeRecord) -> None:
        """Remember that a unit could not be compiled.  Raises StoreError."""
        from evmaot.store.negative import write_record

        self.require_writable()
        # A sweep takes whatever lies in tmp/ while nobody holds the lock.
        with self.shared_lock():
            write_record(self.files, profile.short, record)

    def forget_failure(self, profile: Profile, unit_key: str) -> None:
        """Forget it, where it is remembered."""
        from evmaot.store.negative import forget_record

        self.require_writable()
        forget_record(self.files, profile.short, unit_key)

    def pin(self, name: str, keys: Iterable[MemberKey], *, add: bool = False) -> Pin:
        """Keep artifacts under a name: these instead of what it kept, or in addition.

        Raises UsageError ``bad_pin_name``, StoreError, CorruptionError ``pin_damaged``.
        """
        from evmaot.store import pins

        self.require_writable()
        with self.shared_lock(), self._lock.pins(self.lock_timeout_seconds):
            members = set(keys)
            if add and name in pins.pin_names(self.files):
                members |= pins.read_pin(self.files, name).members
            return pins.write_pin(self.files, name, members)

    def unpin(self, name: str) -> None:
        """Remove a pin.  Raises UsageError ``no_such_pin``, StoreError."""
        from evmaot.store.pins import remove_pin

        self.require_writable()
        with self.shared_lock(), self._lock.pins(self.lock_timeout_seconds):
            remove_pin(self.files, name)

    def retire(self, manifests: Iterable[Path]) -> None:
        """Take packs out that a larger pack replaces; their libraries go with the next sweep.  Raises StoreError."""
        from evmaot.store.removal import remove_manifests

        self.require_writable()
        remove_manifests(self.files, manifests)

    def remove_members(self, keys: Collection[MemberKey], *, dry_run: bool = False) -> RemovalReport:
        """Remove members by (profile digest, SHA-256 of the code, rules digest); answers a RemovalReport."""
        from evmaot.store import removal

        with contextlib.nullcontext() if dry_run else self.exclusive_lock():
            index = self.index()
            return removal.apply_plan(self.files, index, removal.plan_members(index, keys), dry_run=dry_run)

    def clear(self, selector: Selector, *, include_pinned: bool = False, dry_run: bool = False) -> RemovalReport:
        """Remove what the selector selects, and what nothing refers to; pinned artifacts only where included.

        With a fork selected, a member that was built for other forks too stays for these.  Raises StoreError
        ``nothing_selected``, BusyError, CorruptionError ``pin_damaged``.
        """
        from evmaot.store import pins, removal

        removal.require_selection(selector)
        with contextlib.nullcontext() if dry_run else self.exclusive_lock():
            index = self.index()
            pinned = frozenset() if include_pinned else pins.pinned_members(self.files)
            plan, kept = removal.plan_selection(index, selector, pinned)
            report = replace(removal.apply_plan(self.files, index, plan, dry_run=dry_run), members_kept_for_pins=kept)
            if selector.everything and not dry_run:
                removal.remove_refused(self.files, index)
            records = 0
            if not selector.forks and selector.pattern is None:
                records = removal.clear_records(self.files, selector.profiles, dry_run=dry_run)
            swept = 0
            if not dry_run:
                swept = removal.sweep(self.files).bytes_freed
                removal.remove_empty_profiles(self.files)
            return replace(report, records_removed=records, bytes_freed=report.bytes_freed + swept)

    def sweep(self, timeout_seconds: float | None = None) -> RemovalReport:
        """Remove unreferenced libraries and left-over files; answers a RemovalReport.  Raises BusyError."""
        from evmaot.store import removal

        with self.exclusive_lock(timeout_seconds):
            return removal.sweep(self.files)

    def quarantine(self, pack: Pack) -> list[Path]:
        """Move a damaged pack's manifest and library aside; answers their new paths.  Raises StoreError."""
        return self.quarantine_files(pack.manifest.object.sha256, [pack.manifest_path, pack.object_path])

    def quarantine_files(self, object_sha256: str, paths: Sequence[Path]) -> list[Path]:
        """Move damaged files of a pack aside, in that order; answers their new paths.  Raises StoreError."""
        from evmaot.store.publication import quarantine_file

        moved: list[Path] = []
        with self.exclusive_lock(), translated("quarantine a pack", paths[-1]):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    moved.append(quarantine_file(self.files, path, object_sha256))
            self.files.sync_directories([path.parent for path in paths] + [self.paths.quarantine])
        return moved


def _create(files: StoreFiles) -> None:
    paths, system = files.paths, files.system
    with translated("create the store", paths.root):
        for parent in [*reversed(paths.root.parents), paths.root]:
            if not os.path.isdir(parent):
                with contextlib.suppress(FileExistsError):
                    system.mkdir(str(parent), 0o700 if parent == paths.root else 0o755)
        files.trusted_directory(paths.root)
        names = set(files.names(paths.root))
        if "STORE" not in names and names - ROOT_NAMES:
            raise StoreError(
                "not_a_store",
                f"not made into a store, for it holds other files: {paths.root}",
                context={"path": str(paths.root), "found": sorted(names - ROOT_NAMES)[:5]},
                hint="choose an empty or a new directory",
            )
        for directory in paths.directories[1:]:
            files.make_directory(directory)
        if "STORE" in names:
            return
        files.replace_document(paths.tag, CACHEDIR_TAG)
        document = {
            "schema": STORE_SCHEMA,
            "id": os.urandom(16).hex(),
            "created": files.now(),
            "writer_min": FORMAT_VERSION,
            "reader_min": FORMAT_VERSION,
        }
        # Two processes may get here; the first one's document stays.
        temporary = files.write_temporary(canonical_json(document) + b"\n")
        try:
            with contextlib.suppress(FileExistsError):
                system.link(str(temporary), str(paths.store_document))
        finally:
            files.discard(temporary)
        files.sync_directory(paths.root)


def _read_document(files: StoreFiles) -> StoreDocument:
    path = files.paths.store_document
    try:
        document = parse_json(files.read(path, _MAX_STORE_DOCUMENT_BYTES), allow_constants=False)
    except FileNotFoundError as error:
        if _is_unfinished(files):
            raise _missing(files.paths.root) from error
        raise StoreError(
            "not_a_store",
            f"not a store: {files.paths.root}",
            context={"path": str(files.paths.root)},
            cause="it has no file STORE",
            hint="evmaot build makes one",
        ) from error
    except OSError as error:
        raise store_error(error, "read the store", path) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or not str(document.get("schema")).startswith("evmaot.store/"):
        raise _damaged(path, "it is not a document of a store")
    types = {"id": str, "created": str, "writer_min": int, "reader_min": int}
    if any(type(document.get(name)) is not kind for name, kind in types.items()):
        raise _damaged(path, "a field is missing or has the wrong type")
    return StoreDocument(**{name: document[name] for name in types})


def _is_unfinished(files: StoreFiles) -> bool:
    """Whether a store is being made here right now, or could be: then there is none yet."""
    paths = files.paths
    is_ours = set(files.names(paths.root)) <= ROOT_NAMES
    return is_ours and not any(files.names(directory) for directory in (paths.profiles, paths.objects))


def _damaged(path: Path, cause: str) -> CorruptionError:
    return CorruptionError("store_damaged", f"damaged: {path}", context={"path": str(path)}, cause=cause)


def _missing(root: Path) -> StoreError:
    return StoreError(
        "store_missing", f"there is no store at {root}", context={"path": str(root)}, hint="evmaot build makes one"
    )


def _newer(root: Path, verb: str, needed: int) -> StoreError:
    return StoreError(
        "format_newer",
        f"this version can't {verb} the store at {root}",
        context={"path": str(root), "needed": needed, "known": FORMAT_VERSION},
        cause=f"it asks for format version {needed}; this version knows {FORMAT_VERSION}",
        hint="upgrade evmaot",
    )


__all__ = ["ArtifactDirectory", "Entry", "Pack", "StoreIndex"]
