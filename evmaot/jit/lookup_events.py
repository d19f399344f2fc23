"""Events of look-ups, taken from their queues in pieces.

Job: decide when they are taken, and pass them on.  Invariants: at most so many at once as configured; few events are
taken soon, so that a key is seen to be hot as soon as it is, and many events seldom, so that taking them costs two
hundredths of the time and no more.
May import: jit.residency.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from evmaot.jit.core import Core

_SHORTEST_PAUSE_SECONDS: Final = 0.005
_PAUSE_FACTOR: Final = 50.0
"""Times the time that taking events took."""


class LookupEvents:
    """Belongs to the thread that schedules."""

    def __init__(self, core: Core, missed: Callable[[bytes, str, bytes], None]) -> None:
        """`missed` is called with code hash, fork name and code of a look-up that found nothing."""
        self._core = core
        self._missed = missed
        self.next_drain = 0.0
        """Until then nothing is taken."""

    def drain(self, now: float) -> None:
        """Take what is due."""
        core = self._core
        hits, misses = core.hit_events, core.miss_events
        if now < self.next_drain or not (hits or misses):
            return
        limit = core.tuning.max_events_per_drain
        core.map.used([hits.popleft() for _ in range(min(len(hits), limit))])
        for _ in range(min(len(misses), limit)):
            (code_hash, fork_name), code = misses.popleft()
            if core.enabled:
                self._missed(code_hash, fork_name, code)
        pause = (time.monotonic() - now) * _PAUSE_FACTOR
        self.next_drain = now + min(max(pause, _SHORTEST_PAUSE_SECONDS), core.tuning.event_drain_interval)
