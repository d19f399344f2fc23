from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evmaot.abi.status import CallKind, Status
from evmaot.errors import CompilerBug, EvmaotError, HostError
from evmaot.runtime import buffers
from evmaot.runtime import frame as frame_module
from evmaot.runtime.frame import FRAME_LIMIT, HOLD_LOCK_GAS, Frame, FramePool
from evmaot.runtime.host_table import HostTable
from evmaot.runtime.memory import DISCARD_ABOVE_BYTES, SMALLEST_RESERVE_BYTES
from evmaot.runtime.program import CompiledProgram

Native = Callable[[str], CompiledProgram]


@pytest.fixture
def pool() -> FramePool:
    return FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES)


def started(pool: FramePool, **changes: Any) -> Frame:
    frame = pool.acquire()
    values: dict[str, Any] = {
        "gas": 100_000,
        "code": b"\x00",
        "input": b"",
        "recipient": 1,
        "sender": 2,
        "value": 3,
        "is_static": False,
        "depth": 0,
        "environment_address": 0,
    }
    frame.start(**(values | changes))
    return frame


def test_a_frame_runs_and_returns_output_and_gas(pool: FramePool, native: Native) -> None:
    data = bytes(range(1, 33))
    frame = started(pool, input=data, gas=107)
    assert frame.run(native("echo")) is Status.RETURN
    assert (frame.gas, frame.refund, frame.output()) == (100, 0, data)
    frame.release()


def test_another_interpreter_finds_code_and_call_data_through_ctypes(
    pool: FramePool, native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_module, "HEADER_BYTES", 0)
    monkeypatch.setattr(frame_module, "address_of_bytes", buffers._address_by_cast)
    data = bytes(range(1, 33))
    frame = started(pool, input=data, gas=107)
    assert frame.run(native("echo")) is Status.RETURN and frame.output() == data
    frame.release()


def test_every_field_of_the_record_is_what_start_was_given(pool: FramePool, native: Native) -> None:
    # Dirt in the whole record first: `start` must leave nothing of it.
    frame = started(pool)
    frame._cells[8] = -1
    frame._buffer[frame._record_offset : frame._record_offset + 448] = b"\xff" * 448
    frame._cells[frame_module._MEMORY_SIZE] = 0
    frame.release()
    frame = started(
        pool, gas=5, code=b"code", input=b"in", recipient=2**160 - 1, sender=7, value=2**256 - 1, is_static=True,
        depth=1024, environment_address=0x1000, host_handle=0x2000,
    )  # fmt: skip
    from evmaot.abi.layout import FRAME

    record = FRAME.structure.from_address(frame.address)
    words = {"recipient": 2**160 - 1, "sender": 7, "value": 2**256 - 1}
    numbers = {
        "gas": 5, "code_size": 4, "input_size": 2, "is_static": 1, "depth": 1024, "environment": 0x1000,
        "host_handle": 0x2000, "memory_base": pool.memory_address, "memory_capacity": pool.memory_reserve_bytes,
        "host_table": pool._host_table_address, "stack_base": frame._stack_address,
    }  # fmt: skip
    pointers = {"input", "code"}
    for row in FRAME.fields:
        found = getattr(record, row.name)
        if row.name in pointers:
            assert found
        elif row.type.size_bytes == 32:
            assert sum(limb << 64 * index for index, limb in enumerate(found)) == words.get(row.name, 0), row.name
        else:
            assert (found or 0) == numbers.get(row.name, 0), row.name
    assert frame._stack_address % 32 == 0


def test_stop_and_an_empty_revert_have_no_output(pool: FramePool, native: Native) -> None:
    for name, status in (("stop", Status.STOP), ("revert_nothing", Status.REVERT)):
        frame = started(pool)
        assert frame.run(native(name)) is status
        assert (frame.output(), frame.gas) == (b"", 100_000)
        frame.release()


def test_a_halt_leaves_no_gas_and_no_refund(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    assert frame.run(native("out_of_gas")) is Status.OUT_OF_GAS
    assert (frame.gas, frame.refund) == (0, 0)
    frame.release()


def test_a_status_that_the_abi_does_not_know_is_our_own_fault(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    with pytest.raises(CompilerBug, match="status 99"):
        frame.run(native("unknown_status"))
    frame.release()


def test_output_outside_of_memory_is_never_read(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    frame.run(native("return_outside_memory"))
    with pytest.raises(HostError) as caught:
        frame.output()
    assert caught.value.reference == "memory_bounds"
    frame.release()


@pytest.mark.parametrize("name", ["fill_small", "fill_page", "fill_large"])
def test_memory_of_a_released_frame_is_zero_for_the_next(pool: FramePool, native: Native, name: str) -> None:
    for _ in range(3):
        frame = started(pool)
        frame.run(native(name))
        # The function answers what it found before it wrote.
        assert frame.refund == 0
        assert frame.read_memory(0, 8) == b"\xff" * 8
        frame.release()


def test_memory_is_zero_after_a_frame_that_was_interrupted(pool: FramePool, native: Native) -> None:
    class Interrupted:
        """A program whose call is interrupted as it returns."""

        def entry_holding(self) -> Callable[[object], int]:
            def entry(argument: object) -> int:
                native("fill_page").entry_holding()(argument)
                raise KeyboardInterrupt

            return entry

        _holding = None

    frame = started(pool)
    with pytest.raises(KeyboardInterrupt):
        frame.run(Interrupted())  # type: ignore[arg-type]  # stands in for a program
    frame.release()
    frame = started(pool)
    frame.run(native("fill_page"))
    assert frame.refund == 0
    frame.release()


def test_a_childs_memory_begins_where_its_parents_ends(pool: FramePool, native: Native) -> None:
    parent = started(pool)
    assert parent.run(native("fill_then_call")) is Status.CALL
    before = parent.read_memory(0, parent.memory_size_bytes)
    child = started(pool, depth=1)
    assert child._memory_offset == parent.memory_size_bytes == 4128
    child.run(native("fill_large"))
    assert child.refund == 0, "the child found bytes that were not 0"
    grandchild = started(pool, depth=2)
    assert grandchild._memory_offset == 4128 + 1_000_032
    grandchild.release()
    child.release()
    assert parent.read_memory(0, parent.memory_size_bytes) == before
    child = started(pool, depth=1)
    child.run(native("fill_small"))
    assert child.refund == 0
    child.release()
    parent.release()


def test_frames_nest_to_the_evms_depth_and_not_further(native: Native) -> None:
    pool = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES)
    program = native("fill_then_call")
    for depth in range(FRAME_LIMIT):
        frame = started(pool, depth=depth)
        assert frame.run(program) is Status.CALL
        assert frame.refund == 0
    with pytest.raises(HostError) as caught:
        pool.acquire()
    assert caught.value.reference == "frame_limit"
    assert pool.live_frames == FRAME_LIMIT
    pool.release_all()
    assert pool.live_frames == 0
    assert pool._memory.read(0, FRAME_LIMIT * 4128) == bytes(FRAME_LIMIT * 4128)


def test_a_call_suspends_and_resumes(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    assert frame.run(native("call")) is Status.CALL
    request = frame.request()
    assert request == (CallKind.CALL, 500, 0x1234, 9, 0, b"\x01" * 8 + bytes(56), 64, 16)
    assert type(request.kind) is CallKind
    frame.resume(1, 499, b"returned", b"\xee" * 40)
    assert frame.gas == 1499
    assert frame.run(native("call")) is Status.RETURN
    result, size, copied = frame.output()[:32], frame.output()[32:40], frame.output()[64:]
    assert (int.from_bytes(result, "little"), int.from_bytes(size, "little")) == (1, len(b"returned"))
    assert copied == b"\xee" * 16 + bytes(16), "output is cut to the size that the request names"
    assert frame.gas == 1499
    frame.release()


def test_a_short_output_leaves_the_rest_of_the_area_alone(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    frame.run(native("call"))
    frame.write_memory(64, b"\xcc" * 32)
    frame.resume(2**256 - 1, 0, b"", b"\xee\xee")
    frame.run(native("call"))
    assert frame.output()[:32] == b"\xff" * 32
    assert frame.output()[64:] == b"\xee\xee" + b"\xcc" * 30
    frame.release()


def test_return_data_stays_alive_while_the_frame_may_read_it(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    frame.run(native("call"))
    data = bytes(bytearray(b"unshared"))
    references = sys.getrefcount(data)
    frame.resume(1, 0, data)
    assert sys.getrefcount(data) == references + 1
    frame.run(native("call"))
    frame.release()
    assert sys.getrefcount(data) == references


def test_return_data_of_a_released_frame_is_gone_for_the_next(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    frame.run(native("call"))
    frame.resume(1, 0, b"secret", b"")
    frame.release()
    frame = started(pool)
    frame.run(native("return_data_pointer"))
    assert frame.refund == 0
    frame.release()


@pytest.mark.parametrize("gas", [HOLD_LOCK_GAS, HOLD_LOCK_GAS + 1])
def test_host_callbacks_work_with_and_without_the_interpreter_lock(native: Native, gas: int) -> None:
    seen: list[int] = []

    def get_balance(frame_address: int, address: int, value: int) -> int:
        seen.append(frame_address)
        assert (address, value) == (0, 0), "null pointers arrive as 0"
        gc.collect()
        return 1

    table = HostTable({"get_balance": get_balance})
    pool = FramePool(table.address, reserve_bytes=SMALLEST_RESERVE_BYTES)
    frame = started(pool, gas=gas)
    assert frame.run(native("balance")) is Status.STOP
    assert frame.refund == 1
    assert seen == [frame.address]
    frame.release()


@pytest.mark.parametrize("gas", [1, HOLD_LOCK_GAS + 1])
def test_an_exception_in_a_host_callback_reaches_the_caller_with_its_traceback(native: Native, gas: int) -> None:
    def get_balance(*_arguments: int) -> int:
        raise KeyError("the host's own fault")

    table = HostTable({"get_balance": get_balance})
    pool = FramePool(table.address, reserve_bytes=SMALLEST_RESERVE_BYTES)
    frame = started(pool, gas=gas)
    assert frame.run(native("balance")) is Status.HOST_ERROR
    frame.release()
    error = table.take_error()
    assert isinstance(error, KeyError)
    assert error.__traceback__ is not None
    assert table.take_error() is None


@pytest.mark.parametrize("gas", [1, HOLD_LOCK_GAS + 1])
def test_a_host_callback_may_run_frames_itself(native: Native, gas: int) -> None:
    outputs: list[bytes] = []

    def get_balance(*_arguments: int) -> int:
        child = started(own_pool, gas=gas, input=b"\x07" * 32, depth=1)
        child.run(native("echo"))
        outputs.append(child.output())
        child.release()
        return 0

    table = HostTable({"get_balance": get_balance})
    own_pool = FramePool(table.address, reserve_bytes=SMALLEST_RESERVE_BYTES)
    frame = started(own_pool, gas=gas)
    assert frame.run(native("balance")) is Status.STOP
    assert outputs == [b"\x07" * 32]
    frame.release()


def test_threads_with_their_own_pools_do_not_disturb_each_other(native: Native) -> None:
    failures: list[BaseException] = []
    calls = [0] * 4

    def work(number: int) -> None:
        def get_balance(*_arguments: int) -> int:
            calls[number] += 1
            return number

        try:
            table = HostTable({"get_balance": get_balance})
            pool = FramePool(table.address, reserve_bytes=SMALLEST_RESERVE_BYTES)
            for step in range(500):
                frame = started(pool, gas=HOLD_LOCK_GAS + step % 2)
                assert frame.run(native("balance")) is Status.STOP
                assert frame.refund == number
                frame.release()
                frame = started(pool, gas=1000, input=bytes([number]) * 32)
                frame.run(native("echo"))
                assert frame.output() == bytes([number]) * 32
                frame.release()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert calls == [500] * 4


def test_without_a_host_every_host_function_refuses(pool: FramePool, native: Native) -> None:
    for name in ("balance", "grow_memory"):
        frame = started(pool)
        assert frame.run(native(name)) is Status.HOST_ERROR
        frame.release()


def test_mutable_buffers_are_copied_before_native_code_sees_them(pool: FramePool, native: Native) -> None:
    data = bytearray(b"\x05" * 32)
    frame = started(pool, input=data)
    data[:] = bytes(32)
    frame.run(native("echo"))
    assert frame.output() == b"\x05" * 32
    frame.release()


@pytest.mark.parametrize(
    "change",
    [{"gas": 2**63}, {"value": 2**256}, {"value": -1}, {"sender": -1}, {"depth": -1}, {"host_handle": 2**64}],
)
def test_a_value_that_does_not_fit_is_refused_and_the_frame_does_not_run(
    pool: FramePool, native: Native, change: dict[str, int]
) -> None:
    with pytest.raises(HostError) as caught:
        started(pool, **change)
    assert caught.value.reference == "bad_frame_value"
    frame = pool._frames[0]
    with pytest.raises(HostError, match="cannot run a frame that is acquired"):
        frame.run(native("stop"))
    frame.release()


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [((2**256, 0, b""), "bad_frame_value"), ((-1, 0, b""), "bad_frame_value"), ((1, 2**63 - 1, b""), "bad_frame_value"),
     ((1, -1, b""), "bad_frame_value")],
)  # fmt: skip
def test_a_bad_answer_is_refused_and_may_be_given_again(
    pool: FramePool, native: Native, arguments: tuple[int, int, bytes], reference: str
) -> None:
    frame = started(pool)
    frame.run(native("call"))
    with pytest.raises(HostError) as caught:
        frame.resume(*arguments)
    assert caught.value.reference == reference
    frame.resume(1, 10, b"")
    assert frame.run(native("call")) is Status.RETURN
    assert frame.gas == 1010
    frame.release()


def _misuses(pool: FramePool, native: Native) -> Iterator[tuple[str, Callable[[], object]]]:
    frame = pool.acquire()
    yield "run", lambda: frame.run(native("stop"))
    yield "request", frame.request
    yield "resume", lambda: frame.resume(1, 0, b"")
    frame.release()
    yield "release", frame.release
    frame = started(pool)
    yield (
        "start",
        lambda: frame.start(
            gas=1, code=b"", input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0, environment_address=0
        ),
    )
    yield "request", frame.request
    child = pool.acquire()
    yield "release", frame.release
    child.release()
    frame.run(native("stop"))
    yield "run", lambda: frame.run(native("stop"))
    yield "resume", lambda: frame.resume(1, 0, b"")
    frame.release()


def test_use_out_of_order_is_refused(pool: FramePool, native: Native) -> None:
    seen = []
    for name, action in _misuses(pool, native):
        with pytest.raises(HostError, match=f"cannot {name} a frame") as caught:
            action()
        assert caught.value.reference == "frame_misused"
        seen.append(name)
    assert len(seen) == 9


def test_access_outside_of_memory_in_use_is_refused(pool: FramePool, native: Native) -> None:
    frame = started(pool)
    frame.run(native("fill_small"))
    assert frame.read_memory(32, 32) == bytes(24) + b"\xff" * 8
    assert frame.read_memory(64, 0) == b""
    attempts: list[Callable[[], object]] = [
        lambda: frame.read_memory(0, 65),
        lambda: frame.read_memory(64, 1),
        lambda: frame.read_memory(-1, 1),
        lambda: frame.read_memory(0, -1),
        lambda: frame.write_memory(60, b"12345"),
        lambda: frame.write_memory(-1, b"1"),
    ]
    for attempt in attempts:
        with pytest.raises(EvmaotError) as caught:
            attempt()
        assert caught.value.reference == "memory_bounds"
    frame.release()


def test_large_frames_are_discarded_not_written(native: Native) -> None:
    # The size the native function uses must be on the side of the limit that its name says.
    assert 40_000 <= DISCARD_ABOVE_BYTES < 1_000_032
