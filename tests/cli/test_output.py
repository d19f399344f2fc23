"""Tables, sizes, durations and envelopes."""

from __future__ import annotations

import io

import pytest

from evmaot.cli import output
from evmaot.cli.output import Column

COLUMNS = (
    Column("NAME", shrinks=True),
    Column("N", right=True),
    Column("NOTE", drop_rank=1),
    Column("MORE", drop_rank=2),
)
ROWS = [("a long name of a contract", "1", "note", "more"), ("b", "12345", "x", "y")]


def test_a_pipe_gets_the_whole_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.Output().table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME                           N  NOTE  MORE",
        "a long name of a contract      1  note  more",
        "b                          12345  x     y",
    ]


@pytest.mark.parametrize(
    ("width", "widths"),
    [(None, [25, 5, 4, 4]), (80, [25, 5, 4, 4]), (43, [24, 5, 4, 4]), (27, [8, 5, 4, 4]), (5, [8, 5, 4, 4])],
)
def test_shrinking_columns_give_way_down_to_eight(width: int | None, widths: list[int]) -> None:
    assert output.column_widths(COLUMNS, ROWS, width) == widths


@pytest.mark.parametrize(
    ("width", "left_out"), [(None, []), (27, []), (26, ["MORE"]), (20, ["MORE", "NOTE"]), (5, ["MORE", "NOTE"])]
)
def test_columns_are_left_out_where_shrinking_is_not_enough(width: int | None, left_out: list[str]) -> None:
    kept, gone = output.fitting_columns(COLUMNS, ROWS, width)
    assert gone == left_out
    assert len(kept) == len(COLUMNS) - len(left_out)


def test_a_terminal_gets_cut_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, words = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", words)
    monkeypatch.setenv("COLUMNS", "24")
    output.Output(color_choice="never").table(COLUMNS, ROWS)
    lines = terminal.getvalue().splitlines()
    assert lines[1] == "a long nam…      1  note"
    assert all(len(line) <= 24 for line in lines)
    assert words.getvalue() == "left out, for the terminal is narrow: MORE\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert output.human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.421, "0.42 s"), (12.3, "12 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert output.human_seconds(seconds) == text


@pytest.mark.parametrize(("columns", "width"), [("40", 40), ("7", 20), ("wide", None), ("0", None)])
def test_the_width_is_what_columns_says(columns: str, width: int | None) -> None:
    found = output.terminal_width({"COLUMNS": columns})
    assert found == width if width else found >= 20


def test_numbers_with_nouns() -> None:
    assert output.counted(1, "artifact") == "1 artifact"
    assert output.counted(1200, "artifact") == "1,200 artifacts"
    assert output.counted(2, "proxy", "proxies") == "2 proxies"
