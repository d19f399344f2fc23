"""A store against a dictionary: whatever is done in whatever order, it holds what a dictionary would."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evmaot.store.collection import Limits, collect
from evmaot.store.index import MemberKey
from evmaot.store.pins import read_pins
from evmaot.store.removal import Selector
from tests.support.scale import scaled
from tests.support.store_samples import QuickSystem, errors, open_store, pack, profile

NAMES = ("a", "b", "c", "d")
FORKS = (("london",), ("osaka",), ("london", "osaka"))
PROFILES = ("one", "two")
PINS = ("p", "q")


class Clock(QuickSystem):
    ahead_seconds = 0.0

    def now_seconds(self) -> float:
        return super().now_seconds() + self.ahead_seconds


class StoreMachine(RuleBasedStateMachine):
    """Publish, remove, clear, pin, collect and sweep; the model knows members and their forks by pack."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="evmaot-model-"))
        self.clock = Clock()
        self.store = open_store(self.directory / "s", system=self.clock)
        self.packs: dict[str, tuple[str, dict[str, frozenset[str]]]] = {}
        """By SHA-256 of the library: profile, and the forks of each member."""
        self.pins: dict[str, set[MemberKey]] = {}

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    def key(self, of: str, name: str) -> MemberKey:
        _, manifest, _ = pack(name)
        return profile(of).digest, manifest.members[0].code_sha256, manifest.members[0].rules

    def is_pinned(self, of: str, name: str) -> bool:
        return any(self.key(of, name) in keys for keys in self.pins.values())

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(sorted),
        of=st.sampled_from(PROFILES),
        forks=st.sampled_from(FORKS),
    )
    def publish(self, names: list[str], of: str, forks: tuple[str, ...]) -> None:
        library, manifest, made = pack(" ".join(names), profile(of), forks=forks)
        self.store.publish(library, manifest, made)
        _, there = self.packs.setdefault(manifest.object.sha256, (of, {}))
        # Published again, nothing shrinks: what was built for other forks is still wanted for these.
        there.update({name: there.get(name, frozenset()) | frozenset(forks) for name in names})

    @rule(name=st.sampled_from(NAMES), of=st.sampled_from(PROFILES))
    def remove(self, name: str, of: str) -> None:
        self.store.remove_members([self.key(of, name)])
        for found, members in self.packs.values():
            if found == of:
                members.pop(name, None)
        self.forget_empty()

    @rule(
        pattern=st.sampled_from(("*", "a", "[bc]", "x*")),
        fork=st.sampled_from((None, "london")),
        included=st.booleans(),
    )
    def clear(self, pattern: str, fork: str | None, included: bool) -> None:
        from fnmatch import fnmatchcase

        selector = Selector(forks=frozenset([fork] if fork else ()), pattern=pattern)
        self.store.clear(selector, include_pinned=included)
        for of, members in self.packs.values():
            for name, forks in list(members.items()):
                if not fnmatchcase(name, pattern):
                    continue
                if fork is not None and not forks <= {fork}:
                    members[name] = forks - {fork}
                elif included or not self.is_pinned(of, name):
                    del members[name]
        self.forget_empty()

    @rule(
        pin=st.sampled_from(PINS),
        names=st.sets(st.sampled_from(NAMES)),
        of=st.sampled_from(PROFILES),
        add=st.booleans(),
    )
    def pin(self, pin: str, names: set[str], of: str, add: bool) -> None:
        keys = {self.key(of, name) for name in names}
        self.store.pin(pin, keys, add=add)
        self.pins[pin] = keys | (self.pins.get(pin, set()) if add else set())

    @precondition(lambda self: bool(self.pins))
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pins)))
        self.store.unpin(name)
        del self.pins[name]

    @rule(hours=st.sampled_from((-5000.0, 0.0, 0.5, 2.0, 5000.0)))
    def collect_all(self, hours: float) -> None:
        """With every limit at nothing: only age and pins keep something."""
        self.clock.ahead_seconds = 3600 * hours
        collect(self.store, Limits(max_size_bytes=0, max_age_seconds=0.0, keep_free=None))
        self.clock.ahead_seconds = 0.0
        if hours > 1:
            for sha256, (of, members) in list(self.packs.items()):
                if not any(self.is_pinned(of, name) for name in members):
                    del self.packs[sha256]

    @rule()
    def sweep(self) -> None:
        self.store.sweep()

    @rule()
    def open_again(self) -> None:
        self.store = open_store(self.directory / "s", system=self.clock)

    def forget_empty(self) -> None:
        self.packs = {sha256: found for sha256, found in self.packs.items() if found[1]}

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "store"):
            return
        found = {
            held.manifest.object.sha256: {row.label: frozenset(row.forks) for row in held.manifest.members}
            for held in self.store.packs()
        }
        assert found == {sha256: members for sha256, (_, members) in self.packs.items()}
        assert {pin.name: set(pin.members) for pin in read_pins(self.store.files)[0]} == self.pins
        assert errors(self.store.verify("hash")) == []


StoreMachine.TestCase.settings = settings(max_examples=scaled(12), stateful_step_count=25, deadline=None)
test_a_store_is_a_dictionary = StoreMachine.TestCase
