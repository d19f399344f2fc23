"""A build whose jobs an executor runs: the same results, and what is lost outside a job is no fault of the code."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from evmaot.build import BuildReport, build
from evmaot.errors import EvmaotError
from evmaot.executor_pool import release
from evmaot.store.directory import ArtifactDirectory
from tests.support.store_samples import open_store, profile
from tests.support.stub_toolchain import CRASH, code, request, source, tools


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return open_store(tmp_path / "store")


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """Scripted executors run their jobs in the thread of the test."""
    yield
    release()


class Scripted(Executor):
    """Answers with what a function of the job's number makes of a future."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.submitted = 0

    def submit(self, function: Any, /, *arguments: Any, **_options: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        self._answer(self.submitted, future, lambda: function(*arguments))
        return future


def run(store: ArtifactDirectory, executor: Executor, *sources: Any, **changes: Any) -> BuildReport:
    return build(request(*sources), store, tools=tools(**changes), executor=executor)


def statuses(report: BuildReport) -> dict[str, int]:
    return dict(Counter(unit.status.value for unit in report.units))


def test_an_executor_builds_what_worker_processes_build(
    store: ArtifactDirectory, threads: Executor, tmp_path: Path
) -> None:
    sources = [source(number) for number in range(12)]
    report = run(store, threads, *sources)
    assert statuses(report) == {"compiled": 12}
    other = open_store(tmp_path / "other")
    without = build(request(*sources), other, tools=tools())
    assert [pack.sha256 for pack in report.packs] == [pack.sha256 for pack in without.packs]


def test_a_crash_there_costs_only_its_job(store: ArtifactDirectory, threads: Executor) -> None:
    report = run(store, threads, source(1), source(2, code(2, first=CRASH)), source(3))
    assert statuses(report) == {"compiled": 2, "failed": 1}
    assert [unit.reason for unit in report.failed] == ["compile_crash"]


def test_a_lost_worker_is_reported_and_not_remembered(store: ArtifactDirectory) -> None:
    def answer(number: int, future: Future[Any], call: Any) -> None:
        if number == 2:
            future.set_exception(BrokenProcessPool("gone"))
        else:
            future.set_result(call())

    report = run(store, Scripted(answer), source(1), source(2), source(3))
    assert [unit.reason for unit in report.failed] == ["worker_lost"]
    assert statuses(run(store, Scripted(answer), source(1), source(2), source(3))) == {"compiled": 1, "cached": 2}


def test_a_lost_scheduler_ends_the_build_and_keeps_what_is_compiled(store: ArtifactDirectory) -> None:
    def answer(number: int, future: Future[Any], call: Any) -> None:
        if number <= 2:
            future.set_result(call())
        else:
            future.cancel()
            future.set_running_or_notify_cancel()

    with pytest.raises(EvmaotError) as caught:
        run(store, Scripted(answer), *(source(number) for number in range(8)))
    assert caught.value.reference == "scheduler_lost"
    assert sum(1 for _ in store.index()) == 2


def test_an_executor_that_takes_nothing_ends_the_build(store: ArtifactDirectory) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(EvmaotError) as caught:
        run(store, executor, source(1))
    assert caught.value.reference == "scheduler_lost"


def other_profile() -> str:
    return profile("other").digest


def test_a_worker_with_another_compiler_refuses(store: ArtifactDirectory, threads: Executor) -> None:
    with pytest.raises(EvmaotError) as caught:
        run(store, threads, source(1), profile_there=other_profile)
    assert caught.value.reference == "worker_profile_other"
    assert list(store.index()) == []


def test_what_is_under_way_is_bounded(store: ArtifactDirectory) -> None:
    lock, waiting, most = threading.Lock(), [], [0]

    def answer(_number: int, future: Future[Any], call: Any) -> None:
        with lock:
            waiting.append((future, call))
            most[0] = max(most[0], sum(not item.done() for item, _ in waiting))
        if len(waiting) >= 4:
            for item, work in waiting:
                if not item.done():
                    item.set_result(work())

    run(store, Scripted(answer), *(source(number) for number in range(8)))
    assert most[0] == 4  # twice the two jobs of the request
