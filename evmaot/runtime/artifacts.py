"""What a runtime asks of an artifact store, and what it gets.

Job: identities and records of artifacts, and the protocol of stores.  Invariants: an artifact is identified by
profile, rules and digest of its code or template; a library holds one or many artifacts and is loaded as a whole; what
a store hands out is checked by it when it is loaded, not when it is listed.
May import: `evmaot.store`, `evmaot.abi`, errors, runtime.image, runtime.preloading, runtime.config.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from evmaot.runtime.config import BackendSelection
from evmaot.runtime.preloading import LibraryMapping

if TYPE_CHECKING:
    from evmaot.runtime.image import LoadedLibrary
    from evmaot.store.codes import StoredCode
    from evmaot.store.findings import Finding
    from evmaot.store.keys import Profile, StoredProfile
    from evmaot.store.manifest import Member


@dataclass(frozen=True, slots=True)
class ArtifactKey:
    """What makes two artifacts the same.  All digests are SHA-256, lowercase hex."""

    profile: str
    """Digest of everything besides code and fork that compiled bytes depend on."""
    code_sha256: str
    rules: str
    """Digest of what the compiler consulted of the fork."""


@dataclass(frozen=True, slots=True)
class ArtifactManifest:
    """What is known of an artifact without loading it."""

    key: ArtifactKey
    code_hash: bytes
    """Keccak-256 of the code, 32 bytes."""
    length: int
    """Bytes of code."""
    opcodes: str
    """Bitmap (hex) of the opcodes that the rules digest covers."""
    forks: tuple[str, ...]
    """Forks that it was built for; which forks it serves is decided by the key's rules."""
    tier: str
    backend: BackendSelection
    label: str
    compile_ms: int
    library_size_bytes: int
    """Of the library that it is in, which it may share."""


class ArtifactLibrary(Protocol):
    """One library of a store."""

    @property
    def identity(self) -> str:
        """The same for the same library, in any number of listings."""

    @property
    def subject(self) -> str:
        """Its name in messages."""

    @property
    def profile(self) -> StoredProfile:
        """What it was compiled under."""

    @property
    def members(self) -> Sequence[Member]:
        """What it holds."""

    @property
    def size_bytes(self) -> int:
        """Size of the library's bytes."""

    def load(self, mapping: LibraryMapping) -> LoadedLibrary:
        """Check it and load it.  Raises LoadError (the reference is the reason), TrustError."""


class StoredArtifact(NamedTuple):
    """One artifact as it lies in a store."""

    library: ArtifactLibrary
    member: Member

    @property
    def key(self) -> ArtifactKey:
        """Its identity."""
        return ArtifactKey(self.library.profile.digest, self.member.code_sha256, self.member.rules)

    @property
    def manifest(self) -> ArtifactManifest:
        """Its record."""
        member = self.member
        return ArtifactManifest(
            key=self.key,
            code_hash=bytes.fromhex(member.code_hash),
            length=member.length,
            opcodes=member.opcodes,
            forks=member.forks,
            tier=self.library.profile.profile.tier,
            backend=BackendSelection.LLVM,
            label=member.label,
            compile_ms=member.compile_ms,
            library_size_bytes=self.library.size_bytes,
        )


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in a store at one moment."""

    libraries: Sequence[ArtifactLibrary]
    refusals: Sequence[Finding] = ()
    """What could not be listed, with the reason."""

    def __iter__(self) -> Iterator[StoredArtifact]:
        for library in self.libraries:
            for member in library.members:
                yield StoredArtifact(library, member)


@dataclass(frozen=True, slots=True)
class NewLibrary:
    """A linked library that is to be stored."""

    data: bytes
    soname: str
    profile: Profile
    members: tuple[Member, ...]
    codes: tuple[StoredCode, ...] = ()
    """The bytecode in it, so that a store can have it compiled again."""


@runtime_checkable
class ArtifactStore(Protocol):
    """Where artifacts are kept.  Methods may block, and may be called from any one thread at a time.

    All raise StoreError (or what is derived from it) where the store can't be used.
    """

    @property
    def publishes_jit(self) -> bool:
        """Whether what hot keys were compiled to is to be stored."""

    def reading(self) -> AbstractContextManager[None]:
        """While it is held, nothing that was listed is removed."""

    def load_all(self) -> Inventory:
        """Everything."""

    def find(self, code_hash: bytes) -> Sequence[StoredArtifact]:
        """Artifacts of that code hash (keccak-256), as of now: of all profiles and rules."""

    def load(self, key: ArtifactKey) -> StoredArtifact | None:
        """The artifact of that key, as of now."""

    def store(self, library: NewLibrary) -> Sequence[StoredArtifact]:
        """Keep a library; answers its artifacts."""

    def delete(self, key: ArtifactKey) -> bool:
        """Remove an artifact; whether there was one."""

    def clear(self) -> None:
        """Remove all artifacts."""


@runtime_checkable
class TemplateStore(Protocol):
    """A store that finds templates as well.  Of one that does not, those are known that `load_all` had."""

    def find_for(self, code_hash: bytes, code: bytes) -> Sequence[StoredArtifact]:
        """What `find` answers, and the templates that the code is made of."""


@runtime_checkable
class WatchedStore(Protocol):
    """A store that tells cheaply whether its packs are still those that were listed."""

    def pack_names(self) -> frozenset[tuple[str, ...]]:
        """Names of all packs, as of now."""
