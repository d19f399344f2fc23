"""Who is compiled: counts of misses, and failures that are remembered.

Job: `HotKeys` and `NegativeCache`.  Invariants: both are bounded, and forget the oldest first; a failure is tried
again only after its time, which doubles each time; the cache is read by look-ups without a lock.
May import: jit.residency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evmaot.jit.residency import Pair

MAX_HOT_KEYS: Final = 1 << 16
MAX_FAILURES: Final = 1 << 16
FIRST_PAUSE_SECONDS: Final = 30.0
"""Before a failure that the code caused is tried again."""
FIRST_PAUSE_AFTER_ACCIDENT_SECONDS: Final = 1.0
"""Before one that something else may have caused (a killed worker) is tried again."""
LONGEST_PAUSE_SECONDS: Final = 3600.0


class HotKeys:
    """Misses by key, until a key is hot.  For one thread."""

    def __init__(self, threshold: int, capacity: int = MAX_HOT_KEYS) -> None:
        self._threshold = threshold
        self._capacity = capacity
        self._misses: dict[Pair, int] = {}

    def miss(self, key: Pair) -> bool:
        """Count a miss; whether the key is hot now, which begins the count anew."""
        # Taken out and put in: the order of the dictionary is that of the last miss.
        count = self._misses.pop(key, 0) + 1
        if count >= self._threshold:
            return True
        self._misses[key] = count
        if len(self._misses) > self._capacity:
            del self._misses[next(iter(self._misses))]
        return False

    def clear(self) -> None:
        """Forget all counts."""
        self._misses.clear()

    def __len__(self) -> int:
        return len(self._misses)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a key has no program."""

    reason: str
    message: str
    attempts: int
    retry_at: float
    """By the cache's clock."""


class NegativeCache:
    """Failures by key.  `failures` may be read by any thread; one thread changes it."""

    def __init__(self, clock: Callable[[], float], capacity: int = MAX_FAILURES) -> None:
        self.failures: dict[Pair, Failure] = {}
        self._clock = clock
        self._capacity = capacity

    def standing(self, key: Pair) -> Failure | None:
        """The failure of a key that is not to be tried again yet."""
        failure = self.failures.get(key)
        return failure if failure is not None and self._clock() < failure.retry_at else None

    def remember(self, key: Pair, reason: str, message: str, *, is_repeatable: bool) -> Failure:
        """A key failed, perhaps again."""
        before = self.failures.pop(key, None)
        attempts = 1 if before is None else before.attempts + 1
        first = FIRST_PAUSE_SECONDS if is_repeatable else FIRST_PAUSE_AFTER_ACCIDENT_SECONDS
        pause = min(first * 2.0 ** min(attempts - 1, 32), LONGEST_PAUSE_SECONDS)
        failure = self.failures[key] = Failure(reason, message, attempts, self._clock() + pause)
        if len(self.failures) > self._capacity:
            del self.failures[next(iter(self.failures))]
        return failure

    def forget(self, key: Pair) -> None:
        """A key succeeded."""
        self.failures.pop(key, None)

    def clear(self) -> None:
        """Forget all failures."""
        self.failures.clear()
