"""The resident map: artifact stores in, compiled programs out, by (code hash, fork).

Job: open stores, load their libraries (all at once, or each at its first look-up), answer in O(1).  What also
compiles, evicts and counts is `evmaot.jit`; both are made of the same catalogue.
Invariants: damage, mismatch or a missing permission is a counted reason, a log line and a miss, never an
exception and never another result; a program that was handed out stays valid.
May import: `evmaot.store`, `evmaot.evm`, errors, other parts of the runtime.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from evmaot.errors import EvmaotError, TrustError, UsageError
from evmaot.evm.forks import FORKS, fork_named
from evmaot.runtime import templates
from evmaot.runtime.artifacts import ArtifactStore, WatchedStore
from evmaot.runtime.catalog import Catalogue
from evmaot.runtime.directory_store import DirectoryStore
from evmaot.runtime.lookup import Compiled, Interpret, InterpretReason, LookupDecision, LookupRequest, is_eligible
from evmaot.runtime.preloading import CURRENT, LibraryMapping, Preload, Profiles
from evmaot.runtime.program import CompiledProgram

__all__ = ["LibraryMapping", "Preload", "PreloadStatistics", "ResidentPrograms", "index_store", "open_runtime"]

_MISSES: Final = frozenset({"store_missing", "store_untrusted", "format_newer"})
"""Why a whole store may be left out without an error."""


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


def index_store(catalogue: Catalogue, store: ArtifactStore, *, subject: str, limit_bytes: int | None) -> bool:
    """Add a store to a catalogue and load its libraries up to that many bytes (None: all, 0: none).

    Answers False for a store that is missing, not trusted or of a newer format: a counted reason.  Raises StoreError
    when it is there and can't be read, or is being cleared.
    """
    try:
        # What removes packs has to wait meanwhile.
        with store.reading():
            records = catalogue.add(store.load_all())
            total = 0
            for record in records:
                if limit_bytes is not None and total + record.source.size_bytes > limit_bytes:
                    break
                loaded = catalogue.load(record)
                total += 0 if loaded is None else loaded.size_bytes
    except EvmaotError as error:
        if not isinstance(error, TrustError) and error.reference not in _MISSES:
            raise
        catalogue.skip(error.reference, subject, error.cause or error.message)
        return False
    return True


def _subject(store: ArtifactStore | str | os.PathLike[str]) -> str:
    return str(store.path) if isinstance(store, DirectoryStore) else str(store)


def _names_of(store: WatchedStore) -> frozenset[tuple[str, ...]]:
    try:
        return store.pack_names()
    except EvmaotError as error:
        # As long as that is so, nothing changes.
        return frozenset({(error.reference,)})


def _add_again(catalogue: Catalogue, store: WatchedStore) -> bool:
    assert isinstance(store, ArtifactStore)
    try:
        catalogue.add_again(store.load_all())
    except EvmaotError as error:
        catalogue.skip(error.reference, repr(store), error.cause or error.message)
        return False
    return True


class ResidentPrograms:
    """Compiled programs of one or several stores.

    Look-ups may come from any thread; they take a lock only where one loads a library (lazy preload).
    """

    def __init__(self, *, mapping: LibraryMapping = LibraryMapping.FILE, profiles: Profiles = CURRENT) -> None:
        """`profiles`: whose code is used (`runtime.preloading.Profiles`)."""
        self._catalogue = Catalogue(mapping=mapping, profiles=profiles)
        # What look-ups found: the map of the hot path.  The second holds what was compared with the code too.
        self._found: dict[tuple[bytes, str], CompiledProgram] = {}
        self._verified: dict[tuple[bytes, str], CompiledProgram] = {}
        # Of these, how many are of templates: there is no end of codes that one serves.
        self._matches = 0
        self._watched: list[tuple[WatchedStore, frozenset[tuple[str, ...]]]] = []
        """Stores that can say which packs they have, and those that they had when they were read."""
        self._readings = 0
        """How often stores were read again."""
        self._stores = 0
        self._seconds = 0.0

    # Look-ups.

    def lookup(self, code_hash: bytes, fork: str, code: bytes | None = None) -> CompiledProgram | None:
        """The program for a code hash (keccak-256) under the rules of a fork (name or alias), None if none fits.

        With `code`, the artifact's SHA-256 of the code is compared the first time that this key is asked
        for; a mismatch is a miss, and counted (``code_mismatch``).  Without it, the code hash in a manifest
        is believed: who has the code should give it.  Raises UsageError `unknown_fork` and `bad_code_hash`.
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
        if not isinstance(code_hash, bytes) or len(code_hash) != 32:
            context = {"code_hash": repr(code_hash)[:80]}
            raise UsageError("bad_code_hash", "a code hash is 32 bytes", context=context)
        catalogue, is_gone, readings = self._catalogue, False, self._readings
        for candidate in catalogue.serving(code_hash, fork, code):
            program = catalogue.program(candidate)
            if program is None and catalogue.load(candidate.record) is not None:
                program = catalogue.program(candidate)
            if program is not None:
                key = (code_hash, fork_name)
                if candidate.template is not None:
                    self._make_room()
                self._found[key] = program
                if code is not None:
                    self._verified[key] = program
                return program
            is_gone = is_gone or candidate.record.is_gone
        # A store is read again once for each change of its packs, by this thread or by another meanwhile.
        if is_gone and (self._readings != readings or self._look_again()):
            return self._find(code_hash, fork_name, code)
        return None

    def _look_again(self) -> bool:
        """Read the stores that have other packs than when they were read; whether there was one.

        A collector may have merged the pack that a look-up needs into another (`gc --repack`).  This takes no lock of
        the store and never fails: what goes while it is read is a miss.
        """
        changed = False
        with self._catalogue.lock:
            for at, (store, known) in enumerate(self._watched):
                names = _names_of(store)
                if names != known:
                    self._watched[at] = store, names
                    changed = _add_again(self._catalogue, store) or changed
            self._readings += changed
        return changed

    def _make_room(self) -> None:
        """Forget everything where too many codes of templates are remembered; it is found again when asked for."""
        self._matches += 1
        if self._matches > templates.MAX_REMEMBERED_CODES:
            self._found, self._verified, self._matches = {}, {}, 1

    # Stores.

    def add_store(self, store: ArtifactStore | str | os.PathLike[str], *, preload: Preload = Preload.EAGER) -> None:
        """Index a store and, if eager, load it.  What was added before stands before what comes later.

        A store that is missing, not trusted or of a newer format is a counted reason.  Raises StoreError
        when a store is there and can't be read, or is being cleared; a later attempt may succeed.
        """
        opened = DirectoryStore(store) if isinstance(store, (str, os.PathLike)) else store
        limit_bytes = None if preload is Preload.EAGER else 0
        start = time.perf_counter()
        with self._catalogue.lock:
            if isinstance(opened, WatchedStore):
                # Before it is read: what changes in between is read again.
                self._watched.append((opened, _names_of(opened)))
            try:
                self._stores += index_store(self._catalogue, opened, subject=_subject(store), limit_bytes=limit_bytes)
            finally:
                self._seconds += time.perf_counter() - start

    # What there is.

    def __len__(self) -> int:
        """Number of code hashes that the map knows."""
        return len(self._catalogue)

    def __iter__(self) -> Iterator[bytes]:
        """Code hashes that the map knows, 32 bytes each."""
        return iter(self._catalogue)

    def statistics(self) -> PreloadStatistics:
        """What became of the stores so far."""
        catalogue = self._catalogue
        with catalogue.lock:
            loaded = [record for record in catalogue.records if record.loaded is not None]
            return PreloadStatistics(
                stores=self._stores,
                programs_indexed=catalogue.programs_indexed,
                programs_loaded=sum(len(record.source.members) for record in loaded),
                libraries_indexed=len(catalogue.records),
                libraries_loaded=len(loaded),
                loaded_bytes=sum(record.source.size_bytes for record in loaded),
                duplicates=catalogue.duplicates,
                skipped=dict(catalogue.skipped),
                seconds=self._seconds,
            )


def open_runtime(
    stores: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    preload: Preload | str = Preload.EAGER,
    mapping: LibraryMapping | str = LibraryMapping.FILE,
    profiles: Profiles = CURRENT,
    require_signed: bool = False,
) -> ResidentPrograms:
    """Open one or several stores (the first wins) and get the map of their programs.

    `preload` is ``eager`` or ``lazy``; `mapping` is ``file`` or ``copy`` (`LibraryMapping`).  `profiles`: whose code is
    used: ``current``, this compiler's alone; ``any``, also of other versions of evmaot or LLVM; or whole digests (hex)
    of the only profiles to be used.  With `require_signed`, packs that were imported without the signature of a trusted
    key are left out (``unsigned``): a note in the store says so, which whoever can write there can change.  What is
    refused is in `statistics().skipped`.  Raises UsageError `unknown_value`, and StoreError for a store that is there
    and can't be read.
    """
    resident = ResidentPrograms(mapping=_choice(LibraryMapping, mapping), profiles=profiles)
    paths = [stores] if isinstance(stores, (str, os.PathLike)) else list(stores)
    when = _choice(Preload, preload)
    for path in paths:
        resident.add_store(DirectoryStore(path, require_signed=require_signed), preload=when)
    return resident
