"""The catalogue: which artifacts there are, by code hash, and which of them are loaded.

Job: index the libraries of stores, say which artifact serves a code under a fork, load and unload libraries.
Invariants: which fork an artifact serves is decided by its rules digest, never by the names in its manifest; damage,
mismatch or a missing permission is a counted reason and a log line, never an exception; a list of candidates is
replaced and never changed, so that look-ups need no lock; a program that was handed out stays valid when its library
is unloaded.  May import: `evmaot.store`, `evmaot.evm`, errors, other parts of the runtime.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from evmaot.errors import EvmaotError
from evmaot.evm.forks import Fork
from evmaot.runtime.artifacts import Inventory, StoredArtifact
from evmaot.runtime.candidates import Candidate, LibraryRecord, profile_rank
from evmaot.runtime.image import LoadedLibrary
from evmaot.runtime.loading import profile_refusal
from evmaot.runtime.preloading import CURRENT, LibraryMapping, Profiles, checked_profiles
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.runtime.templates import TemplateIndex
from evmaot.store.index import rules_digest

__all__ = ["Candidate", "Catalogue", "LibraryRecord", "profile_rank"]

logger = logging.getLogger("evmaot.runtime")

_REFUSALS = {
    "profile_other": "is of another version of evmaot or LLVM: build again, or accept it (profiles='any')",
    "abi_mismatch": "has another native ABI than this version of evmaot: build again",
}
_UNFIT = "is not for this machine"


class Catalogue:
    """Artifacts of one or several stores; the first store stands before the next, better code before other.

    Look-ups may come from any thread, and never wait for what loads or adds.  `on_skip` is called with reason, subject
    and message of what is left out, by whichever thread found it.
    """

    def __init__(
        self,
        *,
        mapping: LibraryMapping = LibraryMapping.FILE,
        profiles: Profiles | None = None,
        single_error: bool = False,
        on_skip: Callable[[str, str, str], None] | None = None,
    ) -> None:
        """`profiles`: whose code is used; None: this compiler's.  `single_error`: the kind of code (`CompileOptions`).

        Raises UsageError ``unknown_value``.
        """
        self._mapping = mapping
        self._profiles = CURRENT if profiles is None else checked_profiles(profiles)
        self._single_error = single_error
        self._on_skip = on_skip
        self._by_code_hash: dict[bytes, list[Candidate]] = {}
        self._templates = TemplateIndex()
        self._known: dict[str, LibraryRecord] = {}
        # Of profiles that are not for this process: counted once, however often a look-up finds them again.
        self._refused: set[str] = set()
        self._told_mismatches: set[tuple[str, int]] = set()
        self.records: list[LibraryRecord] = []
        self.skipped: Counter[str] = Counter()
        self.duplicates = 0
        self.programs_indexed = 0
        self.lock = threading.RLock()
        # Of its own: look-ups count a mismatch, and must not wait for a library that is being read.
        self._count_lock = threading.RLock()

    def __len__(self) -> int:
        """Number of code hashes."""
        return len(self._by_code_hash)

    def __iter__(self) -> Iterator[bytes]:
        """Code hashes, 32 bytes each."""
        return iter(list(self._by_code_hash))

    # What there is.

    def add(self, inventory: Inventory) -> list[LibraryRecord]:
        """Index what is in a store; answers the libraries that are new and fit this process."""
        added: list[LibraryRecord] = []
        with self.lock, _collector_paused():
            for finding in inventory.refusals:
                self.skip(finding.code, finding.subject, finding.message)
            reasons: dict[str, str | None] = {}
            for source in inventory.libraries:
                if source.identity in self._known or source.identity in self._refused:
                    continue
                profile = source.profile
                if profile.digest not in reasons:
                    reasons[profile.digest] = profile_refusal(profile, self._profiles, single_error=self._single_error)
                reason = reasons[profile.digest]
                if reason is not None:
                    self._refused.add(source.identity)
                    self.skip(reason, source.subject, f"profile {profile.short} {_REFUSALS.get(reason, _UNFIT)}")
                    continue
                record = LibraryRecord(source, len(self.records))
                self._known[source.identity] = record
                self.records.append(record)
                added.append(record)
                self._add_members(record)
        return added

    def add_artifacts(self, artifacts: Iterable[StoredArtifact]) -> list[LibraryRecord]:
        """Index the libraries of some artifacts; answers the records of all of them that fit, new or not."""
        libraries = {artifact.library.identity: artifact.library for artifact in artifacts}
        with self.lock:
            self.add(Inventory([library for key, library in libraries.items() if key not in self._known]))
            return [self._known[key] for key in libraries if key in self._known]

    def add_again(self, inventory: Inventory) -> None:
        """Index what is in a store now: what is new, and what had gone and is back.  Refusals were told before."""
        with self.lock:
            for source in inventory.libraries:
                record = self._known.get(source.identity)
                if record is not None and record.is_gone:
                    record.refused = record.is_gone = False
            self.add(Inventory(inventory.libraries))

    def _add_members(self, record: LibraryRecord) -> None:
        duplicates = 0
        rank, known, members = record.rank, self._by_code_hash, record.source.members
        for member in members:
            if member.holes:
                self._templates.add(rank, record, member)
                continue
            candidate = Candidate(rank, record, member)
            code_hash = bytes.fromhex(member.code_hash)
            others = known.get(code_hash)
            if others:
                duplicates += any(_is_duplicate(other, candidate) for other in others)
                known[code_hash] = sorted([*others, candidate], key=_rank_of)
            else:
                known[code_hash] = [candidate]
        self.programs_indexed += len(members)
        self.duplicates += duplicates
        if duplicates:
            logger.warning("%s: %d members are there already; the first is used", record.source.subject, duplicates)

    def forget(self) -> None:
        """Forget all artifacts; loaded ones stay valid for who holds them.  Counts stay."""
        with self.lock:
            self._by_code_hash, self._known, self.records = {}, {}, []
            self._refused = set()
            self._templates = TemplateIndex()

    # Which program.

    def candidates(self, code_hash: bytes, code: bytes | None = None) -> Sequence[Candidate]:
        """Artifacts of a code hash, the best first: those of the code itself, then templates that it is made of.

        Templates are found where the code is given, and remembered for look-ups by hash.
        """
        own: Sequence[Candidate] = self._by_code_hash.get(code_hash, ())
        matched = self._templates.match(code_hash, code)
        return [*own, *matched] if matched else own

    def serving(self, code_hash: bytes, fork: Fork, code: bytes | None = None) -> Iterator[Candidate]:
        """Artifacts that are right for a code hash under a fork, the best first.

        With `code`, those of other code are left out, and counted (``code_mismatch``).
        """
        candidates = self.candidates(code_hash, code)
        if not candidates:
            return
        code_sha256 = None if code is None else hashlib.sha256(code).hexdigest()
        for candidate in candidates:
            member = candidate.member
            if rules_digest(fork, member.opcodes) != member.rules:
                continue
            if code_sha256 is not None and member.code_sha256 != code_sha256:
                self._mismatched(candidate)
                continue
            yield candidate

    def _mismatched(self, candidate: Candidate) -> None:
        """Count an artifact of other code each time; say it once, for every look-up of the code comes here."""
        place = candidate.record.source.identity, candidate.member.slot
        if place in self._told_mismatches:
            with self._count_lock:
                self.skipped["code_mismatch"] += 1
        else:
            self._told_mismatches.add(place)
            self.skip("code_mismatch", f"0x{candidate.member.code_hash}", "the artifact is of other code")

    def program(self, candidate: Candidate) -> CompiledProgram | None:
        """The candidate's program, None while its library is not loaded."""
        record, member = candidate.record, candidate.member
        program = record.program_at(candidate.place)
        if program is not None:
            return program
        loaded = record.loaded
        if loaded is None:
            return None
        compiled = candidate.template or member
        rules = bytes.fromhex(member.rules)
        program = CompiledProgram(
            loaded.entries[bytes.fromhex(compiled.code_sha256), rules],
            bytes.fromhex(member.code_sha256),
            bytes.fromhex(member.code_hash),
            rules,
            kind=ProgramKind.AOT,
            tier=record.source.profile.profile.tier,
            size_bytes=record.source.size_bytes // len(record.source.members),
            backing=loaded,
        )
        return record.keep(candidate.place, program)

    def load(self, record: LibraryRecord, *, again: bool = False) -> LoadedLibrary | None:
        """Load a library, None where it is refused: the reason is counted, and it is not tried again.

        With `again` it is: it was just stored, over what was refused.
        """
        with self.lock:
            if again:
                record.refused = False
            if record.loaded is None and not record.refused:
                try:
                    record.loaded = record.source.load(self._mapping)
                except EvmaotError as error:
                    record.refused, record.is_gone = True, error.reference == "object_missing"
                    self.skip(error.reference, record.source.subject, error.cause or error.message)
                except Exception as error:
                    # Memory is short, or the store is somebody's own: it costs this library and nothing else.
                    record.refused = True
                    self.skip("load_failed", record.source.subject, f"{type(error).__name__}: {error}"[:400])
            return record.loaded

    def unload(self, record: LibraryRecord) -> None:
        """Let go of a library: its memory is given back when nobody holds one of its programs."""
        record.drop_programs()
        record.loaded = None

    def skip(self, reason: str, subject: str, message: str) -> None:
        """Count and log something that is left out."""
        with self._count_lock:
            self.skipped[reason] += 1
        logger.warning("skipped %s: %s: %s", subject, reason, message)
        if self._on_skip is not None:
            self._on_skip(reason, subject, message)

    def renew_locks(self) -> None:
        """Make the locks anew: in a child of `fork`, a thread that is not there any more may hold the old ones."""
        self.lock = threading.RLock()
        self._count_lock = threading.RLock()


def _rank_of(candidate: Candidate) -> tuple[int, int, int]:
    return candidate.rank


def _is_duplicate(one: Candidate, other: Candidate) -> bool:
    return (
        not one.record.is_gone
        and one.rank[:2] == other.rank[:2]
        and one.member.rules == other.member.rules
        and one.member.code_sha256 == other.member.code_sha256
    )


class _collector_paused:
    """The garbage collector stays out while very many small objects, none of them garbage, are made."""

    def __enter__(self) -> None:
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_exception: object) -> None:
        if self._was_enabled:
            gc.enable()
