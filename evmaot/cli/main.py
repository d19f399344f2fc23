"""The entry point of the command `evmaot`.

Job: answer `--version` without loading anything, hand everything else to `evmaot.cli.root`.
May import: `evmaot.version`, `evmaot.cli.root`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from evmaot.version import VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.  Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        sys.stdout.write(f"evmaot {VERSION}\n")
        return 0
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this process: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open until the process ends
    from evmaot.cli.root import run

    return run(given, own_process=arguments is None)
