"""How long tests with generated cases may take: `EVMAOT_TEST_SCALE`, 1 unless told.

A test of random or repeated cases takes `scaled(n)` of them: with 20 a long run, for a night or before a
release; below 1 a hasty one.
"""

from __future__ import annotations

import os

SCALE = float(os.environ.get("EVMAOT_TEST_SCALE") or 1)


def scaled(count: int) -> int:
    """That many cases at the usual scale, and at least one."""
    return max(1, round(count * SCALE))
