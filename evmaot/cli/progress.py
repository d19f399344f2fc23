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
from typing import TYPE_CHECKING, Protocol, TypeVar

from evmaot.build_report import BuildCounts, BuildEvent, EventKind
from evmaot.cli.output import Output, counted, human_seconds

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

LINE_INTERVAL_SECONDS = 10.0
_READ_INTERVAL_SECONDS = 0.1
_SHORTEST_BAR, _LONGEST_BAR = 6, 40
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
        self._workers = 1
        self._under_way: dict[str, float | None] = {}
        """Labels in the order in which they are begun, and when each was: those behind the first wait for a worker."""
        self.counts = BuildCounts()
        self.is_planned = False

    def take(self, event: BuildEvent) -> None:
        """Count one event."""
        self.counts = event.counts
        if event.kind is EventKind.PLANNED:
            self.is_planned = True
            self._begun = self._clock()
            self._skipped_before = event.counts.done
            self._workers = max(1, event.workers)
            self._under_way.clear()
        elif event.kind is EventKind.STARTED:
            self._under_way[event.subject] = None
        elif event.kind in (EventKind.COMPILED, EventKind.FAILED):
            self._under_way.pop(event.subject, None)
        for label in list(self._under_way)[: self._workers]:
            if self._under_way[label] is None:
                self._under_way[label] = self._clock()

    @property
    def per_second(self) -> float:
        """Units done in a second, without those that were done before the first was compiled."""
        seconds = self._clock() - self._begun
        return (self.counts.done - self._skipped_before) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at the rate of code so far, None where nobody knows yet."""
        counts, seconds = self.counts, self._clock() - self._begun
        if not counts.work_done or seconds <= 0:
            return None
        return (counts.work - counts.work_done) * seconds / counts.work_done

    @property
    def slowest(self) -> tuple[str, float] | None:
        """What has been compiling for longest, and for how many seconds."""
        begun = [(start, label) for label, start in self._under_way.items() if start is not None]
        if not begun:
            return None
        start, label = min(begun)
        return label, self._clock() - start

    def speed(self) -> str:
        """Rate and rest; empty where nobody knows yet, and at the end."""
        counts, left = self.counts, self.seconds_left
        if left is None or counts.done >= counts.total:
            return ""
        return f"{self.per_second:.1f}/s, {_whole_seconds(left)} left"

    def numbers(self) -> str:
        """Units by what became of them."""
        counts = self.counts
        parts = [f"{counts.compiled:,} compiled", f"{counts.cached:,} cached"]
        if counts.failed:
            parts.append(f"{counts.failed:,} failed")
        return ", ".join(parts)

    def line(self) -> str:
        """All of it in one line."""
        counts = self.counts
        parts = [f"{counts.done:,}/{counts.total:,}: {self.numbers()}, {counts.published:,} stored", self.speed()]
        slowest = self.slowest
        if slowest is not None and slowest[1] >= LINE_INTERVAL_SECONDS:
            parts.append(f"slowest: {slowest[0]} ({_whole_seconds(slowest[1])})")
        return "; ".join(part for part in parts if part)


def _whole_seconds(seconds: float) -> str:
    """A time that moves: no hundredths."""
    whole = round(seconds)
    return f"{whole} s" if whole < 10 else human_seconds(whole)


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

    def _reading(self) -> str:
        return f"reading inputs: {counted(self._read, 'contract')}"

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            with self._lock:
                line = self._tally.line() if self._tally.is_planned else self._reading()
            with contextlib.suppress(OSError, ValueError):
                self._output.say(line)

    def close(self) -> None:
        """Print no more lines."""
        self._stop.set()
        self._thread.join(timeout=1.0)


class LiveDisplay:
    """A few lines that move, on a terminal: how far, how fast, what became of them, and what takes longest."""

    def __init__(self) -> None:
        from rich.spinner import Spinner

        self._tally = Tally()
        self._spinner = Spinner("dots")
        self._read = 0
        self._about = "reading inputs"
        self._lock = threading.Lock()

    def observe(self, event: BuildEvent) -> None:
        """Count one event."""
        with self._lock:
            self._tally.take(event)
            self._about = "waiting for another process" if event.kind is EventKind.WAITING else ""

    def reading(self, number: int) -> None:
        """Remember the number."""
        self._read = number

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        with self._lock:
            yield self._first(options.max_width)
            if self._tally.is_planned:
                yield from self._others(options.max_width)

    def _first(self, width: int) -> RenderableType:
        """The spinner, the number, as much of a bar as there is room for, and the time left."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        row: list[RenderableType] = [self._spinner]
        if not tally.is_planned:
            row.append(Text(f"{self._about}: {counted(self._read, 'contract')}"))
        else:
            number = f"{tally.counts.done:,}/{tally.counts.total:,}"
            end = self._about or tally.speed()
            row.append(Text(number))
            room = width - len(number) - len(end) - 6
            if room >= _SHORTEST_BAR:
                bar = ProgressBar(max(1, tally.counts.total), tally.counts.done, width=min(room, _LONGEST_BAR))
                row.append(bar)
            row.append(Text(end))
        grid = Table.grid(padding=(0, 1))
        grid.add_row(*row)
        return grid

    def _others(self, width: int) -> Iterator[RenderableType]:
        from rich.text import Text

        tally = self._tally
        counts = Text(f"  {tally.numbers()}", overflow="ellipsis", no_wrap=True)
        counts.highlight_regex(r"\d[\d,]* failed", "red")
        counts.highlight_regex(r"\d[\d,]* compiled", "green")
        yield counts
        if tally.slowest is not None:
            label, seconds = tally.slowest
            time_text = f" {_whole_seconds(seconds)}"
            room = max(8, width - len("  slowest: ") - len(time_text))
            # The end of a label tells more than its directories.
            shown = label if len(label) <= room else "…" + label[1 - room :]
            yield Text(f"  slowest: {shown}{time_text}", no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def display(output: Output) -> Iterator[Display]:
    """The display that suits this output."""
    if output.quiet or not output.progress:
        yield NoDisplay()
    elif output.is_live():
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr, no_color=not output.color(sys.stderr), highlight=False)
        shown = LiveDisplay()
        with Live(shown, console=console, transient=True, refresh_per_second=8):
            yield shown
    else:
        lines = LineDisplay(output)
        try:
            yield lines
        finally:
            lines.close()


def counting(items: Iterable[Item], show: Display) -> Iterator[Item]:
    """The items, telling the display how many came."""
    shown = 0.0
    for number, item in enumerate(items, 1):
        now = time.monotonic()
        if now - shown >= _READ_INTERVAL_SECONDS:
            shown = now
            show.reading(number)
        yield item
