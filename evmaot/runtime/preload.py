"""The resident map: artifact stores in, compiled programs out, by (code hash, fork).

Job: index stores, load their libraries (all at once, or each at its first look-up), answer in O(1).
Invariants: which fork an artifact serves is decided by its rules digest, never by the names in its
manifest; damage, mismatch or a missing permission is a counted reason, a log line and a miss, never an
exception and never another result; a program that was handed out stays valid.
May import: `evmaot.store`, `evmaot.evm`, errors, other parts of the runtime.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple, TypeVar

from evmaot.errors import EvmaotError, TrustError, UsageError
from evmaot.evm.forks import FORKS, fork_named
from evmaot.runtime.image import LoadedLibrary
from evmaot.runtime.loading import LibraryMapping, load_pack, profile_refusal
from evmaot.runtime.lookup import Compiled, Interpret, InterpretReason, LookupDecision, LookupRequest, is_eligible
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.files import StoreFiles
from evmaot.store.index import Pack, rules_digest
from evmaot.store.manifest import Member

logger = logging.getLogger("evmaot.runtime")

_TIER_RANKS = {"optimised": 0, "fast": 1}
"""Better code first; a tier that this version does not know comes last."""
_MISSES = frozenset({"store_missing", "store_untrusted", "format_newer"})
"""Why a whole store may be left out without an error (STORE, section 4)."""


LOCK_TIMEOUT_SECONDS = 5.0
"""How long opening a store waits for one that removes from it; then BusyError."""


class Preload(Enum):
    """When libraries are loaded."""

    EAGER = "eager"
    """All when the store is opened."""
    LAZY = "lazy"
    """Each at the first look-up that needs it."""


@dataclass(frozen=True, slots=True)
class PreloadStatistics:
    """What became of the stores.  A snapshot."""

    stores: int
    """Stores that were read."""
    programs_indexed: int
    """Members of libraries that fit this process."""
    programs_loaded: int
    """Members of libraries that are loaded."""
    libraries_indexed: int
    libraries_loaded: int
    loaded_bytes: int
    """Size of the loaded libraries."""
    duplicates: int
    """Members that another one, equally good and found first, stands before."""
    skipped: Mapping[str, int]
    """Manifests and libraries (and whole stores) that were left out, by reason."""
    seconds: float
    """Time spent opening stores and loading libraries."""


_Choice = TypeVar("_Choice", bound=Enum)


def _choice(kind: type[_Choice], value: _Choice | str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        known = [member.value for member in kind]
        raise UsageError(
            "unknown_value",
            f"unknown {kind.__name__.lower()} {value!r}",
            context={"value": value, "known": known},
            hint="one of: " + ", ".join(known),
        ) from None


class _Library:
    """A pack and what became of it."""

    __slots__ = ("files", "loaded", "pack", "programs", "rank", "refused")

    def __init__(self, files: StoreFiles, pack: Pack, order: int) -> None:
        self.files = files
        self.pack = pack
        profile = pack.profile.profile
        # The best that fits: the optimised tier, then code for more CPU features, then the first found.
        self.rank = (_TIER_RANKS.get(profile.tier, len(_TIER_RANKS)), -len(profile.features), order)
        self.loaded: LoadedLibrary | None = None
        self.refused = False
        self.programs: dict[int, CompiledProgram] = {}
        """By slot, made at the first look-up: forks of equal rules get one object."""


class _Candidate(NamedTuple):
    rank: tuple[int, int, int]
    library: _Library
    member: Member


class ResidentPrograms:
    """Compiled programs of one or several stores.

    Look-ups may come from any thread; they take a lock only where one loads a library (lazy preload).
    """

    def __init__(
        self, *, mapping: LibraryMapping = LibraryMapping.FILE, profiles: Collection[str] | None = None
    ) -> None:
        """`profiles`: digests (hex) of the only profiles to be used; None: all that fit this process."""
        self._mapping = mapping
        self._profiles = None if profiles is None else frozenset(profiles)
        self._by_code_hash: dict[bytes, list[_Candidate]] = {}
        self._libraries: list[_Library] = []
        # What look-ups found: the map of the hot path.  The second holds what was compared with the code too.
        self._found: dict[tuple[bytes, str], CompiledProgram] = {}
        self._verified: dict[tuple[bytes, str], CompiledProgram] = {}
        self._lock = threading.RLock()
        self._skipped: Counter[str] = Counter()
        self._stores = 0
        self._duplicates = 0
        self._programs_indexed = 0
        self._seconds = 0.0

    # Look-ups.

    def lookup(self, code_hash: bytes, fork: str, code: bytes | None = None) -> CompiledProgram | None:
        """The program for a code hash (keccak-256) under the rules of a fork (name or alias), None if none fits.

        With `code`, the artifact's SHA-256 of the code is compared the first time that this key is asked
        for; a mismatch is a miss, and counted (``code_mismatch``).  Raises UsageError `unknown_fork` and
        `bad_code_hash`.
        """
        program = (self._found if code is None else self._verified).get((code_hash, fork))
        if program is not None:
            return program
        return self._find(code_hash, fork, code)

    def decide(self, request: LookupRequest) -> LookupDecision:
        """The same as a decision: INELIGIBLE for code that is never compiled, NOT_READY for a miss."""
        key = request.key
        program = self._verified.get((key.code_hash, key.fork))
        if program is None:
            if not is_eligible(request.code):
                return Interpret(InterpretReason.INELIGIBLE)
            program = self._find(key.code_hash, key.fork, request.code)
            if program is None:
                return Interpret(InterpretReason.NOT_READY)
        return Compiled(program)

    def _find(self, code_hash: bytes, fork_name: str, code: bytes | None) -> CompiledProgram | None:
        fork = FORKS.get(fork_name) or fork_named(fork_name)
        candidates = self._by_code_hash.get(code_hash)
        if candidates is None:
            if not isinstance(code_hash, bytes) or len(code_hash) != 32:
                context = {"code_hash": repr(code_hash)[:80]}
                raise UsageError("bad_code_hash", "a code hash is 32 bytes", context=context)
            return None
        code_sha256 = None if code is None else hashlib.sha256(code).hexdigest()
        for candidate in candidates:
            member = candidate.member
            if rules_digest(fork, member.opcodes) != member.rules:
                continue
            if code_sha256 is not None and member.code_sha256 != code_sha256:
                self._skip("code_mismatch", f"0x{member.code_hash}", "the artifact is of other code")
                continue
            program = self._program(candidate)
            if program is not None:
                key = (code_hash, fork_name)
                self._found[key] = program
                if code is not None:
                    self._verified[key] = program
                return program
        return None

    def _program(self, candidate: _Candidate) -> CompiledProgram | None:
        library, member = candidate.library, candidate.member
        program = library.programs.get(member.slot)
        if program is not None:
            return program
        loaded = library.loaded or self._load(library)
        if loaded is None:
            return None
        code_sha256, rules = bytes.fromhex(member.code_sha256), bytes.fromhex(member.rules)
        manifest = library.pack.manifest
        program = CompiledProgram(
            loaded.entries[code_sha256, rules],
            code_sha256,
            bytes.fromhex(member.code_hash),
            rules,
            kind=ProgramKind.AOT,
            tier=library.pack.profile.profile.tier,
            size_bytes=manifest.object.size // len(manifest.members),
            backing=loaded,
        )
        # Two threads may get here at once; both get the object that was first.
        return library.programs.setdefault(member.slot, program)

    # Stores.

    def add_store(self, path: str | os.PathLike[str], *, preload: Preload = Preload.EAGER) -> None:
        """Index a store and, if eager, load it.  What was added before stands before what comes later.

        A store that is missing, not trusted or of a newer format is a counted reason.  Raises StoreError
        when a store is there and can't be read, or is being cleared; a later attempt may succeed.
        """
        start = time.perf_counter()
        with self._lock:
            try:
                self._add_store(Path(path), preload)
            finally:
                self._seconds += time.perf_counter() - start

    def _add_store(self, root: Path, preload: Preload) -> None:
        try:
            directory = ArtifactDirectory.open(root, read_only=True)
            # What removes packs has to wait meanwhile (STORE, section 4).
            with directory.shared_lock(LOCK_TIMEOUT_SECONDS):
                libraries = self._index(directory)
                if preload is Preload.EAGER:
                    for library in libraries:
                        self._load(library)
        except EvmaotError as error:
            if not isinstance(error, TrustError) and error.reference not in _MISSES:
                raise
            self._skip(error.reference, str(root), error.cause or error.message)

    def _index(self, directory: ArtifactDirectory) -> list[_Library]:
        index = directory.index()
        self._stores += 1
        for finding in index.refusals:
            self._skip(finding.code, str(directory.paths.root / finding.subject), finding.message)
        refusals = {profile.digest: profile_refusal(profile, self._profiles) for profile in index.profiles.values()}
        added: list[_Library] = []
        with _collector_paused():
            for pack in index.packs:
                reason = refusals[pack.profile.digest]
                if reason is not None:
                    self._skip(reason, str(pack.object_path), f"profile {pack.profile.short} does not fit here")
                    continue
                library = _Library(directory.files, pack, len(self._libraries))
                self._libraries.append(library)
                added.append(library)
                self._add_members(library)
        return added

    def _add_members(self, library: _Library) -> None:
        duplicates = templates = 0
        rank, known = library.rank, self._by_code_hash
        members = library.pack.manifest.members
        for member in members:
            if member.holes:
                templates += 1
                continue
            candidate = _Candidate(rank, library, member)
            others = known.setdefault(bytes.fromhex(member.code_hash), [])
            if others:
                duplicates += any(_is_duplicate(other, candidate) for other in others)
                others.append(candidate)
                others.sort(key=_rank_of)
            else:
                others.append(candidate)
        self._programs_indexed += len(members) - templates
        self._duplicates += duplicates
        if duplicates:
            logger.warning("%s: %d members are there already; the first is used", library.pack.object_path, duplicates)
        if templates:
            # DESIGN 10: matching code against templates is not part of this version.
            self._skipped["template"] += templates

    def _load(self, library: _Library) -> LoadedLibrary | None:
        with self._lock:
            if library.loaded is None and not library.refused:
                try:
                    library.loaded = load_pack(library.files, library.pack, self._mapping)
                except EvmaotError as error:
                    library.refused = True
                    self._skip(error.reference, str(library.pack.object_path), error.cause or error.message)
            return library.loaded

    def _skip(self, reason: str, subject: str, message: str) -> None:
        with self._lock:
            self._skipped[reason] += 1
        logger.warning("skipped %s: %s: %s", subject, reason, message)

    # What there is.

    def __len__(self) -> int:
        """Number of code hashes that the map knows."""
        return len(self._by_code_hash)

    def __iter__(self) -> Iterator[bytes]:
        """Code hashes that the map knows, 32 bytes each."""
        return iter(list(self._by_code_hash))

    def statistics(self) -> PreloadStatistics:
        """What became of the stores so far."""
        with self._lock:
            loaded = [library for library in self._libraries if library.loaded is not None]
            return PreloadStatistics(
                stores=self._stores,
                programs_indexed=self._programs_indexed,
                programs_loaded=sum(_usable(library) for library in loaded),
                libraries_indexed=len(self._libraries),
                libraries_loaded=len(loaded),
                loaded_bytes=sum(library.pack.manifest.object.size for library in loaded),
                duplicates=self._duplicates,
                skipped=dict(self._skipped),
                seconds=self._seconds,
            )


def _rank_of(candidate: _Candidate) -> tuple[int, int, int]:
    return candidate.rank


def _is_duplicate(one: _Candidate, other: _Candidate) -> bool:
    return (
        one.rank[:2] == other.rank[:2]
        and one.member.rules == other.member.rules
        and one.member.code_sha256 == other.member.code_sha256
    )


def _usable(library: _Library) -> int:
    return sum(not member.holes for member in library.pack.manifest.members)


class _collector_paused:
    """The garbage collector stays out while very many small objects, none of them garbage, are made."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_exception: object) -> None:
        if self._was_enabled:
            gc.enable()


def open_runtime(
    stores: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    preload: Preload | str = Preload.EAGER,
    mapping: LibraryMapping | str = LibraryMapping.FILE,
    profiles: Collection[str] | None = None,
) -> ResidentPrograms:
    """Open one or several stores (the first wins) and get the map of their programs.

    `preload` is ``eager`` or ``lazy``; `mapping` is ``file`` or ``copy`` (`LibraryMapping`); `profiles` are digests
    (hex) of the only profiles to be used.  What is refused is in `statistics().skipped`.  Raises UsageError
    `unknown_value`, and StoreError for a store that is there and can't be read.
    """
    resident = ResidentPrograms(mapping=_choice(LibraryMapping, mapping), profiles=profiles)
    paths = [stores] if isinstance(stores, (str, os.PathLike)) else list(stores)
    when = _choice(Preload, preload)
    for path in paths:
        resident.add_store(path, preload=when)
    return resident
