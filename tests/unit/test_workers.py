"""Workers: what a job may do to itself, and can't do to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evmaot.workers
from evmaot.errors import CompilerBug, EvmaotError
from evmaot.workers import JobResult, WorkerLimits, WorkerPool
from tests.support.fixtures import REPOSITORY
from tests.support.worker_jobs import job

LIMITS = WorkerLimits(timeout_seconds=60.0, memory_limit_bytes=512 << 20)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(job, workers=2, limits=LIMITS, queue_capacity=64) as pool:
        yield pool


def run(pool: WorkerPool, *arguments: Any) -> list[JobResult]:
    """Results in the order of the arguments."""
    for number, argument in enumerate(arguments):
        pool.submit(number, argument)
    results: list[JobResult] = []
    while pool.pending:
        results += pool.wait()
    assert sorted(result.token for result in results) == list(range(len(arguments)))
    return sorted(results, key=lambda result: int(result.token))


def reasons(results: list[JobResult]) -> list[str | None]:
    return [result.failure.reason if result.failure else None for result in results]


def test_every_job_has_its_own_result(pool: WorkerPool) -> None:
    results = run(pool, *(("echo", number) for number in range(40)))
    assert [result.value for result in results] == list(range(40))
    assert pool.statistics.spawns == 2
    assert pool.statistics.restarts == 0


def test_jobs_run_in_other_processes_which_are_reused(pool: WorkerPool) -> None:
    pids = {result.value for result in run(pool, *["pid"] * 20)}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_no_more_workers_are_started_than_there_are_jobs(pool: WorkerPool) -> None:
    run(pool, ("echo", 1))
    assert pool.statistics.spawns == 1


def test_large_arguments_and_values_pass(pool: WorkerPool) -> None:
    big = bytes(5 << 20)
    sent, returned = run(pool, ("size", big), ("bytes", 20 << 20))
    assert sent.value == len(big)
    assert returned.value == b"x" * (20 << 20)


def test_an_error_keeps_its_name_and_advice(pool: WorkerPool) -> None:
    failure = run(pool, "error")[0].failure
    assert failure is not None
    assert (failure.reason, failure.message, failure.cause, failure.hint) == (
        "named_reason", "it did not work", "because", "try harder",
    )  # fmt: skip


def test_our_own_fault_is_named_with_its_traceback(pool: WorkerPool) -> None:
    results = run(pool, "bug", "unsendable", ("echo", 1))
    assert reasons(results) == ["compiler_bug", "compiler_bug", None]
    assert results[0].failure is not None
    assert results[0].failure.message == "AssertionError: an invariant"
    assert "worker_jobs.py" in (results[0].failure.cause or "")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_costs_one_job(pool: WorkerPool, number: signal.Signals) -> None:
    results = run(pool, *(("echo", 1),) * 3, ("kill", int(number)), *(("echo", 2),) * 8)
    assert reasons(results) == [None] * 3 + ["compile_crash"] + [None] * 8
    failure = results[3].failure
    assert failure is not None
    assert number.name in failure.message
    assert failure.is_repeatable is (number is not signal.SIGKILL)
    assert pool.statistics.crashes == 1
    assert pool.statistics.restarts == 1


def test_an_exit_is_a_crash(pool: WorkerPool) -> None:
    results = run(pool, ("exit", 0), ("exit", 3), ("echo", 1))
    assert reasons(results) == ["compile_crash", "compile_crash", None]


@pytest.mark.parametrize("verb", ["hang", "spin"])
def test_a_deadline_costs_one_job(verb: str) -> None:
    limits = WorkerLimits(timeout_seconds=1.0, memory_limit_bytes=512 << 20)
    with WorkerPool(job, workers=2, limits=limits, queue_capacity=64) as pool:
        results = run(pool, ("echo", 1), verb, *(("echo", 2),) * 5)
        assert reasons(results) == [None, "compile_timeout"] + [None] * 5
        assert results[1].failure is not None
        assert "1 seconds" in results[1].failure.message
        assert pool.statistics.timeouts == 1


def test_memory_costs_one_job(pool: WorkerPool) -> None:
    results = run(pool, ("echo", 1), "eat", *(("echo", 2),) * 5)
    assert reasons(results) == [None, "compile_memory"] + [None] * 5
    assert results[1].failure is not None
    assert "512 MiB" in results[1].failure.message
    assert pool.statistics.memory_kills == 1


@pytest.mark.parametrize(
    "text", ["LLVM ERROR: out of memory\n", "terminate called after throwing an instance of 'std::bad_alloc'\n"]
)
def test_an_abort_for_want_of_memory_is_named_so(pool: WorkerPool, text: str) -> None:
    results = run(pool, ("abort", text), ("abort", "LLVM ERROR: unknown\n"))
    assert reasons(results) == ["compile_memory", "compile_crash"]
    assert results[1].failure is not None
    assert results[1].failure.cause == "LLVM ERROR: unknown"


def test_what_a_worker_prints_does_not_block_it(pool: WorkerPool) -> None:
    assert run(pool, ("talk", 1 << 20))[0].value == "talked"


def test_ctrl_c_is_not_for_workers(pool: WorkerPool) -> None:
    assert run(pool, "interrupt")[0].value == "still here"


def test_a_worker_imports_nothing_that_it_is_not_asked_to(pool: WorkerPool) -> None:
    assert run(pool, "modules")[0].value == []
    assert run(pool, "path")[0].value == sys.path
    with WorkerPool(job, workers=1, limits=LIMITS, preload=["click"]) as other:
        assert run(other, "modules")[0].value == ["click"]


def test_a_worker_is_replaced_after_so_many_jobs() -> None:
    with WorkerPool(job, workers=1, limits=LIMITS, queue_capacity=64, recycle_after=3) as pool:
        results = run(pool, *["pid"] * 9)
        assert len({result.value for result in results}) == 3


def test_a_pool_that_can_not_start_workers_says_so() -> None:
    with WorkerPool(job, workers=2, limits=LIMITS, preload=["no_such_module_anywhere"]) as pool:
        pool.submit(0, ("echo", 1))
        with pytest.raises(EvmaotError) as caught:
            while True:
                pool.wait()
    assert caught.value.reference == "worker_start_failed"
    assert "no_such_module_anywhere" in (caught.value.cause or "")


def test_the_queue_is_bounded() -> None:
    with WorkerPool(job, workers=1, limits=LIMITS, queue_capacity=2) as pool:
        for number in range(3):  # one goes to the worker at once
            assert pool.has_room
            pool.submit(number, "hang")
        assert not pool.has_room
        with pytest.raises(CompilerBug):
            pool.submit(3, "hang")
        assert pool.wait(0.0) == []
        assert pool.pending == 3


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_leaves_no_process_behind() -> None:
    with WorkerPool(job, workers=2, limits=LIMITS, queue_capacity=64) as pool:
        run(pool, "pid", "pid")
        pool.submit(0, "spin")
        pool.submit(1, "hang")
        pids = pool.process_ids
        assert len(pids) == 2
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
    pool.close()
    assert pool.process_ids == []


def test_an_idle_worker_that_was_killed_is_replaced(pool: WorkerPool) -> None:
    run(pool, *["pid"] * 4)
    for pid in pool.process_ids:
        os.kill(pid, signal.SIGKILL)
    assert reasons(run(pool, *(("echo", 1),) * 6)) == [None] * 6


def test_a_message_that_a_worker_does_not_take_yet_blocks_nobody(pool: WorkerPool) -> None:
    # It has not even started, and a socket holds much less.
    start = time.monotonic()
    pool.submit(0, ("size", bytes(50 << 20)))
    assert time.monotonic() - start < 20, "it is not waited for"
    results: list[JobResult] = []
    while not results:
        results = pool.wait()
    assert results[0].value == 50 << 20


def test_a_worker_that_talks_nonsense_costs_its_job(pool: WorkerPool) -> None:
    results = run(pool, ("echo", 1), "babble", ("echo", 2))
    assert reasons(results) == [None, "compile_crash", None]


def test_a_death_is_seen_even_if_somebody_else_has_the_worker_s_end_of_the_channel(pool: WorkerPool) -> None:
    results = run(pool, "keep_channel_open", ("echo", 1))
    assert reasons(results) == ["compile_crash", None]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_worker_that_somebody_stops_is_replaced(is_waiting: bool) -> None:
    limits = WorkerLimits(timeout_seconds=1.0, memory_limit_bytes=512 << 20)
    with WorkerPool(job, workers=1, limits=limits) as pool:
        run(pool, ("echo", 1))
        if is_waiting:
            os.kill(pool.process_ids[0], signal.SIGSTOP)
            assert reasons(run(pool, ("echo", 2))) == [None], "it never had the job: another one did it"
        else:
            assert reasons(run(pool, ("kill", int(signal.SIGSTOP)), ("echo", 2))) == ["compile_timeout", None]
        assert pool.statistics.restarts == 1


def test_a_stopped_worker_does_not_hold_a_long_job_up(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job may take a minute; that it was not even begun is known earlier."""
    monkeypatch.setattr(evmaot.workers, "_LONGEST_BEGIN_SECONDS", 0.5)
    run(pool, ("echo", 1))
    os.kill(pool.process_ids[0], signal.SIGSTOP)
    start = time.monotonic()
    assert reasons(run(pool, ("echo", 2))) == [None]
    assert time.monotonic() - start < LIMITS.timeout_seconds


def test_a_fork_waits_for_a_process_that_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child would have the ends of its socket and pipe, and keep both open as long as it lives."""
    entered, go_on, order = threading.Event(), threading.Event(), []

    class SlowPopen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            entered.set()
            assert go_on.wait(30)
            super().__init__(*arguments, **options)
            order.append("started")

    monkeypatch.setattr(subprocess, "Popen", SlowPopen)
    with WorkerPool(job, workers=1, limits=LIMITS) as pool:
        thread = threading.Thread(target=pool.start_workers, args=(1,))
        thread.start()
        assert entered.wait(30)
        threading.Timer(0.2, go_on.set).start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # CPython 3.12 warns of threads
            child = os.fork()
        if child == 0:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)
        thread.join(30)
    assert order == ["started", "forked"]


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = (
        "import sys\n"
        "from evmaot.workers import WorkerLimits, WorkerPool\n"
        "from tests.support.worker_jobs import job\n"
        "pool = WorkerPool(job, workers=1, limits=WorkerLimits(60.0, 1 << 29))\n"
        "pool.submit(0, ('pid',)); print(pool.wait()[0].value, flush=True)\n"
        "sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    descriptor = os.pidfd_open(worker)
    parent.kill()
    parent.communicate()
    import select

    readable, _, _ = select.select([descriptor], [], [], 30.0)
    os.close(descriptor)
    assert readable, "the worker ends by itself when its parent is gone"
    assert not started.exists()
