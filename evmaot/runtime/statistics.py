"""Counts of a backend: exact ones, and the snapshot that shows them.

Job: `ExactCounter` and `RuntimeStatsSnapshot`.  Invariant: a count is exact whatever threads count at once, and
neither counting nor reading takes a lock.  May import: the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count


class ExactCounter:
    """A count that any thread may increase with one call of `add`."""

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        # `next` of a counter is one step of the interpreter, where `x += 1` is three that threads can come between.
        self._count = count()
        self.add: Callable[[], int] = self._count.__next__

    @property
    def value(self) -> int:
        """How often `add` was called."""
        # "count(7)": its text alone tells the number and takes none.  Without a lock, so that a handler of a signal
        # may ask for statistics in the middle of this.
        return int(repr(self._count)[6:-1])


@dataclass(frozen=True, slots=True)
class RuntimeStatsSnapshot:
    """Numbers of one backend at one moment; counts are since it was made, sizes are bytes.

    Look-ups are exact: `lookups` is hits + misses + ineligible + disabled.
    """

    lookup_hits: int
    lookup_misses: int
    lookup_ineligible: int
    lookup_disabled: int
    events_dropped: int
    """Look-ups that the queue of events had no room for."""
    commands_dropped: int
    """Requests that were not accepted: no room for a hot key, or the backend was closing."""
    resident_entries: int
    """Keys (code hash and fork) that a look-up finds."""
    events_queued: int
    """Events of look-ups that are waiting."""
    command_queue_len: int
    """Requests that are waiting."""
    pending_jobs: int
    """Keys that are being loaded, compiled or published, or wait for it."""
    jit_code_bytes: int
    """Machine code of resident JIT programs."""
    jit_data_bytes: int
    """What else they take: constants, tables, padding of pages."""
    aot_code_bytes: int
    """Loaded libraries of the store."""
    evictions: int
    """Images and libraries that were given back."""
    compilations_dispatched: int
    compilations_succeeded: int
    compilations_failed: int
    negative_cache_hits: int
    """Look-ups and requests that were answered by a remembered failure."""
    worker_spawns: int
    worker_restarts: int
    worker_timeouts: int
    worker_crashes: int
    worker_memory_kills: int
    pause_requests: int
    resume_requests: int
    preload_loaded: int
    """Programs that the preload made resident."""
    preload_skipped: Mapping[str, int] = field(hash=False)
    """What was left out of stores, by reason."""

    @property
    def lookups(self) -> int:
        """All look-ups."""
        return self.lookup_hits + self.lookup_misses + self.lookup_ineligible + self.lookup_disabled

    @property
    def resident_bytes(self) -> int:
        """What counts against the budget of resident code."""
        return self.jit_code_bytes + self.jit_data_bytes + self.aot_code_bytes
