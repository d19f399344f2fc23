"""The values of settings: from text to value, and back.

Job: one parser for each kind of setting; the same text works in files, options and variables.  Invariant: what a
parser refuses is a ValueError that says what to write instead.  May import: nothing of evmaot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SIZE_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip
_DURATION_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(value: object) -> int:
    """A size in bytes from ``"10GiB"``, ``"64 MB"``, ``"512"`` or an integer.  ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(value).strip())
    scale = _SIZE_UNITS.get(match[2].lower(), 0) if match and not isinstance(value, (bool, float)) else 0
    if match is None or not scale or (scale == 1 and "." in match[1]):
        raise ValueError(f"{value!r} is not a size; write for example 512MiB or 10GiB")
    return round(float(match[1]) * scale)


def parse_duration(value: object) -> float:
    """Seconds from ``"90d"``, ``"1h30m"``, ``"500ms"``, ``"2.5"`` or a number.  ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    text = str(value).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text)
    spelled = re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[a-z]+\s*)+|\d+(?:\.\d+)?", text)
    if isinstance(value, bool) or spelled is None or any(unit not in _DURATION_UNITS for _, unit in parts):
        raise ValueError(f"{value!r} is not a duration; write for example 90s, 15m or 90d")
    return float(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))


def spell_size(size_bytes: int) -> str:
    """The inverse of `parse_size`, exact: ``2GiB``, ``1500B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        scale = _SIZE_UNITS[unit.lower()]
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{unit}"
    return f"{size_bytes}B"


def spell_duration(seconds: float) -> str:
    """The inverse of `parse_duration`, exact: ``2m``, ``90s``, ``0.5s``."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds:g}s"


def parse_room(value: object) -> int | float:
    """Room on a disk: bytes (an int), or from ``"5%"`` a share of the disk (a float).  ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)\s*%", str(value).strip())
    if match is not None:
        return float(match[1]) / 100
    try:
        return parse_size(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is neither a size nor a share of the disk; write for example 20GiB or 5%"
        ) from None


def none_or(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """A parser of what `parse` takes, and of ``none``."""

    def parse_or_none(value: object) -> Any:
        return None if str(value).strip().lower() == "none" else parse(value)

    return parse_or_none


def parse_boolean(value: object) -> bool:
    """A truth value from TOML or text.  ValueError for anything else."""
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    text = str(value).strip().lower()
    if text not in known:
        raise ValueError(f"{value!r} is not true or false")
    return known[text]


def parse_text(value: object) -> str:
    """A text that is not empty.  ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a text")
    return value.strip()


def parse_text_or_none(value: object) -> str:
    """A text; the empty one means that there is none."""
    return "" if value == "" else parse_text(value)


def parse_texts(value: object) -> tuple[str, ...]:
    """A list of texts; in the environment separated by commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError(f"{value!r} is not a list of texts")
    return tuple(parse_text(part) for part in parts)


def choices_parser(*known: str) -> Callable[[object], tuple[str, ...]]:
    """One or several of the known words, each once."""

    def parse(value: object) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(parse_texts(value)))
        for word in words:
            if word not in known:
                raise ValueError(f"{word!r} is not one of: {', '.join(known)}")
        if not words:
            raise ValueError("the list is empty")
        return words

    return parse


def parse_some_texts(value: object) -> tuple[str, ...]:
    """A list of at least one text, each once."""
    words = tuple(dict.fromkeys(parse_texts(value)))
    if not words:
        raise ValueError("the list is empty")
    return words


def parse_path(value: object) -> Path:
    """A path; ``~`` is the home directory."""
    return value if isinstance(value, Path) else Path(parse_text(value)).expanduser()


def parse_paths(value: object) -> tuple[Path, ...]:
    """A list of paths; in the environment separated as in PATH."""
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError(f"{value!r} is not a list of paths")
    return tuple(parse_path(part) for part in parts if part)


def parse_keys(value: object) -> tuple[str, ...]:
    """Public keys in base64, or absolute paths of their files; ``~`` is the home directory."""
    words = []
    for word in parse_texts(value):
        path = os.path.expanduser(word)
        if re.fullmatch(r"[A-Za-z0-9+/]{56}", word) is None and not os.path.isabs(path):
            raise ValueError(f"{word!r} is neither a public key of 56 characters nor an absolute path")
        words.append(path)
    return tuple(words)


def integer_parser(low: int, high: int) -> Callable[[object], int]:
    """A parser of integers in a range."""

    def parse(value: object) -> int:
        text = str(value).strip()
        if isinstance(value, (bool, float)) or not re.fullmatch(r"-?\d{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{value!r} is not an integer from {low} to {high}")
        return int(text)

    return parse


def choice_parser(*known: str) -> Callable[[object], str]:
    """A parser of one of some words."""

    def parse(value: object) -> str:
        if value not in known:
            raise ValueError(f"{value!r} is not one of: {', '.join(known)}")
        return str(value)

    return parse
