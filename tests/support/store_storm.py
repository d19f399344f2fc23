"""A storm of kills on one store: `python -m tests.support.store_storm DIRECTORY KILLS [SEED]`.

Writers, a collector and loaders work on one store; each is killed (SIGKILL) after a random number of its system calls
and another takes its place.  Everything but the compiler is real.  After every few kills the store is verified while
nobody works on it; at the end, everything that a writer was told to be stored and pinned has to be there, byte for
byte.  Prints one JSON line with the figures; exits with 1 where something was wrong.

Children are forks of this process, which has no threads: 5,000 interpreters would take longer than what they do.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from evmaot.errors import BusyError
from evmaot.store.codes import StoredCode, read_codes
from evmaot.store.collection import Limits, collect
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import Entry, IndexReader
from evmaot.store.negative import NegativeRecord
from evmaot.store.pins import pinned_members
from evmaot.store.publication import NewPack
from evmaot.store.removal import Selector
from tests.support.store_samples import MUTATING, READING, QuickSystem, errors, open_store, pack, profile, sha

KILLS_PER_CHECK = 25
MOST_CALLS = {"write": 400, "collect_and_clear": 6000, "load": 3000}
"""A child lives for at most so many system calls; who reads everything gets through now and then."""
PINS = 3
CODES = (StoredCode(b"\x60\x01\x00", ("osaka",), "x"),)


class CountedSystem(QuickSystem):
    """Says each system call in one byte, and waits for the answer at the one it is to die at."""

    def __init__(self, pipe: int, hours_ahead: float = 0.0) -> None:
        self.pipe = pipe
        self.hours_ahead = hours_ahead

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in MUTATING + READING:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            os.write(self.pipe, b".")
            return method(*arguments, **options)

        return call

    def now_seconds(self) -> float:
        return super().now_seconds() + 3600 * self.hours_ahead


def keys_of(name: str) -> list[tuple[str, str, str]]:
    _, manifest, of = pack(name)
    return [(of.digest, member.code_sha256, member.rules) for member in manifest.members]


def write(root: Path, pipe: int, chance: random.Random) -> None:
    """Publish what comes and goes, and what is pinned and has to stay; note forks; remember failures."""
    store = open_store(root, system=CountedSystem(pipe), lock_timeout_seconds=60.0)
    for _ in count():
        if chance.random() < 0.1:
            name = f"keep-{chance.getrandbits(24):06x}"
            store.pin(f"pin-{chance.randrange(PINS)}", keys_of(name), add=True)
            store.publish_batch([NewPack(*pack(name), codes=CODES)])
            os.write(pipe, f"K{name[5:]}".encode())
        elif chance.random() < 0.2:
            unit = sha(str(chance.random()))
            store.remember_failure(profile(), NegativeRecord(unit, sha("c"), 1, sha("r"), "x", "why", "m", 1.0, 1))
        elif chance.random() < 0.1:
            fork = chance.choice(["paris", "cancun"])
            wanted = {(entry.member.code_sha256, entry.member.rules): (fork,) for entry in store.index()}
            store.add_forks(store.packs(), wanted)
        elif chance.random() < 0.1:
            name = f"go-{chance.randrange(40)} shared-{chance.randrange(4)}"
            store.publish_batch([NewPack(*pack(name), codes=CODES, replaces_members=True)])
        else:
            names = [f"go-{chance.randrange(40)} shared-{chance.randrange(4)}" for _ in range(chance.randrange(1, 4))]
            store.publish_batch([NewPack(*pack(name), codes=CODES) for name in sorted(set(names))])


def collect_and_clear(root: Path, pipe: int, chance: random.Random) -> None:
    """Collect, clear, sweep and quarantine; for this process it is two hours later, so nothing is young."""
    store = open_store(root, system=CountedSystem(pipe, hours_ahead=2.0), lock_timeout_seconds=60.0)
    for _ in count():
        choice = chance.randrange(5)
        if choice < 2:
            collect(store, Limits(max_size_bytes=chance.randrange(60_000), keep_free=None))
        elif choice == 2:
            store.clear(Selector(pattern=f"go-{chance.randrange(4)}*"))
        elif choice == 3:
            store.sweep()
        else:
            going = [found for found in store.packs() if found.manifest.members[0].label.startswith("go-")]
            for found in going[:1]:
                store.quarantine(found)
        os.write(pipe, b"C")


def load(root: Path, pipe: int, chance: random.Random) -> None:
    """Read everything as a runtime does: under the shared lock, every library is there and is what it should be."""
    store = open_store(root, system=CountedSystem(pipe), create=False, read_only=True, lock_timeout_seconds=60.0)
    for _ in count():
        with store.shared_lock():
            for found in IndexReader(store.files).read().packs:
                require_right(store, found.manifest.members[0].label, Entry(found, found.manifest.members[0]))
        os.write(pipe, b"L")


def require_right(store: ArtifactDirectory, label: str, entry: Entry) -> None:
    """The library is byte for byte what was published for its members."""
    data = entry.pack.object_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.pack.manifest.object.sha256 or label.encode() not in data:
        raise AssertionError(f"{entry.pack.object_path} is not the library of {label}")


ROLES: tuple[Callable[[Path, int, random.Random], None], ...] = (write, write, write, collect_and_clear, load)


@dataclass
class Child:
    """A process that works until it is killed."""

    role: str
    process: int
    pipe: int
    calls_left: int
    text: bytes = b""


def start(root: Path, number: int, chance: random.Random) -> Child:
    role = ROLES[number % len(ROLES)]
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reader)
            role(root, writer, random.Random(chance.random()))
        except BusyError:
            os.write(writer, b"B")
        except BaseException:
            os.write(writer, b"E" + traceback.format_exc().encode()[-3000:])
        os._exit(0)
    os.close(writer)
    return Child(role.__name__, process, reader, chance.randrange(1, MOST_CALLS[role.__name__]))


def storm(root: Path, kills: int, seed: int) -> dict[str, Any]:
    """Run it; answers the figures.  Raises AssertionError for anything that is not as it should be."""
    chance = random.Random(seed)
    open_store(root)
    begin = time.monotonic()
    kept: set[str] = set()
    by_role: Counter[str] = Counter()
    through: Counter[bytes] = Counter()
    checks = calls = done = number = 0
    children: list[Child] = []
    try:
        while done < kills:
            while len(children) < len(ROLES):
                children.append(start(root, number, chance))
                number += 1
            ready, _, _ = select.select([child.pipe for child in children], [], [], 60.0)
            assert ready, "nobody does anything"
            for child in list(children):
                if child not in children or child.pipe not in ready:
                    continue
                data = os.read(child.pipe, 256)
                child.text += data
                calls += data.count(b".")
                through.update({letter: data.count(letter) for letter in (b"C", b"L")})
                child.calls_left -= data.count(b".")
                if data and child.calls_left > 0 and b"E" not in child.text:
                    continue
                children.remove(child)
                kept |= end(child)
                done += 1
                by_role[child.role] += 1
                if done % KILLS_PER_CHECK == 0:
                    for other in children:
                        os.kill(other.process, signal.SIGSTOP)
                    # Who is stopped may hold locks: they are killed as well, and are counted.
                    for other in children:
                        kept |= end(other)
                        by_role[other.role] += 1
                    done += len(children)
                    children.clear()
                    require_sound(root, kept)
                    checks += 1
    finally:
        for child in children:
            kept |= end(child)
    require_sound(root, kept)
    store = open_store(root)
    store.sweep()
    return {
        "kills": done,
        "by_role": dict(by_role),
        "system_calls": calls,
        "checks": checks + 1,
        "removals": through[b"C"],
        "loads": through[b"L"],
        "kept": len(kept),
        "packs": len(store.packs()),
        "seconds": round(time.monotonic() - begin, 1),
    }


def end(child: Child) -> set[str]:
    """Kill a child; answers what it had been told to be stored."""
    os.kill(child.process, signal.SIGKILL)
    os.waitpid(child.process, 0)
    while data := os.read(child.pipe, 65536):
        child.text += data
    os.close(child.pipe)
    text = child.text.decode(errors="replace")
    if "E" in text:
        raise AssertionError(f"{child.role}: {text.partition('E')[2]}")
    return {f"keep-{name}" for name in re.findall("K([0-9a-f]{6})", text)}


def require_sound(root: Path, kept: set[str]) -> None:
    """Nobody works on the store: it verifies, and has everything that was stored and pinned."""
    store = open_store(root, lock_timeout_seconds=60.0)
    with store.exclusive_lock():
        wrong = errors(store.verify("hash"))
        assert wrong == [], wrong
        there = {entry.member.label: entry for entry in store.index()}
        pinned = pinned_members(store.files)
        assert {key for name in kept for key in keys_of(name)} <= pinned
        lost = kept - set(there)
        assert not lost, f"lost: {sorted(lost)}"
        for name in kept:
            require_right(store, name, there[name])
            assert read_codes(store.files, there[name].pack.manifest.object.sha256) == CODES


def main() -> int:
    root, kills = Path(sys.argv[1]), int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    print(json.dumps(storm(root, kills, seed)))  # noqa: T201  # the figures are what it is run for
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
