"""The entry point of the command `evmaot`.

Job: answer `--version` without loading anything, hand everything else to `evmaot.cli.root`.
May import: `evmaot.version`, `evmaot.cli.root`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evmaot.version import VERSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.  Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        sys.stdout.write(f"evmaot {VERSION}\n")
        return 0
    from evmaot.cli.root import run

    return run(given, own_process=arguments is None)
