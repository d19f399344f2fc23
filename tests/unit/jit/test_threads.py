from __future__ import annotations

import os
import select
import threading

import pytest

from evmaot.jit.threads import TaskThread, Waker


def is_awake(waker: Waker) -> bool:
    return bool(select.select([waker.descriptor], [], [], 0)[0])


def test_a_waker_wakes_until_it_rests() -> None:
    waker = Waker()
    assert not is_awake(waker)
    waker.wake()
    waker.wake()
    assert is_awake(waker)
    waker.rest()
    assert not is_awake(waker)
    waker.close()


def test_a_full_pipe_blocks_nobody() -> None:
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.rest()
    assert not is_awake(waker)
    waker.close()


def test_a_closed_waker_writes_into_nothing() -> None:
    waker = Waker()
    waker.close()
    # Whoever opens something now gets the same numbers.
    read, write = os.pipe()
    os.set_blocking(read, False)
    waker.wake()
    waker.close()
    with pytest.raises(BlockingIOError):
        os.read(read, 1)
    os.close(read)
    os.close(write)


def test_tasks_run_in_order_and_one_that_raises_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    thread = TaskThread("tasks", 10)
    thread.submit(lambda: done.append(1))
    thread.submit(lambda: done.remove(7))
    thread.submit(lambda: done.append(2))
    assert thread.close(30.0, drop=False)
    assert done == [1, 2]
    assert "a task failed" in caplog.text
    assert not thread.submit(lambda: done.append(3))


def test_no_thread_before_the_first_task() -> None:
    threads = threading.active_count()
    thread = TaskThread("tasks", 10)
    assert threading.active_count() == threads
    assert thread.close(0.0, drop=True)


def test_the_queue_of_tasks_is_bounded_and_may_be_dropped() -> None:
    gate, started, done = threading.Event(), threading.Event(), []
    thread = TaskThread("tasks", 2)

    def block() -> None:
        started.set()
        gate.wait(30)

    assert thread.submit(block)
    assert started.wait(30)
    assert [thread.submit(lambda: done.append(1)) for _ in range(3)] == [True, True, False]
    assert not thread.close(0.0, drop=True), "it is busy"
    gate.set()
    assert thread.close(30.0, drop=True)
    assert done == []


def test_a_thread_may_close_itself() -> None:
    thread = TaskThread("tasks", 2)
    found: list[bool] = []
    thread.submit(lambda: found.append(thread.is_current() and thread.close(30.0, drop=True)))
    while not found:
        threading.Event().wait(0.001)
    assert found == [True]


def test_who_waits_for_a_task_is_told_that_it_is_dropped() -> None:
    gate, started = threading.Event(), threading.Event()
    done: list[str] = []
    thread = TaskThread("tasks", 4)

    def block() -> None:
        started.set()
        gate.wait(30)

    thread.submit(block, lambda: done.append("running"))
    assert started.wait(30)
    thread.submit(lambda: done.append("ran"), lambda: done.append("dropped"))
    thread.close(0.0, drop=True)
    assert done == ["dropped"]
    gate.set()
    assert thread.close(30.0, drop=True)
    assert done == ["dropped"]


def test_a_thread_that_cannot_be_had_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = TaskThread("tasks", 4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not thread.submit(lambda: None)
    done = threading.Event()
    assert thread.submit(done.set), "it is tried again"
    assert done.wait(30)
    assert thread.close(30.0, drop=False)
