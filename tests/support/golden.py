"""Golden files: text that a change must not alter unseen."""

from __future__ import annotations

import difflib
from pathlib import Path

UPDATE_HINT = "if the change is intended: pytest --update-golden, then read the diff"


def check_golden(path: Path, text: str, *, update: bool) -> None:
    """Compare `text` with the file; with `update`, write the file.  AssertionError with a diff."""
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"{path} does not exist; {UPDATE_HINT}"
    expected = path.read_text(encoding="utf-8")
    if text != expected:
        lines = difflib.unified_diff(
            expected.splitlines(), text.splitlines(), f"golden {path.name}", "now", lineterm="", n=2
        )
        raise AssertionError("\n".join([f"{path.name} differs; {UPDATE_HINT}", *list(lines)[:60]]))
