"""A store that lives as long as the process: `RuntimeArtifactStore`.

Job: keep libraries that a backend was asked to prepare when no durable store was named, so that evicted code can be
loaded again.  Invariants: the index is in memory alone; bytes lie in a private directory that goes with the object,
and are believed only after their SHA-256.  May import: `evmaot.store.keys`, `evmaot.store.manifest`, `evmaot.evm`,
errors, runtime.artifacts, runtime.image, runtime.loading.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from evmaot.errors import LoadError, StoreError
from evmaot.evm.template import TemplateTable
from evmaot.runtime.artifacts import ArtifactKey, Inventory, NewLibrary, StoredArtifact
from evmaot.runtime.image import LoadedLibrary, load_image
from evmaot.runtime.preloading import LibraryMapping
from evmaot.store.keys import StoredProfile
from evmaot.store.manifest import Member


class _TemporaryLibrary:
    """A library of a temporary store."""

    __slots__ = ("_path", "_sha256", "identity", "members", "profile", "size_bytes")

    def __init__(self, path: Path, sha256: str, library: NewLibrary) -> None:
        self._path = path
        self._sha256 = sha256
        self.profile = StoredProfile(library.profile.digest, library.profile)
        self.identity = f"{library.profile.digest} {sha256}"
        self.members: Sequence[Member] = library.members
        self.size_bytes = len(library.data)

    @property
    def subject(self) -> str:
        """Path of the library."""
        return str(self._path)

    def load(self, mapping: LibraryMapping) -> LoadedLibrary:
        """Check and load it; always as a copy.  Raises LoadError ``object_missing``, ``hash_mismatch``."""
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise LoadError("object_missing", f"library not loaded: {self._path.name}", cause=str(error)) from error
        if hashlib.sha256(data).hexdigest() != self._sha256:
            raise LoadError("hash_mismatch", f"library not loaded: {self._path.name}")
        return load_image(data, subject=self.subject)


class RuntimeArtifactStore:
    """Artifacts of this process only."""

    publishes_jit = False

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._libraries: dict[str, _TemporaryLibrary] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing is removed by others."""
        yield

    def load_all(self) -> Inventory:
        """Everything."""
        with self._lock:
            return Inventory(list(self._libraries.values()))

    def find(self, code_hash: bytes) -> Sequence[StoredArtifact]:
        """Artifacts of a code hash (keccak-256)."""
        wanted = code_hash.hex()
        return [artifact for artifact in self.load_all() if artifact.member.code_hash == wanted]

    def find_for(self, code_hash: bytes, code: bytes) -> Sequence[StoredArtifact]:
        """The same, and templates that the code is made of."""
        templates: TemplateTable[StoredArtifact] = TemplateTable()
        for artifact in self.load_all():
            member = artifact.member
            if member.holes:
                templates.add(member.length, member.holes, member.code_sha256, artifact)
        return [*self.find(code_hash), *templates.matching(code)]

    def load(self, key: ArtifactKey) -> StoredArtifact | None:
        """The artifact of a key, None if there is none."""
        return next((artifact for artifact in self.load_all() if artifact.key == key), None)

    def store(self, library: NewLibrary) -> Sequence[StoredArtifact]:
        """Keep a library; answers its artifacts.  Raises StoreError ``store_io``."""
        sha256 = hashlib.sha256(library.data).hexdigest()
        try:
            with self._lock:
                path = self._home() / f"{sha256}.so"
                path.write_bytes(library.data)
                kept = self._libraries[sha256] = _TemporaryLibrary(path, sha256, library)
        except OSError as error:
            raise StoreError("store_io", "could not keep a library in the temporary store", cause=str(error)) from error
        return [StoredArtifact(kept, member) for member in kept.members]

    def delete(self, key: ArtifactKey) -> bool:
        """Remove an artifact, with its library when that holds no other; whether there was one."""
        found = self.load(key)
        if found is None:
            return False
        kept = [member for member in found.library.members if member != found.member]
        with self._lock:
            for sha256, library in list(self._libraries.items()):
                if library is not found.library:
                    continue
                if kept:
                    library.members = kept
                else:
                    del self._libraries[sha256]
                    with contextlib.suppress(OSError):
                        os.unlink(library.subject)
        return True

    def clear(self) -> None:
        """Remove all artifacts."""
        with self._lock:
            libraries, self._libraries = list(self._libraries.values()), {}
            for library in libraries:
                with contextlib.suppress(OSError):
                    os.unlink(library.subject)

    def _home(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="evmaot-"))
            weakref.finalize(self, _remove, self._directory, os.getpid())
        return self._directory


def _remove(directory: Path, process_id: int) -> None:
    # A child of `fork` has the object as well; the directory is its parent's.
    if os.getpid() == process_id:
        shutil.rmtree(directory, ignore_errors=True)
