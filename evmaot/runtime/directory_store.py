"""The durable directory store as an `ArtifactStore`.

Job: join `evmaot.store.directory` to the runtime.  Invariants: nothing is written, not even a lock file, before
something is to be stored or removed; the store is made when the first artifact is stored.
May import: `evmaot.store`, errors, runtime.artifacts, runtime.loading.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from evmaot.errors import StoreError
from evmaot.runtime.artifacts import ArtifactKey, Inventory, NewLibrary, StoredArtifact
from evmaot.runtime.image import LoadedLibrary
from evmaot.runtime.loading import load_pack
from evmaot.runtime.preloading import LibraryMapping
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import Durability, StoreFiles
from evmaot.store.index import Entry, Pack, StoreIndex
from evmaot.store.keys import StoredProfile
from evmaot.store.locks import UnitLocks
from evmaot.store.manifest import Member
from evmaot.store.paths import PROFILE_ID

LOCK_TIMEOUT_SECONDS: Final = 5.0
"""How long opening a store waits for one that removes from it; then BusyError."""


class PackLibrary:
    """A pack of a directory store."""

    __slots__ = ("_files", "identity", "members", "pack", "profile", "size_bytes")

    def __init__(self, files: StoreFiles, pack: Pack) -> None:
        self._files = files
        self.pack = pack
        self.identity = f"{pack.profile.digest} {pack.manifest.object.sha256}"
        self.profile: StoredProfile = pack.profile
        self.members: Sequence[Member] = pack.manifest.members
        self.size_bytes = pack.manifest.object.size

    @property
    def subject(self) -> str:
        """Path of the library."""
        return str(self.pack.object_path)

    def load(self, mapping: LibraryMapping) -> LoadedLibrary:
        """Check it and load it (`runtime.loading.load_pack`).  Raises LoadError, TrustError."""
        return load_pack(self._files, self.pack, mapping)


class DirectoryStore:
    """A store on disk (`evmaot.store.paths` draws it), which other processes may use at the same time.

    With `publish_jit`, a backend stores what it compiled for hot keys.  Raises nothing: the directory is looked at
    when it is used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        publish_jit: bool = False,
        durability: Durability = Durability.BATCH,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
        require_signed: bool = False,
    ) -> None:
        """`require_signed`: packs that were imported without a trusted signature are left out (``unsigned``)."""
        self.path = Path(path)
        self.publishes_jit = publish_jit
        self._require_signed = require_signed
        self._durability = durability
        self._lock_timeout_seconds = lock_timeout_seconds
        self._reader: ArtifactDirectory | None = None
        self._writer: ArtifactDirectory | None = None

    def _directory(self) -> ArtifactDirectory:
        if self._reader is None:
            self._reader = ArtifactDirectory.open(
                self.path,
                read_only=True,
                lock_timeout_seconds=self._lock_timeout_seconds,
                require_signed=self._require_signed,
            )
        return self._reader

    def _writable(self, *, create: bool) -> ArtifactDirectory:
        if self._writer is None:
            self._writer = ArtifactDirectory.open(
                self.path,
                create=create,
                durability=self._durability,
                require_signed=self._require_signed,
                lock_timeout_seconds=self._lock_timeout_seconds,
            )
        return self._writer

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the store's shared lock: what removes packs has to wait.  Raises BusyError, StoreError."""
        with self._directory().shared_lock():
            yield

    def load_all(self) -> Inventory:
        """All packs.  Raises StoreError, TrustError."""
        directory = self._directory()
        index = directory.index()
        root = directory.paths.root
        refusals = [replace(finding, subject=str(root / finding.subject)) for finding in index.refusals]
        return Inventory([PackLibrary(directory.files, pack) for pack in index.packs], refusals)

    def pack_names(self) -> frozenset[tuple[str, ...]]:
        """Profile and name of every manifest, none of which is read.  Raises StoreError, TrustError."""
        files = self._directory().files
        profiles = [name for name in files.names(files.paths.profiles) if PROFILE_ID.fullmatch(name)]
        return frozenset((short, name) for short in profiles for name in files.names(files.paths.packs(short)))

    def find(self, code_hash: bytes) -> Sequence[StoredArtifact]:
        """Artifacts of a code hash; manifests that did not change are not read again."""
        return [self._artifact(entry) for entry in self._index().by_code_hash(code_hash.hex())]

    def find_for(self, code_hash: bytes, code: bytes) -> Sequence[StoredArtifact]:
        """The same, and templates that the code is made of."""
        index = self._index()
        found = [*index.by_code_hash(code_hash.hex()), *index.templates_of(code)]
        return [self._artifact(entry) for entry in found]

    def _index(self) -> StoreIndex:
        try:
            return self._directory().index()
        except StoreError as error:
            if error.reference == "store_missing":
                return StoreIndex((), ())
            raise

    def load(self, key: ArtifactKey) -> StoredArtifact | None:
        """The artifact of a key, None if there is none."""
        entry = self._directory().index().find(key.profile, key.code_sha256, key.rules, holes=None)
        return None if entry is None else self._artifact(entry)

    def store(self, library: NewLibrary) -> Sequence[StoredArtifact]:
        """Publish a library as one pack, making the store where it is missing.  Raises StoreError."""
        from evmaot.abi.library import TABLE_SYMBOL
        from evmaot.store.manifest import ObjectRecord, Origin, PackManifest, clean_label
        from evmaot.store.publication import NewPack
        from evmaot.version import VERSION

        directory = self._writable(create=True)
        sha256 = hashlib.sha256(library.data).hexdigest()
        manifest = PackManifest(
            profile=library.profile.digest,
            object=ObjectRecord(sha256, len(library.data), library.soname, TABLE_SYMBOL),
            origin=Origin("jit", f"evmaot {VERSION}", clean_label(os.uname().nodename)),
            created=directory.files.now(),
            members=library.members,
        )
        directory.publish_batch([NewPack(library.data, manifest, library.profile, codes=library.codes)])
        index = directory.index([library.profile.short])
        packs = [pack for pack in index.packs if pack.manifest.object.sha256 == sha256]
        return [self._artifact(Entry(pack, member)) for pack in packs for member in pack.manifest.members]

    def delete(self, key: ArtifactKey) -> bool:
        """Remove an artifact; whether there was one.  Raises StoreError, BusyError."""
        if self.load(key) is None:
            return False
        report = self._writable(create=False).remove_members([(key.profile, key.code_sha256, key.rules)])
        return report.members_removed > 0

    def unit_locks(self) -> UnitLocks:
        """Locks of unit keys, which the caller closes; makes the store where it is missing.  Raises StoreError."""
        return self._writable(create=True).unit_locks()

    def clear(self) -> None:
        """Remove every artifact and every remembered failure.  Raises StoreError, BusyError."""
        from evmaot.store.removal import Selector

        try:
            self._writable(create=False).clear(Selector(everything=True))
        except StoreError as error:
            if error.reference != "store_missing":
                raise

    def _artifact(self, entry: Entry) -> StoredArtifact:
        return StoredArtifact(PackLibrary(self._directory().files, entry.pack), entry.member)
