"""LOG0 to LOG4: into the log buffer, or to the host where there is no room; gas and contents are the same."""

from __future__ import annotations

import ctypes
import random

import pytest

from evmaot.abi.layout import FRAME
from evmaot.abi.status import Status
from evmaot.runtime.log_buffer import LogBuffer, decode_logs, encode_log
from tests.support.helper_frame import HelperFrame, from_native, store_word, to_word_array

GAS = 1_000_000
ME = 0xAABB


class Host:
    """Keeps what is told to it; with a buffer it takes what is there first, as a driver must."""

    def __init__(self, logs: LogBuffer | None) -> None:
        self.logs = logs
        self.entries: list[bytes] = []
        self.told = 0
        self.frame = HelperFrame(logs=logs, emit_log=self.emit_log)
        store_word(self.frame.address + FRAME.offset("recipient"), ME)
        for index in range(256):
            self.frame._memory[index] = index

    def emit_log(self, _frame: int, topics_at: int, count_at: int) -> int:
        self.told += 1
        if self.logs is not None:
            self.entries.append(self.logs.take())
        count = from_native(to_word_array(count_at)) & 0xFF
        offset, size = self.frame.get("request_input_offset"), self.frame.get("request_input_size")
        topics = [ctypes.string_at(topics_at + 32 * index, 32) for index in range(count)]
        data = bytes(self.frame._memory[offset : offset + size]) if size else b""
        self.entries.append(encode_log(ME, topics, data))
        return 0

    def log(self, offset: int, size: int, *topics: int, gas: int = GAS) -> int:
        stack = self.frame.push(offset, size, *topics)
        return self.frame.call("log", stack, gas, len(topics), 8)

    def seen(self) -> list[tuple[int, tuple[int, ...], bytes]]:
        if self.logs is not None:
            self.entries.append(self.logs.take())
        return list(decode_logs(b"".join(self.entries)))


def test_logs_that_fit_do_not_call_the_host() -> None:
    host = Host(LogBuffer())
    for count in range(5):
        host.log(count, 3 * count, *range(7, 7 + count))
    assert host.seen() == [(ME, tuple(range(7, 7 + count)), bytes(range(count, 4 * count))) for count in range(5)]
    assert host.told == 0


@pytest.mark.parametrize("capacity_bytes", [0, 1, 47, 48, 56, 100, 400, 4000])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_and_contents_are_those_of_a_host_alone(capacity_bytes: int, seed: int) -> None:
    random_ = random.Random(seed)
    alone, buffered = Host(None), Host(LogBuffer(capacity_bytes))
    for _ in range(100):
        topics = [random_.getrandbits(256) for _ in range(random_.randrange(5))]
        offset, size = random_.randrange(100), random_.choice((0, 1, 7, 8, 31, 32, 33, 100))
        assert alone.log(offset, size, *topics) == buffered.log(offset, size, *topics)
    assert buffered.seen() == alone.seen()
    assert alone.told == 100 and (buffered.told < 100 or capacity_bytes < 48)


def test_a_log_that_fills_the_buffer_to_the_last_byte_fits() -> None:
    host = Host(LogBuffer(48 + 32 + 8))
    host.log(0, 5, 1)
    assert host.told == 0
    host.log(0, 0)
    assert host.told == 1
    assert [len(data) for _, _, data in host.seen()] == [5, 0]


def test_an_empty_log_may_lie_anywhere() -> None:
    host = Host(LogBuffer())
    assert host.log(2**256 - 1, 0) == GAS
    assert host.seen() == [(ME, (), b"")]


def test_a_log_that_cannot_be_paid_or_is_forbidden_leaves_nothing() -> None:
    host = Host(LogBuffer())
    assert host.log(0, 4, gas=31) == -1 and host.frame.get("status_detail") == 0
    host.frame.set("is_static", 1)
    assert host.log(0, 4) == -1 and host.frame.get("status_detail") == Status.STATIC_VIOLATION
    assert host.seen() == []


def test_discarded_logs_are_gone() -> None:
    logs = LogBuffer()
    host = Host(logs)
    host.log(0, 4)
    logs.discard()
    host.log(0, 5)
    assert [len(data) for _, _, data in host.seen()] == [5]
