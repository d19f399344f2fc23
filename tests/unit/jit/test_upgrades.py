"""Deadlines grow with code and attempts; upgrades that failed are tried again, within reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evmaot.jit.admission import Failure
from evmaot.jit.jobs import Job, Urgency
from evmaot.jit.upgrades import LateUpgrades, deadline_seconds
from evmaot.runtime.config import OptLevel, RuntimeTuning
from evmaot.runtime.events import CompilationKind


def job(number: int = 0, length: int = 100, kind: CompilationKind = CompilationKind.JIT) -> Job:
    pair = (number.to_bytes(32, "big"), "osaka")
    return Job(kind, pair, "osaka", bytes(length), OptLevel.OPTIMISED, Urgency.UPGRADE, is_upgrade=True)


def failure(reason: str = "compile_timeout", attempts: int = 1, retry_at: float = 10.0) -> Failure:
    return Failure(reason, "", attempts, retry_at)


@pytest.mark.parametrize(
    ("length", "before", "seconds"),
    [
        (1, None, 5.0),
        (8 << 10, None, 5.0),
        (24 << 10, None, 15.0),
        (24 << 10, failure(attempts=2), 60.0),
        (24 << 10, failure(attempts=90), 300.0),
        (24 << 10, failure("compile_crash", attempts=2), 15.0),
        (1 << 20, None, 300.0),
    ],
)
def test_a_deadline_grows_with_code_and_attempts(length: int, before: Failure | None, seconds: float) -> None:
    assert deadline_seconds(RuntimeTuning(), job(length=length), before) == seconds


def test_a_build_s_deadline_is_its_own_and_no_deadline_is_shorter_than_asked_for() -> None:
    assert deadline_seconds(RuntimeTuning(), job(length=1 << 20, kind=CompilationKind.AOT), None) == 300.0
    assert deadline_seconds(RuntimeTuning(jit_timeout=9.0, aot_timeout=3.0), job(), None) == 9.0


class Resident:
    """A map in which every code has a program of one tier."""

    def __init__(self, tier: str) -> None:
        self.decision = SimpleNamespace(program=SimpleNamespace(tier=tier))

    def peek(self, *_: object) -> Any:
        return self


def test_an_upgrade_waits_for_its_time() -> None:
    there: Any = Resident("fast")
    assert LateUpgrades().deadline is None
    late = LateUpgrades()
    late.failed(job(1), failure(retry_at=20.0), is_repeatable=True)
    late.failed(job(2), failure(retry_at=10.0), is_repeatable=True)
    assert late.deadline == 10.0
    assert late.take(9.0, there) is None
    found = late.take(15.0, there)
    assert found is not None
    assert found.pair == job(2).pair
    assert late.take(15.0, there) is None
    late.clear()
    assert late.take(100.0, there) is None


def test_only_what_may_succeed_is_tried_again() -> None:
    late = LateUpgrades()
    late.failed(job(1), failure("compiler_bug"), is_repeatable=True)
    late.failed(job(2), failure(attempts=5), is_repeatable=True)
    late.failed(job(3, length=9 << 20), failure(), is_repeatable=True)
    assert late.deadline is None
    late.failed(job(4), failure("compile_crash"), is_repeatable=False)
    assert late.deadline == 10.0


def test_what_has_better_code_by_now_is_left_alone() -> None:
    late, there = LateUpgrades(), Resident("optimised")
    late.failed(job(1), failure(), is_repeatable=True)
    assert late.take(15.0, there) is None  # type: ignore[arg-type]  # as much of a map as it looks at
