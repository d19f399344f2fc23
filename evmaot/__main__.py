"""`python -m evmaot`: the same as the command `evmaot`.  May import: `evmaot.cli.main`."""

from __future__ import annotations

import sys

from evmaot.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
