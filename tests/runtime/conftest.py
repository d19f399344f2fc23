from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.runtime import EnvironmentRecord, FramePool, Status
from evmaot.runtime.memory import SMALLEST_RESERVE_BYTES
from evmaot.runtime.program import CompiledProgram


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a store is, or will be."""
    return tmp_path / "store"


@pytest.fixture
def answer_of() -> Callable[[CompiledProgram], int]:
    """Run a program and read the word that it returns."""
    pool = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES)
    environment = EnvironmentRecord()

    def run(program: CompiledProgram) -> int:
        frame = pool.acquire()
        frame.start(
            gas=1000, code=b"", input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0,
            environment_address=environment.address,
        )  # fmt: skip
        assert program.call(frame) is Status.RETURN
        answer = int.from_bytes(frame.output(), "big")
        frame.release()
        return answer

    return run
