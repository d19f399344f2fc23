from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from evmaot.abi.status import Status
from evmaot.runtime.frame import FramePool
from evmaot.runtime.memory import SMALLEST_RESERVE_BYTES
from evmaot.runtime.program import CompiledProgram, ProgramKind


class Backing:
    """Stands for a loaded library."""


def make(address: int, backing: object) -> CompiledProgram:
    return CompiledProgram(
        address, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, kind=ProgramKind.JIT, tier="fast", size_bytes=9,
        backing=backing,
    )  # fmt: skip


def test_a_program_keeps_its_backing_alive_and_nothing_else_does() -> None:
    backing = Backing()
    watched = weakref.ref(backing)
    program = make(1, backing)
    del backing
    gc.collect()
    assert watched() is not None
    del program
    gc.collect()
    assert watched() is None


def test_calling_a_program_runs_the_frame(native: Callable[[str], CompiledProgram]) -> None:
    pool = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES)
    frame = pool.acquire()
    frame.start(
        gas=1, code=b"", input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0, environment_address=0
    )
    assert native("stop").call(frame) is Status.STOP
    frame.release()


def test_the_entry_objects_are_made_once() -> None:
    program = make(1, None)
    assert program.entry_holding() is program.entry_holding()
    assert program.entry_releasing() is program.entry_releasing()
    assert program.entry_holding() is not program.entry_releasing()


def test_a_program_names_itself() -> None:
    text = repr(make(1, None))
    assert "02" * 32 in text
    assert "jit" in text
    assert "9 bytes" in text
