"""What a person sees while a build runs.

Job: observers of `evmaot.build`: a display that moves on a terminal, a line every ten seconds elsewhere.
Invariant: rich is loaded for the first alone; a display never fails a build.  May import: rich,
`evmaot.build_report`, `evmaot.cli.output`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from evmaot.build_report import BuildCounts, BuildEvent, EventKind
from evmaot.cli.output import Output, human_seconds

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_INTERVAL_SECONDS = 10.0
_READ_INTERVAL_SECONDS = 0.1
Item = TypeVar("Item")


class Display(Protocol):
    """An observer that also hears how many inputs were read."""

    def observe(self, event: BuildEvent) -> None:
        """One step of the build."""

    def reading(self, number: int) -> None:
        """So many contracts were read so far."""


class Tally:
    """Counts, rate and what takes longest, from events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._skipped_before = 0
        self.counts = BuildCounts()
        self.is_planned = False
        self.in_flight: dict[str, float] = {}

    def take(self, event: BuildEvent) -> None:
        """Count one event."""
        self.counts = event.counts
        if event.kind is EventKind.PLANNED:
            self.is_planned = True
            self._begun = self._clock()
            self._skipped_before = event.counts.done
        elif event.kind is EventKind.STARTED:
            self.in_flight[event.subject] = self._clock()
        elif event.kind in (EventKind.COMPILED, EventKind.FAILED):
            self.in_flight.pop(event.subject, None)

    @property
    def per_second(self) -> float:
        """Units done in a second, without those that were done before the first was compiled."""
        seconds = self._clock() - self._begun
        return (self.counts.done - self._skipped_before) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at this rate, None where nobody knows yet."""
        rate = self.per_second
        return (self.counts.total - self.counts.done) / rate if rate > 0 else None

    @property
    def slowest(self) -> tuple[str, float] | None:
        """What has been compiling for longest, and for how many seconds."""
        if not self.in_flight:
            return None
        label, start = min(self.in_flight.items(), key=lambda item: item[1])
        return label, self._clock() - start

    def line(self) -> str:
        """All of it in one line."""
        counts = self.counts
        parts = [f"{counts.done:,}/{counts.total:,}", f"compiled {counts.compiled:,}", f"cached {counts.cached:,}"]
        if counts.failed:
            parts.append(f"failed {counts.failed:,}")
        if self.seconds_left is not None and counts.done < counts.total:
            parts.append(f"{self.per_second:.1f}/s, {human_seconds(self.seconds_left)} left")
        slowest = self.slowest
        if slowest is not None and slowest[1] >= LINE_INTERVAL_SECONDS:
            parts.append(f"slowest: {slowest[0]} ({human_seconds(slowest[1])})")
        return "; ".join(parts)


class NoDisplay:
    """Shows nothing."""

    def observe(self, event: BuildEvent) -> None:
        """Nothing."""

    def reading(self, number: int) -> None:
        """Nothing."""


class LineDisplay:
    """A line every ten seconds, also while nothing happens."""

    def __init__(self, output: Output, interval_seconds: float = LINE_INTERVAL_SECONDS) -> None:
        self._output = output
        self._interval_seconds = interval_seconds
        self._tally = Tally()
        self._read = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evmaot-progress", daemon=True)
        self._thread.start()

    def observe(self, event: BuildEvent) -> None:
        """Count one event."""
        with self._lock:
            self._tally.take(event)
        if event.kind is EventKind.WAITING:
            self._output.say("waiting for another process that compiles the rest")

    def reading(self, number: int) -> None:
        """Remember the number."""
        self._read = number

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            with self._lock:
                line = self._tally.line() if self._tally.is_planned else f"reading inputs: {self._read:,} contracts"
            with contextlib.suppress(OSError, ValueError):
                self._output.say(line)

    def close(self) -> None:
        """Print no more lines."""
        self._stop.set()
        self._thread.join(timeout=1.0)


class LiveDisplay:
    """A bar on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tally = Tally()
        self._task = progress.add_task("reading inputs", total=None, counts="")

    def observe(self, event: BuildEvent) -> None:
        """Move the bar."""
        tally = self._tally
        tally.take(event)
        counts = tally.counts
        text = f"[green]{counts.compiled:,} compiled[/] {counts.cached:,} cached"
        if counts.failed:
            text += f" [red]{counts.failed:,} failed[/]"
        if tally.per_second > 0:
            text += f" {tally.per_second:.1f}/s"
        about = "waiting for another process" if event.kind is EventKind.WAITING else "compiling"
        self._progress.update(self._task, description=about, completed=counts.done, total=counts.total, counts=text)

    def reading(self, number: int) -> None:
        """Show the number."""
        self._progress.update(self._task, description=f"reading inputs: {number:,}")


@contextlib.contextmanager
def display(output: Output) -> Iterator[Display]:
    """The display that suits this output."""
    if output.quiet or not output.progress:
        yield NoDisplay()
    elif output.is_live():
        with _rich_progress(output) as progress:
            yield LiveDisplay(progress)
    else:
        lines = LineDisplay(output)
        try:
            yield lines
        finally:
            lines.close()


def _rich_progress(output: Output) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, no_color=not output.color(sys.stderr), highlight=False)
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}")]
    if console.width >= 60:
        columns.append(BarColumn(bar_width=None))
    columns += [MofNCompleteColumn(), TextColumn("{task.fields[counts]}")]
    if console.width >= 60:
        columns.append(TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def counting(items: Iterable[Item], show: Display) -> Iterator[Item]:
    """The items, telling the display how many came."""
    shown = 0.0
    for number, item in enumerate(items, 1):
        now = time.monotonic()
        if now - shown >= _READ_INTERVAL_SECONDS:
            shown = now
            show.reading(number)
        yield item
