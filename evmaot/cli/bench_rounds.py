"""How `evmaot bench` measures: engines take turns, in batches, and what they took is summed up.

Job: rounds of batches to samples, samples to median, best and spread.  Invariants: every engine that still has time
left has its turn in every round, so what else the machine does meets all of them; times are of this thread's
processor; what an engine prepares for a batch is not timed.  May import: nothing of evmaot.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

BATCH_SECONDS = 0.002
"""What a batch should take: long against the clock's own cost, short against what disturbs."""
MOST_IN_BATCH = 2000
FEWEST_SAMPLES = 3
_WALL_SECONDS = 0.25
"""What a batch should take with all that is prepared for it."""
_MOST_WALL = 10
"""An engine is done after so many times its time on the clock, however little of it was measured."""


class TooLong(Exception):
    """A message did not end within the patience that its engine has."""


class Engine(Protocol):
    """What executes the message."""

    def batch(self, number: int) -> float:
        """Execute it so many times; answers seconds of processor time.  Raises TooLong."""


@dataclass(slots=True)
class Measured:
    """What one engine took."""

    samples: list[float] = field(default_factory=list)
    """Seconds of a message, one for each batch."""
    messages: int = 0
    seconds: float = 0.0
    """All batches together."""
    wall_seconds: float = 0.0
    """The same with what was prepared for them."""
    gave_up: bool = False

    @property
    def median(self) -> float:
        """Seconds of a message."""
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """Seconds of a message in the fastest batch."""
        return min(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds of a message: a quarter of the batches was faster, a quarter slower."""
        if len(self.samples) < FEWEST_SAMPLES:
            return min(self.samples), max(self.samples)
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    def is_done(self, seconds: float, count: int | None) -> bool:
        """Whether this engine has had its time, or its number of messages."""
        if self.gave_up:
            return True
        if count is not None:
            return self.messages >= count
        if self.samples and self.wall_seconds >= _MOST_WALL * seconds:
            return True
        return self.seconds >= seconds and (len(self.samples) >= FEWEST_SAMPLES or self.seconds >= 5 * seconds)


def measure(engines: Mapping[str, Engine], seconds: float, count: int | None) -> dict[str, Measured]:
    """Let the engines take turns until each has had `seconds`, or `count` messages.

    An engine that raises TooLong before its first sample has none.
    """
    found = {name: Measured() for name in engines}
    # The first message of each fills caches; it says how many make a batch, and counts only where no other will end.
    sizes = {name: _first(engine, found[name], seconds, count) for name, engine in engines.items()}
    while True:
        active = [name for name in engines if not found[name].is_done(seconds, count)]
        if not active:
            return found
        for name in active:
            _turn(engines[name], found[name], _number(sizes[name], found[name], count))


def _first(engine: Engine, measured: Measured, seconds: float, count: int | None) -> int:
    start = time.perf_counter()
    try:
        took = engine.batch(1)
        if took >= seconds or count == 1:
            measured.samples.append(took)
            measured.messages, measured.seconds = 1, took
        elif took < BATCH_SECONDS:
            took = engine.batch(2) / 2  # the very first is slower
    except TooLong:
        measured.gave_up = True
        return 1
    wall = time.perf_counter() - start
    measured.wall_seconds = wall
    return max(1, min(MOST_IN_BATCH, round(BATCH_SECONDS / max(took, 1e-9)), int(_WALL_SECONDS / max(wall, 1e-9))))


def _number(size: int, measured: Measured, count: int | None) -> int:
    return size if count is None else min(size, count - measured.messages)


def _turn(engine: Engine, measured: Measured, number: int) -> None:
    start = time.perf_counter()
    try:
        took = engine.batch(number)
    except TooLong:
        measured.gave_up = True
        return
    measured.samples.append(took / number)
    measured.messages += number
    measured.seconds += took
    measured.wall_seconds += time.perf_counter() - start
