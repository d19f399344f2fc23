"""Free memory goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from evmaot.process_memory import return_free_memory


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_what_lies_free_below_a_block_in_use_is_returned() -> None:
    blocks = [b"x" * 100_000 for _ in range(400)]
    in_use = blocks[-1]
    del blocks
    before = resident_kib()
    return_free_memory()
    freed = before - resident_kib()
    assert freed > 20_000, f"{freed} KiB returned"
    assert in_use[:1] == b"x"


def test_another_c_library_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not return_free_memory()
