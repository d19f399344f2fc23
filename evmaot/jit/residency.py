"""What is resident: programs by (code hash, fork), and the memory behind them.

Job: answer look-ups, install what was compiled or loaded, give memory back.  Invariants: look-ups that hit read one
dictionary and take no lock; the lock is held for a few dictionary operations, never while something is compiled,
read or called back; better code replaces other code and never the other way round; what a caller holds stays valid,
and is not counted as given back.  May import: `evmaot.runtime`, `evmaot.store.index`, `evmaot.evm`, errors,
jit.compiler.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from evmaot.errors import UsageError
from evmaot.evm.forks import FORKS, Fork, fork_named
from evmaot.runtime import templates
from evmaot.runtime.candidates import Place
from evmaot.runtime.catalog import Candidate, Catalogue, LibraryRecord
from evmaot.runtime.image import LoadedLibrary
from evmaot.runtime.lookup import Compiled
from evmaot.runtime.program import CompiledProgram, ProgramKind
from evmaot.runtime.schedule import with_gas_params
from evmaot.store.index import rules_digest

if TYPE_CHECKING:
    from evmaot.jit.compiler import Unit

Pair = tuple[bytes, str]
"""Code hash and name of a fork."""

_MAX_REMEMBERED_NAMES = 1024
_MOST_CHANCES = 8
"""Codes of templates that stay because they were looked up, where one has to go: the work is bounded."""


class Resident:
    """A program in the map.  `decision` is what look-ups answer; `touched` is set by each."""

    __slots__ = ("decision", "keys", "touched", "unit")

    def __init__(self, program: CompiledProgram, unit: CodeUnit) -> None:
        self.decision = Compiled(program)
        self.unit = unit
        self.keys: set[Pair] = set()
        self.touched = False

    @property
    def rank(self) -> tuple[bool, bool]:
        """Smaller is better: optimised code, then code that needs no JIT memory."""
        program = self.decision.program
        return program.tier != "optimised", program.kind is ProgramKind.JIT


class CodeUnit:
    """Memory that comes and goes as one: the image of one JIT program, or a library of a store."""

    __slots__ = ("code_bytes", "data_bytes", "last_used", "library", "origin", "residents")

    def __init__(
        self, origin: LibraryRecord | Unit, library: LoadedLibrary, code_bytes: int, data_bytes: int, now: float
    ) -> None:
        self.origin = origin
        self.library = library
        self.code_bytes = code_bytes
        self.data_bytes = data_bytes
        self.last_used = now
        self.residents: dict[Place, Resident] = {}
        """By place in the library; a JIT image has slot 0 alone."""

    @property
    def size_bytes(self) -> int:
        """All that it takes."""
        return self.code_bytes + self.data_bytes

    @property
    def is_aot(self) -> bool:
        """Whether it is a library of a store."""
        return isinstance(self.origin, LibraryRecord)


@dataclass(frozen=True, slots=True)
class Eviction:
    """One unit that was given back."""

    reason: str
    keys: tuple[Pair, ...]
    size_bytes: int


class ResidentBytes(NamedTuple):
    """Sizes of what is resident."""

    jit_code: int
    jit_data: int
    aot: int

    @property
    def total(self) -> int:
        """What counts against the budget."""
        return self.jit_code + self.jit_data + self.aot


class ResidentMap:
    """Programs of one backend."""

    def __init__(
        self, catalogue: Catalogue, gas_params: tuple[tuple[str, int], ...], clock: Callable[[], float]
    ) -> None:
        self.entries: dict[Pair, Resident] = {}
        """Read by look-ups without a lock; replaced as a whole when it is cleared."""
        self.catalogue = catalogue
        self._gas_params = gas_params
        self._clock = clock
        self._forks: dict[str, Fork] = {}
        self._jit: dict[bytes, tuple[CodeUnit, ...]] = {}
        self._units: dict[int, CodeUnit] = {}
        self._unit_of_record: dict[int, CodeUnit] = {}
        self._bytes = ResidentBytes(0, 0, 0)
        self._matches: OrderedDict[Resident, Place] = OrderedDict()
        """Of templates, the oldest first: there is no end of codes that one serves, and a limit to what is kept."""
        # Reentrant: the last reference to a program may go here, and with it finalizers run that use the backend.
        self.lock = threading.RLock()

    def fork(self, name: str) -> Fork | None:
        """The fork of that name or alias with this backend's prices, None if there is none."""
        found = self._forks.get(name)
        if found is None:
            try:
                plain = FORKS.get(name) or fork_named(name)
            except (UsageError, AttributeError, TypeError):
                return None
            found = with_gas_params(plain, self._gas_params)
            if len(self._forks) < _MAX_REMEMBERED_NAMES:
                self._forks[name] = found
        return found

    def canonical(self, name: str) -> str | None:
        """The name in `FORKS` of a fork, None if there is none of that name."""
        fork = self.fork(name)
        if fork is None:
            return None
        return fork.parent or fork.name if self._gas_params else fork.name

    # Look-ups that miss the dictionary.

    def resolve(self, code_hash: bytes, fork_name: str, code: bytes | None = None) -> Resident | None:
        """The best loaded program that fits, remembered for the next look-up; None if there is none.

        With `code`, its SHA-256 is compared with that of what was compiled.  Without, an artifact is believed by who
        asks, and not remembered: look-ups that follow have the code.
        """
        fork = self.fork(fork_name)
        if fork is None:
            return None
        candidates, units = self.catalogue.candidates(code_hash, code), self._jit.get(code_hash, ())
        if not candidates and not units:
            return None
        aot = next(
            (one for one in self.catalogue.serving(code_hash, fork, code) if one.record.loaded is not None), None
        )
        jit = self._fitting(units, fork, code)
        with self.lock:
            found = [
                resident
                for resident in (self._resident_of(aot) if aot else None, jit.residents.get(0) if jit else None)
                if resident is not None
            ]
            if not found:
                return None
            best = min(found, key=lambda resident: resident.rank)
            if code is not None or not best.unit.is_aot:
                self._point((code_hash, fork_name), best)
            return best

    def _fitting(self, units: Iterable[CodeUnit], fork: Fork, code: bytes | None) -> CodeUnit | None:
        code_sha256 = None if code is None else hashlib.sha256(code).digest()
        for unit in units:
            origin = unit.origin
            assert not isinstance(origin, LibraryRecord)
            if rules_digest(fork, origin.opcodes) == origin.rules and code_sha256 in (None, origin.code_sha256):
                return unit
        return None

    def loadable(self, code_hash: bytes, fork_name: str, code: bytes | None) -> LibraryRecord | None:
        """A library of the catalogue that fits and is not loaded, None if there is none."""
        fork = self.fork(fork_name)
        if fork is None or not self.catalogue.candidates(code_hash, code):
            return None
        for candidate in self.catalogue.serving(code_hash, fork, code):
            if candidate.record.loaded is None and not candidate.record.refused:
                return candidate.record
        return None

    def peek(self, code_hash: bytes, fork_name: str, code: bytes | None = None) -> Resident | None:
        """What a look-up finds."""
        return self.entries.get((code_hash, fork_name)) or self.resolve(code_hash, fork_name, code)

    # Installing.  All of the following take the lock.

    def adopt(self, record: LibraryRecord) -> bool:
        """Count a library that was loaded, and let it replace JIT programs of the same code and rules."""
        with self.lock:
            library = record.loaded
            if library is None:
                return False
            if id(record) not in self._unit_of_record:
                unit = CodeUnit(record, library, library.size_bytes, 0, self._clock())
                self._unit_of_record[id(record)] = unit
                self._add(unit)
            if self._jit:
                for member in record.source.members:
                    self._take_over(Candidate(record.rank, record, member))
            return True

    def release(self, record: LibraryRecord | None) -> None:
        """Unload a library that was loaded and is not to be resident after all."""
        with self.lock:
            if record is not None and id(record) not in self._unit_of_record:
                self.catalogue.unload(record)

    def _take_over(self, candidate: Candidate) -> None:
        member = candidate.member
        for unit in self._jit.get(bytes.fromhex(member.code_hash), ()):
            origin = unit.origin
            assert not isinstance(origin, LibraryRecord)
            if (origin.code_sha256.hex(), origin.rules) != (member.code_sha256, member.rules) or member.holes:
                continue
            resident, old = self._resident_of(candidate), unit.residents[0]
            if resident is not None and resident.rank <= old.rank:
                keys = list(old.keys)
                self._drop(unit)
                for key in keys:
                    self._point(key, resident)

    def install(
        self, unit: Unit, library: LoadedLibrary, size_bytes: int, code_bytes: int, fork_name: str
    ) -> CompiledProgram:
        """Make compiled code resident; answers the program that look-ups of its key find from now on.

        `fork_name` is a fork that it was asked for under.
        """
        rules = bytes.fromhex(unit.rules)
        program = CompiledProgram(
            library.entries[unit.code_sha256, rules],
            unit.code_sha256,
            unit.code_hash,
            rules,
            kind=ProgramKind.JIT,
            tier=unit.profile.tier,
            size_bytes=size_bytes,
            backing=library,
        )
        with self.lock:
            new = CodeUnit(unit, library, code_bytes, size_bytes - code_bytes, self._clock())
            resident = new.residents[0] = Resident(program, new)
            keys = {(unit.code_hash, fork_name)}
            for old in self._jit.get(unit.code_hash, ()):
                assert not isinstance(old.origin, LibraryRecord)
                if (old.origin.code_sha256, old.origin.rules) != (unit.code_sha256, unit.rules):
                    continue
                if old.residents[0].rank < resident.rank:
                    return self._best_for(keys, old.residents[0])
                keys |= old.residents[0].keys
                self._drop(old)
            self._jit[unit.code_hash] = (*self._jit.get(unit.code_hash, ()), new)
            self._add(new)
            return self._best_for(keys, resident)

    def _best_for(self, keys: Iterable[Pair], resident: Resident) -> CompiledProgram:
        """Point keys to a resident program where there is no better one."""
        program = resident.decision.program
        for key in keys:
            there = self.entries.get(key)
            if there is None or resident.rank <= there.rank:
                self._point(key, resident)
            else:
                program = there.decision.program
        return program

    def _resident_of(self, candidate: Candidate) -> Resident | None:
        record, place = candidate.record, candidate.place
        unit = self._unit_of_record.get(id(record))
        if unit is None:
            return None
        resident = unit.residents.get(place)
        if resident is None:
            program = self.catalogue.program(candidate)
            if program is None:
                return None
            resident = unit.residents[place] = Resident(program, unit)
            self._note_match(place, resident)
        return resident

    def _note_match(self, place: Place, resident: Resident) -> None:
        """Of a template: keep no more than so many, those that were looked up lately longer."""
        if isinstance(place, int):
            return
        self._matches[resident] = place
        chances = _MOST_CHANCES
        while len(self._matches) > templates.MAX_REMEMBERED_CODES:
            old, old_place = self._matches.popitem(last=False)
            if old.touched and chances:
                chances -= 1
                old.touched = False
                old.unit.last_used = self._clock()
                self._matches[old] = old_place
                continue
            for key in old.keys:
                if self.entries.get(key) is old:
                    del self.entries[key]
            del old.unit.residents[old_place]

    def _point(self, key: Pair, resident: Resident) -> None:
        old = self.entries.get(key)
        if old is not None:
            old.keys.discard(key)
        resident.keys.add(key)
        self.entries[key] = resident

    # Giving back.

    def used(self, keys: Iterable[Pair]) -> None:
        """These keys were looked up."""
        now = self._clock()
        for key in keys:
            resident = self.entries.get(key)
            if resident is not None:
                resident.unit.last_used = now

    def evict(self, budget_bytes: int, idle_seconds: float) -> list[Eviction]:
        """Give back what is idle (0: nothing is), and the least recently used code over the budget."""
        now = self._clock()
        self._note_touched(now)
        evictions: list[Eviction] = []
        if idle_seconds:
            for unit in list(self._units.values()):
                if now - unit.last_used > idle_seconds:
                    self._evict(unit, "idle", evictions)
        if self._bytes.total > budget_bytes:
            for unit in sorted(self._units.values(), key=lambda unit: unit.last_used):
                if self._bytes.total <= budget_bytes:
                    break
                self._evict(unit, "budget", evictions)
        return evictions

    def _note_touched(self, now: float) -> None:
        # A function of its own: a variable that is left over from the loop would hold a program.
        with self.lock:
            for unit in self._units.values():
                for resident in unit.residents.values():
                    if resident.touched:
                        resident.touched = False
                        unit.last_used = now

    def _evict(self, unit: CodeUnit, reason: str, evictions: list[Eviction]) -> None:
        """Drop a unit; put it back where somebody holds it, for then nothing was given back."""
        with self.lock:
            if id(unit) not in self._units:
                return
            keys = tuple(key for resident in unit.residents.values() for key in resident.keys)
            held = [
                (slot, list(resident.keys), weakref.ref(resident.decision.program))
                for slot, resident in unit.residents.items()
            ]
            library, origin, last_used = weakref.ref(unit.library), unit.origin, unit.last_used
            code_bytes, data_bytes = unit.code_bytes, unit.data_bytes
            self._drop(unit)
            del unit.library
            survivor = library()
            if survivor is None:
                evictions.append(Eviction(reason, keys, code_bytes + data_bytes))
                return
            again = CodeUnit(origin, survivor, code_bytes, data_bytes, last_used)
            for slot, slot_keys, reference in held:
                program = reference()
                if program is not None:
                    resident = again.residents[slot] = Resident(program, again)
                    self._note_match(slot, resident)
                    for key in slot_keys:
                        self._point(key, resident)
            self._restore(again)

    def _restore(self, unit: CodeUnit) -> None:
        if isinstance(unit.origin, LibraryRecord):
            unit.origin.loaded = unit.library
            for place, one in unit.residents.items():
                unit.origin.keep(place, one.decision.program)
            self._unit_of_record[id(unit.origin)] = unit
            self._add(unit)
        elif unit.residents:
            self._jit[unit.origin.code_hash] = (*self._jit.get(unit.origin.code_hash, ()), unit)
            self._add(unit)

    def _add(self, unit: CodeUnit) -> None:
        self._units[id(unit)] = unit
        self._count(unit, 1)

    def _count(self, unit: CodeUnit, sign: int) -> None:
        code, data, aot = self._bytes
        if unit.is_aot:
            self._bytes = ResidentBytes(code, data, aot + sign * unit.size_bytes)
        else:
            self._bytes = ResidentBytes(code + sign * unit.code_bytes, data + sign * unit.data_bytes, aot)

    def _drop(self, unit: CodeUnit) -> None:
        """Take a unit out of every map."""
        if self._units.pop(id(unit), None) is None:
            return
        self._count(unit, -1)
        for resident in unit.residents.values():
            self._matches.pop(resident, None)
            for key in resident.keys:
                if self.entries.get(key) is resident:
                    del self.entries[key]
        if isinstance(unit.origin, LibraryRecord):
            del self._unit_of_record[id(unit.origin)]
            self.catalogue.unload(unit.origin)
        else:
            code_hash = unit.origin.code_hash
            rest = tuple(other for other in self._jit[code_hash] if other is not unit)
            if rest:
                self._jit[code_hash] = rest
            else:
                del self._jit[code_hash]
        # A resident knows its unit: without this they would keep each other until the collector came.  Last, for
        # finalizers of its programs run now, and what they look up has to find the maps in order.
        unit.residents = {}

    def clear(self) -> None:
        """Let go of everything; programs that callers hold stay valid."""
        with self.lock:
            # A look-up that is under way reads the old dictionary; what it finds there is its caller's to hold.
            self.entries = {}
            for unit in list(self._units.values()):
                self._drop(unit)

    @property
    def sizes(self) -> ResidentBytes:
        """Bytes of what is resident."""
        return self._bytes

    def renew_locks(self) -> None:
        """For a child of `fork`."""
        self.lock = threading.RLock()
        self.catalogue.renew_locks()
