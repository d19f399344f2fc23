"""Where the official vectors are: data that is tested against but never committed.

`EVMAOT_FIXTURES` names the directory; without it, `shared/fixtures` beside the repository is used.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BESIDE = REPOSITORY.parent / "shared" / "fixtures"
FIXTURES_MISSING = "no official vectors: set EVMAOT_FIXTURES to their directory, or put them at ../shared/fixtures"


def find_fixtures() -> Path | None:
    """The directory of the vectors, or None.  FileNotFoundError if EVMAOT_FIXTURES names none."""
    named = os.environ.get("EVMAOT_FIXTURES")
    if named:
        path = Path(named)
        if not path.is_dir():
            raise FileNotFoundError(f"EVMAOT_FIXTURES={named} is not a directory")
        return path
    return BESIDE if BESIDE.is_dir() else None


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one JSON object per line, compressed by xz."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
