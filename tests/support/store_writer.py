"""A program that publishes packs until it is killed: `python -m tests.support.store_writer STORE NAME`."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from tests.support.store_samples import open_store, pack


def main() -> None:
    store = open_store(Path(sys.argv[1]), lock_timeout_seconds=30.0)
    for number in count():
        store.publish(*pack(f"{sys.argv[2]}-{number % 5} shared-{number % 3}"))
        print(number, flush=True)  # noqa: T201  # the test reads how far it came


if __name__ == "__main__":
    main()
