from __future__ import annotations

import mmap
import resource
import subprocess
import sys

import pytest

from evmaot.runtime.memory import (
    DISCARD_ABOVE_BYTES,
    KEEP_BYTES,
    RESERVE_BYTES,
    SMALLEST_RESERVE_BYTES,
    MemoryRange,
)


@pytest.fixture
def memory() -> MemoryRange:
    return MemoryRange(SMALLEST_RESERVE_BYTES)


@pytest.mark.parametrize("offset", [0, 32, 4064, 4096, 100_000])
@pytest.mark.parametrize(
    "size_bytes",
    [32, 4096, 4128, 65_536, DISCARD_ABOVE_BYTES, DISCARD_ABOVE_BYTES + 32, 3 * DISCARD_ABOVE_BYTES + 96],
)
def test_clear_restores_zeroes_and_touches_no_neighbour(memory: MemoryRange, offset: int, size_bytes: int) -> None:
    memory.write(0, b"\xaa" * (offset + size_bytes + 8192))
    memory.clear(offset, size_bytes)
    assert memory.read(0, offset) == b"\xaa" * offset
    assert memory.read(offset, size_bytes) == bytes(size_bytes)
    assert memory.read(offset + size_bytes, 8192) == b"\xaa" * 8192


def test_clear_works_where_the_system_refuses_to_discard(memory: MemoryRange, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, inner: mmap.mmap) -> None:
            self.inner = inner

        def madvise(self, *_arguments: int) -> None:
            raise OSError("locked pages")

        def __setitem__(self, key: slice, value: bytes) -> None:
            self.inner[key] = value

        def __getitem__(self, key: slice) -> bytes:
            return self.inner[key]

    memory.write(0, b"\xaa" * 2_000_000)
    monkeypatch.setattr(memory, "_map", Refusing(memory._map))
    memory.clear(100, 1_500_000)
    assert memory.read(0, 100) == b"\xaa" * 100
    assert memory.read(100, 1_500_000) == bytes(1_500_000)
    assert memory.read(1_500_100, 400_000) == b"\xaa" * 400_000


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_pages_of_large_frames_and_far_frames_are_given_back(memory: MemoryRange) -> None:
    before = _resident_bytes()
    far = 32 << 20
    for step in range(100):
        memory.write(far + step * 200_000, b"\xaa" * 200_000)
        memory.clear(far + step * 200_000, 200_000)
    assert _resident_bytes() - before > 10 << 20, "the test shows nothing unless the pages were resident"
    memory.trim()
    assert _resident_bytes() - before < KEEP_BYTES + (4 << 20)


def test_the_whole_reserve_is_only_addresses() -> None:
    before = _resident_bytes()
    memory = MemoryRange()
    assert memory.size_bytes >= SMALLEST_RESERVE_BYTES
    assert memory.read(memory.size_bytes - 32, 32) == bytes(32)
    assert _resident_bytes() - before < 16 << 20


_UNDER_A_LIMIT = """
import resource
from evmaot.runtime.memory import MemoryRange
limit = {limit}
if limit < 1 << 30:
    limit += int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    print(MemoryRange({reserve}).size_bytes)
except Exception as error:
    print(type(error).__name__, error.reference, error.hint)
"""


def _under_address_limit(limit: int, reserve: int = RESERVE_BYTES) -> str:
    script = _UNDER_A_LIMIT.format(limit=limit, reserve=reserve)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_an_address_space_limit_leaves_room_for_the_rest_of_the_process() -> None:
    assert int(_under_address_limit(4 << 30)) == 1 << 30


def test_a_refused_reserve_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refusing(descriptor: int, size_bytes: int, **arguments: int) -> object:
        tried.append(size_bytes)
        if size_bytes > 1 << 30:
            raise OSError("overcommit")
        return real(descriptor, size_bytes, **arguments)

    real = mmap.mmap
    monkeypatch.setattr(mmap, "mmap", refusing)
    assert MemoryRange().size_bytes == 1 << 30
    assert tried == [(64 << 30) >> step for step in range(7)]


def test_no_room_for_the_smallest_reserve_is_an_error() -> None:
    room = SMALLEST_RESERVE_BYTES // 2
    assert _under_address_limit(room).startswith("EvmaotError memory_reserve raise the address-space limit")
