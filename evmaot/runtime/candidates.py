"""What the catalogue is made of: libraries and the artifacts in them.

Job: the values, and their order.  May import: `evmaot.store`, other parts of the runtime.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from evmaot.runtime.artifacts import ArtifactLibrary
from evmaot.runtime.image import LoadedLibrary
from evmaot.runtime.program import CompiledProgram
from evmaot.store.keys import Profile
from evmaot.store.manifest import Member

_TIER_RANKS = {"optimised": 0, "fast": 1}
"""Better code first; a tier that this version does not know comes last."""


def profile_rank(profile: Profile) -> tuple[int, int]:
    """Which of several artifacts that fit is used: that of the lowest rank."""
    return _TIER_RANKS.get(profile.tier, len(_TIER_RANKS)), -len(profile.features)


Place: TypeAlias = "int | tuple[int, str]"
"""Where a library has a program: its slot; of a template also the hash of the code that it stands for."""


class LibraryRecord:
    """A library of a store and what became of it."""

    __slots__ = ("is_gone", "loaded", "matched", "programs", "rank", "refused", "source")

    def __init__(self, source: ArtifactLibrary, order: int) -> None:
        self.source = source
        # The best that fits: the optimised tier, then code for more CPU features, then the first found.
        self.rank = (*profile_rank(source.profile.profile), order)
        self.loaded: LoadedLibrary | None = None
        self.refused = False
        self.is_gone = False
        """Whether it was refused because its file is not there: another pack may have taken its place."""
        self.programs: dict[int, CompiledProgram] = {}
        """By slot, made at the first look-up: forks of equal rules get one object."""
        self.matched: WeakValueDictionary[tuple[int, str], CompiledProgram] = WeakValueDictionary()
        """Of templates: who finds them holds them, for there is no end of codes that a template serves."""

    def program_at(self, place: Place) -> CompiledProgram | None:
        """The program that was made there, if it still is."""
        return self.programs.get(place) if isinstance(place, int) else self.matched.get(place)

    def keep(self, place: Place, program: CompiledProgram) -> CompiledProgram:
        """Keep a program; the one that is there already is the answer."""
        # Two threads may get here at once; both get the object that was first.  Of a template each may get its own.
        if isinstance(place, int):
            return self.programs.setdefault(place, program)
        return self.matched.setdefault(place, program)

    def drop_programs(self) -> None:
        """Forget them; who holds one keeps it."""
        self.programs, self.matched = {}, WeakValueDictionary()


class Candidate(NamedTuple):
    """An artifact of the catalogue."""

    rank: tuple[int, int, int]
    record: LibraryRecord
    member: Member
    """Of a match of a template: with the hashes of the code that it stands for."""
    template: Member | None = None
    """The template that was matched."""

    @property
    def place(self) -> Place:
        """Where its library has its program."""
        return self.member.slot if self.template is None else (self.member.slot, self.member.code_hash)
