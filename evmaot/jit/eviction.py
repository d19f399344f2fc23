"""When code is given back: what is idle, and what is over the budget.

Job: ask the map to evict, count, and tell.  Invariants: it belongs to the thread that schedules; what somebody holds
is tried again soon.  May import: `evmaot.runtime`, jit.residency.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from evmaot.runtime.events import EvictedEvent
from evmaot.runtime.lookup import RuntimeCacheKey

if TYPE_CHECKING:
    from evmaot.jit.core import Core

_RETRY_SECONDS: Final = 1.0


class Evictor:
    """Gives code back."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tuning = core.tuning
        self._next_sweep = time.monotonic() + self._tuning.eviction_sweep_interval

    @property
    def next_sweep(self) -> float | None:
        """When `sweep` has something to look at."""
        has_code = self._core.map.entries or self._core.map.sizes.total
        return self._next_sweep if has_code else None

    def sweep(self, now: float) -> None:
        """Look for idle code when it is time."""
        if now >= self._next_sweep:
            self._next_sweep = now + self._tuning.eviction_sweep_interval
            self._evict(self._tuning.idle_evict_duration)

    def keep_budget(self) -> None:
        """Give back what is over the budget; called whenever something became resident."""
        if self._core.map.sizes.total > self._tuning.resident_code_cache_bytes:
            self._evict(0.0)

    def _evict(self, idle_seconds: float) -> None:
        core, budget = self._core, self._tuning.resident_code_cache_bytes
        hits = core.hit_events
        core.map.used([hits.popleft() for _ in range(len(hits))])
        for eviction in core.map.evict(budget, idle_seconds):
            core.counters.evictions.add()
            keys = tuple(RuntimeCacheKey(*pair) for pair in eviction.keys)
            core.notify(EvictedEvent(eviction.reason, keys, eviction.size_bytes))
        if core.map.sizes.total > budget:
            # Somebody holds what should go; perhaps not for long.
            self._next_sweep = min(self._next_sweep, time.monotonic() + _RETRY_SECONDS)
