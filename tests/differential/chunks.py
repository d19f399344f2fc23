"""A chunk: a piece of a run that one process does, in the same way on every machine.

Job: `run_chunk` compares a chunk's worlds and gives its result as JSON.  A chunk is done in a process of its own
(`workers`), so that memory comes back and a crash of native code costs one world.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from evmaot.codegen.driver import compiler_digest
from tests.differential.cases import Generated, common_worlds, fork_of, generated_world
from tests.differential.compare import Comparison, Found
from tests.differential.families import COMMON
from tests.differential.reproduction import Trial, shrink, to_json
from tests.support.fixtures import REPOSITORY

BATCHES: Final = 8
"""Batches in a chunk: each is compiled at once, at one tier."""
WORLDS: Final = 24
"""Worlds in a batch."""
MAX_SHRUNK: Final = 2
"""Differences of a chunk that are made smaller; the others are kept as they are."""
_SOURCES: Final = ("evmaot/execution", "evmaot/runtime", "evmaot/evm", "tests/differential", "tests/support")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Which worlds: those of `seed`, of a family or common to all, of a number."""

    seed: str
    family: str
    number: int
    every: int = 16
    """One batch of so many is of the optimised tier; 1: all, 0: none."""
    skipped: frozenset[str] = frozenset()
    """Worlds that have crashed the process."""
    alone: bool = False
    """Compile each program alone, when a message enters it: a batch has crashed the process."""

    def batches(self) -> Iterator[tuple[str, list[Generated]]]:
        """Tier and worlds of each batch."""
        for batch in range(BATCHES):
            optimised = self.every and (self.number * BATCHES + batch) % self.every == 0
            seeds = [f"{self.seed}/{self.family}/{self.number}/{batch}/{index}" for index in range(WORLDS)]
            seeds = [seed for seed in seeds if seed not in self.skipped]
            if self.family == COMMON:
                worlds = [world for seed in seeds for world in common_worlds(seed)]
            else:
                worlds = [generated_world(seed, fork_of(self.family, seed)) for seed in seeds]
            yield "optimised" if optimised else "fast", worlds


@cache
def sources_digest() -> str:
    """What a result depends on: the compiler, what runs its code, and the generator."""
    digest = hashlib.sha256(compiler_digest().encode())
    for folder in _SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(path.relative_to(REPOSITORY).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def run_chunk(chunk: Chunk, comparison: Comparison, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Compare a chunk; `progress` gets what is being done, for the case that the process does not survive it."""
    start = time.process_time()
    for tier, worlds in chunk.batches():
        comparison.run(worlds, tier, progress, alone=chunk.alone)
    tally = comparison.tally
    found = []
    for index, row in enumerate(tally.found):
        progress(f"shrinking {row.tier} {row.seed}")
        found.append(described(row, comparison, shrinks=index < MAX_SHRUNK))
    return {
        "sources": sources_digest(),
        "seed": chunk.seed,
        "family": chunk.family,
        "number": chunk.number,
        "every": chunk.every,
        "programs": {fork: packed(codes) for fork, codes in tally.programs.items()},
        "created": {fork: packed(codes) for fork, codes in tally.created.items()},
        "counts": {fork: dict(counts) for fork, counts in tally.counts.items()},
        "opcodes": {fork: dict(counts) for fork, counts in tally.opcodes.items()},
        "found": found,
        "seconds": time.process_time() - start,
    }


def described(row: Found, comparison: Comparison, *, shrinks: bool) -> dict[str, Any]:
    """A difference as JSON, with a smaller message that shows it."""
    trial = Trial(row.fork, comparison.eels(row.fork), comparison.natives[row.tier])
    call, words = row.call, row.words
    if shrinks and trial.words(call):
        call = shrink(call, lambda smaller: bool(trial.words(smaller)))
        words = trial.words(call)
    return {"seed": row.seed, "fork": row.fork, "tier": row.tier, "words": words, "case": to_json(call, row.fork)}


def packed(digests: set[bytes]) -> str:
    """Digests as text."""
    return base64.b64encode(b"".join(sorted(digests))).decode()


def unpacked(text: str) -> Iterator[bytes]:
    """The digests of such a text."""
    data = base64.b64decode(text)
    return (data[at : at + 8] for at in range(0, len(data), 8))
