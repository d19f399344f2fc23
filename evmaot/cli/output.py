"""What commands write: data on stdout, words on stderr, documents, tables, colours.

Job: one `Output` per invocation, which alone decides about colour, width and verbosity.
Invariants: stdout carries nothing but the data that was asked for; a pipe gets the whole text,
only a terminal gets it cut to its width.  May import: `evmaot.version`; no click, no rich.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from evmaot.version import VERSION

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "error": "1;31"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    """Aligned to the right, for numbers."""
    shrinks: bool = False
    """Cut with an ellipsis where a terminal is too narrow."""
    least: int = 8
    """Not cut below this as long as another column can be left out instead."""
    drop_rank: int = 0
    """Left out where a terminal is still too narrow, the highest first; 0: never."""


def use_color(choice: str, stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour a stream: the option, then NO_COLOR, FORCE_COLOR, TERM, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return environment.get("TERM") != "dumb" and is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream.  False for a closed one."""
    try:
        return stream.isatty()
    except (ValueError, AttributeError):  # None where the process was started without it
        return False


def terminal_width(environment: Mapping[str, str]) -> int:
    """Columns of the terminal: COLUMNS, else what the terminal says, else 80; never under 20."""
    text = environment.get("COLUMNS", "")
    if text.isdigit() and int(text) > 0:
        return max(20, int(text))
    for descriptor in (1, 2):
        try:
            return max(20, os.get_terminal_size(descriptor).columns or 80)
        except OSError:
            continue
    return 80


def styled(text: str, style: str, enabled: bool) -> str:
    """The text in a style of `STYLES`, where colours are on."""
    return f"\033[{STYLES[style]}m{text}\033[0m" if enabled and text else text


def document(verb: str, data: Any, problems: Sequence[Mapping[str, Any]] = (), ok: bool = True) -> dict[str, Any]:
    """The envelope of all JSON that commands print (schema ``evmaot.<verb>/1``)."""
    return {"schema": f"evmaot.{verb}/1", "evmaot": VERSION, "ok": ok, "data": data, "problems": list(problems)}


def human_size(size_bytes: int) -> str:
    """A size for people: ``512 B``, ``1.5 MiB``."""
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """A duration for people: ``0.42 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def brief_seconds(seconds: float) -> str:
    """A short duration for people, three digits: ``812 ns``, ``9.61 us``, ``12.3 ms``, ``1.24 s``."""
    for unit, factor in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds)} s"


def human_rate(number: float) -> str:
    """A number of a second for people, three digits: ``812``, ``5.30 M``, ``22.9 G``."""
    for unit in ("", " K", " M", " G"):
        if number < 999.5:
            return f"{_three_digits(number)}{unit}" if unit else f"{number:.0f}"
        number /= 1000
    return f"{_three_digits(number)} T"


def _three_digits(number: float) -> str:
    return f"{number:.{max(0, 2 - len(str(int(number))) + 1)}f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 contract``, ``2 contracts``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


@dataclass(slots=True)
class Output:
    """How this invocation writes."""

    as_json: bool = False
    plain: bool = False
    quiet: bool = False
    verbosity: int = 0
    color_choice: str = "auto"
    progress: bool = True

    def color(self, stream: TextIO) -> bool:
        """Whether that stream gets colours."""
        return not (self.plain and self.color_choice == "auto") and use_color(self.color_choice, stream, os.environ)

    def data(self, text: str) -> None:
        """One piece of what was asked for, on stdout, with a line end."""
        sys.stdout.write(text + "\n")

    def say(self, text: str, *, style: str = "") -> None:
        """Words for the person who watches, on stderr; not with --quiet."""
        if not self.quiet:
            self.warn(text, style=style)

    def warn(self, text: str, *, style: str = "") -> None:
        """Words that matter even with --quiet, on stderr."""
        sys.stderr.write((styled(text, style, self.color(sys.stderr)) if style else text) + "\n")
        sys.stderr.flush()

    def detail(self, text: str, level: int = 1) -> None:
        """Words for -v (level 1) and -vv (level 2), on stderr."""
        if self.verbosity >= level:
            self.warn(text)

    def document(self, verb: str, data: Any, problems: Sequence[Mapping[str, Any]] = (), ok: bool = True) -> None:
        """A JSON document on stdout."""
        self.data(json.dumps(document(verb, data, problems, ok), indent=2))

    def record(self, kind: str, data: Mapping[str, Any]) -> None:
        """One line of --jsonl on stdout."""
        self.data(json.dumps({"schema": f"evmaot.{kind}/1", **data}, separators=(",", ":")))

    def styled(self, text: str, style: str) -> str:
        """Text for stdout in a style."""
        return styled(text, style, self.color(sys.stdout))

    def is_live(self) -> bool:
        """Whether stderr is a terminal that may show a moving progress display."""
        moving = os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        return self.progress and not self.plain and not self.quiet and moving and is_terminal(sys.stderr)

    def width(self) -> int:
        """Columns of the terminal that stdout is; 0 where it is none, or with --plain: nothing is cut or broken."""
        return terminal_width(os.environ) if is_terminal(sys.stdout) and not self.plain else 0

    def fields(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values on stdout; on a terminal, long values go on below their beginning."""
        indent = max(len(label) for label, _ in rows) + 2
        width = self.width()
        for label, text in rows:
            pieces = wrapped(text, width - indent) if width else [text]
            self.data(f"{self.styled(f'{label}:'.ljust(indent - 1), 'bold')} {pieces[0]}".rstrip())
            for piece in pieces[1:]:
                self.data(" " * indent + piece)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Aligned columns on stdout, two blanks apart; cut to the width of a terminal, whole in a pipe."""
        cells = [tuple(row) for row in rows]
        width = self.width() or None
        kept, left_out = fitting_columns(columns, cells, width)
        columns = [columns[index] for index in kept]
        cells = [tuple(row[index] for index in kept) for row in cells]
        widths = column_widths(columns, cells, width, keep_least=True)
        if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
            widths = column_widths(columns, cells, width)
        heading = _line(columns, [column.title for column in columns], widths)
        self.data(self.styled(heading, "bold"))
        for row in cells:
            self.data(_line(columns, row, widths))
        if left_out:
            self.say(f"left out, for the terminal is narrow: {', '.join(left_out)}")


def fitting_columns(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[int], list[str]]:
    """Indices of the columns that fit a width, and the titles of those that do not."""
    kept = list(range(len(columns)))
    left_out: list[str] = []
    while width is not None:
        chosen = [columns[index] for index in kept]
        widths = column_widths(chosen, [[row[index] for index in kept] for row in rows], width, keep_least=True)
        rank, worst = max((columns[index].drop_rank, index) for index in kept)
        if sum(widths) + 2 * (len(widths) - 1) <= width or not rank:
            break
        kept.remove(worst)
        left_out.append(columns[worst].title)
    return kept, left_out


def column_widths(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None, *, keep_least: bool = False
) -> list[int]:
    """Width of each column; where they exceed `width`, the shrinking ones give way, widest first, down to 8.

    With `keep_least`, none is made smaller than its `least`.
    """
    widths = [max([len(column.title), *(len(row[index]) for row in rows)]) for index, column in enumerate(columns)]
    if width is None:
        return widths
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    while excess > 0:
        floors = [column.least if keep_least else 8 for column in columns]
        candidates = [index for index, column in enumerate(columns) if column.shrinks and widths[index] > floors[index]]
        if not candidates:
            break
        widest = max(candidates, key=lambda index: widths[index])
        others = [widths[index] for index in candidates if index != widest]
        cut = min(excess, max(1, widths[widest] - max([floors[widest], *others])))
        widths[widest] -= cut
        excess -= cut
    return widths


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines of that width, broken at blanks, and within words that are longer."""
    import textwrap

    return textwrap.wrap(text, max(width, 8), break_on_hyphens=False) or [""]


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = cell if len(cell) <= width else cell[: width - 1] + "…"
        parts.append(text.rjust(width) if column.right else text.ljust(width))
    return "  ".join(parts).rstrip()
