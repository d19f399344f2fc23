"""Text to man(7) macros.

Job: escape and lay out; knows no page.  Input is plain text: paragraphs are separated by blank
lines, a paragraph whose lines all begin with two blanks is kept as it is.  May import: nothing of evmaot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def escaped(text: str) -> str:
    """Text as roff prints it: backslashes, minus signs, and lines that begin like a request."""
    plain = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    )
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in plain.split("\n"))


def title(name: str, section: int, date: str, source: str) -> str:
    """The first line of a page."""
    return f'.TH {name.upper().replace("-", chr(92) + "-")} {section} "{date}" "{source}" "evmaot manual"'


def heading(text: str) -> str:
    """A section's heading."""
    return f".SH {escaped(text.upper())}"


def subheading(text: str) -> str:
    """A heading within a section."""
    return f".SS {escaped(text)}"


def paragraphs(text: str) -> list[str]:
    """Running text, and literal blocks."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        rows = block.split("\n")
        literal = all(row.startswith("  ") for row in rows if row)
        # The first paragraph after a heading needs no break; mandoc calls one there an error.
        gap = [".PP"] if out else []
        if literal:
            out += [*gap, ".nf", *(escaped(row) for row in rows), ".fi"]
        else:
            out += [*gap, *sentences(" ".join(row.strip() for row in rows))]
    return out


def sentences(text: str) -> list[str]:
    """One line per sentence: roff decides about the space between them."""
    return [escaped(part) for part in re.split(r"(?<=[.!?]) +(?=[A-Z0-9-])", text) if part]


def definitions(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Tagged paragraphs: a bold term and what it means."""
    out: list[str] = []
    for term, meaning in rows:
        out += [".TP", f".B {escaped(term)}", *(sentences(" ".join(meaning.split())) or ["\\&"])]
    return out


def examples(rows: Iterable[tuple[str, str]]) -> list[str]:
    """What a command does, then the command."""
    out: list[str] = []
    for command, meaning in rows:
        out += [*([".PP"] if out else []), escaped(meaning), ".PP", ".nf", ".RS", escaped(command), ".RE", ".fi"]
    return out
