"""Many builders of one key: `python -m tests.support.store_crowd DIRECTORY PROCESSES`.

Every process plans before any has compiled; then the compilation, which waits at a gate, is let through.  Prints what
became of the unit in each process, as a JSON list.  The processes are forks of this one, which has no threads.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from evmaot.build import BuildEvent, EventKind, build
from tests.support.store_samples import open_store
from tests.support.stub_toolchain import WAIT, code, request, source, tools


def builder(root: Path, pipe: int) -> None:
    """Build the one code; say when it is planned, and what became of it."""

    def tell(event: BuildEvent) -> None:
        if event.kind is EventKind.PLANNED:
            os.write(pipe, b"P")

    store = open_store(root, lock_timeout_seconds=60.0)
    report = build(request(source(0, code(0, first=WAIT)), jobs=1), store, tell, tools=tools())
    os.write(pipe, report.units[0].status.value.encode())


def main() -> int:
    """Start them all, open the gate when all have planned, and print what each of them says."""
    root, processes = Path(sys.argv[1]), int(sys.argv[2])
    open_store(root / "s")
    os.environ["EVMAOT_TEST_NOTES"] = str(root / "notes")
    os.environ["EVMAOT_TEST_GATE"] = str(root / "gate")
    children: list[tuple[int, int]] = []
    for _ in range(processes):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            code_of_exit = 1
            try:
                builder(root / "s", writer)
                code_of_exit = 0
            finally:
                os._exit(code_of_exit)
        os.close(writer)
        children.append((process, reader))
    for _, reader in children:
        if os.read(reader, 1) != b"P":
            return 1
    (root / "gate").touch()
    said = []
    for process, reader in children:
        text = b""
        while data := os.read(reader, 64):
            text += data
        said.append(text.decode())
        os.waitpid(process, 0)
    print(json.dumps(said))  # noqa: T201  # the test reads it
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
