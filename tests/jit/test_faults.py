"""Workers that die, hang or eat memory; a full queue; a scheduler that fails: each costs its own job."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import evmaot.workers
from evmaot.errors import EvmaotError
from evmaot.jit import CompilationEvent, Compiled, Interpret, InterpretReason, JitBackend, OutcomeStatus, RuntimeConfig
from evmaot.jit.crew import CrewSettings
from evmaot.jit.scheduler import Scheduler
from evmaot.runtime.config import RuntimeTuning
from evmaot.runtime.events import RuntimeEvent, WorkerRestartedEvent
from evmaot.worker_handle import WorkerHandle
from tests.jit import pretend
from tests.jit.conftest import Gate, MakeBackend, eventually, numbered, request_of
from tests.runtime.packs import CODE, Contract, publish
from tests.support.fixtures import REPOSITORY

FAULTS = [
    (b"kill", "compile_crash", "worker_crashes", "crash"),
    (b"crash", "compile_crash", "worker_crashes", "crash"),
    (b"hang", "compile_timeout", "worker_timeouts", "timeout"),
    (b"eat", "compile_memory", "worker_memory_kills", "memory"),
]


@pytest.mark.parametrize(("word", "reason", "counter", "restarted"), FAULTS, ids=[row[0].decode() for row in FAULTS])
def test_a_fault_costs_its_job_and_no_other(
    make_backend: MakeBackend, events: list[RuntimeEvent], word: bytes, reason: str, counter: str, restarted: str
) -> None:
    backend = make_backend(
        jit_timeout=1.0, jit_worker_memory_limit_bytes=256 << 20, jit_opt_level="fast", jit_worker_count=2
    )
    codes = [numbered(0), pretend.told(CODE, word), numbered(1), numbered(2)]
    outcomes = [future.result(30) for future in [backend.compile_jit(request_of(code)) for code in codes]]
    assert [outcome.status is OutcomeStatus.COMPILED for outcome in outcomes] == [True, False, True, True]
    assert outcomes[1].reason == reason
    assert backend.lookup(request_of(codes[1])) == Interpret(InterpretReason.JIT_FAILED)
    statistics = backend.stats()
    assert getattr(statistics, counter) == 1
    assert statistics.worker_restarts == 1
    assert statistics.pending_jobs == 0
    # The pool is whole again.
    assert backend.compile_jit_sync(request_of(numbered(3))).status is OutcomeStatus.COMPILED
    backend.close()
    assert [event for event in events if isinstance(event, WorkerRestartedEvent)] == [
        WorkerRestartedEvent(1, restarted)
    ]
    assert [event.reason for event in events if isinstance(event, CompilationEvent) and event.reason] == [reason]


def test_a_worker_killed_from_outside_is_replaced(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    (process_id,) = backend.worker_process_ids
    os.kill(process_id, signal.SIGKILL)
    assert future.result(30).reason == "compile_crash"
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED
    assert process_id not in backend.worker_process_ids


def test_a_worker_is_replaced_after_its_jobs(make_backend: MakeBackend, events: list[RuntimeEvent]) -> None:
    backend = make_backend(compiler_recycle_threshold=2, jit_opt_level="fast")
    for number in range(5):
        assert backend.compile_jit_sync(request_of(numbered(number))).status is OutcomeStatus.COMPILED
    statistics = backend.stats()
    assert (statistics.worker_spawns, statistics.worker_restarts, statistics.worker_crashes) == (3, 2, 0)
    backend.close()
    assert WorkerRestartedEvent(1, "recycled") in events


def test_workers_that_cannot_start_are_a_reason() -> None:
    config = RuntimeConfig(enabled=True, tuning=RuntimeTuning(jit_worker_count=1))
    crew = CrewSettings(config, pretend.answer_rubbish, ("no_such_module_anywhere",), b"")
    with JitBackend(config, _crew=crew) as backend:
        outcome = backend.compile_jit_sync(request_of(CODE))
        assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "worker_start_failed")
        assert backend.jit_off == "worker_start_failed"
        # Not the code's fault: nothing is remembered against it.
        assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
        again = backend.compile_jit_sync(request_of(numbered(1)))
        assert again.reason == "worker_start_failed"
        assert backend.worker_process_ids == []


def test_who_waits_for_a_worker_is_told_that_there_is_none(
    make_backend: MakeBackend, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that no worker has yet once waited until something else was asked for."""
    backend = make_backend()
    running = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    waiting = [backend.compile_jit(request_of(numbered(number))) for number in range(5)]
    eventually(lambda: backend.stats().pending_jobs == 6)

    def no_processes() -> WorkerHandle:
        raise OSError("no more processes")

    monkeypatch.setattr(evmaot.workers, "spawn", no_processes)
    (process_id,) = backend.worker_process_ids
    os.kill(process_id, signal.SIGKILL)
    assert running.result(30).status is OutcomeStatus.FAILED
    assert {future.result(30).reason for future in waiting} == {"worker_start_failed"}
    assert backend.stats().pending_jobs == 0
    assert backend.jit_off == "worker_start_failed"


def test_a_shortage_of_threads_at_the_start_is_an_error_and_passes(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend(enabled=False, on_event=None)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(EvmaotError) as caught:
            backend.set_enabled(True)
    assert caught.value.reference == "thread_start_failed"
    assert not backend.enabled
    backend.set_enabled(True)
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_lost_while_it_waits_costs_no_job(make_backend: MakeBackend, number: signal.Signals) -> None:
    backend = make_backend(jit_opt_level="fast", jit_timeout=1.0)
    backend.compile_jit_sync(request_of(numbered(0)))
    (process_id,) = backend.worker_process_ids
    os.kill(process_id, number)
    assert backend.compile_jit_sync(request_of(numbered(1))).status is OutcomeStatus.COMPILED
    assert backend.stats().compilations_failed == 0
    assert process_id not in backend.worker_process_ids


def test_a_scheduler_that_fails_closes_the_backend_and_wakes_everybody(
    make_backend: MakeBackend, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make_backend()
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()

    def broken(*_: object) -> None:
        raise RuntimeError("an invariant does not hold")

    monkeypatch.setattr(Scheduler, "_take_requests", broken)
    other = backend.compile_jit(request_of(CODE))
    assert future.result(30).status is OutcomeStatus.CLOSED
    assert other.result(30).status is OutcomeStatus.CLOSED
    eventually(lambda: not backend.enabled)
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
    assert "an invariant does not hold" in caplog.text


def test_a_library_that_cannot_be_loaded_fails_its_job() -> None:
    """A compiler that answers damaged bytes costs the job, and no program of it is ever called."""
    config = RuntimeConfig(enabled=True, tuning=RuntimeTuning(jit_worker_count=1))
    crew = CrewSettings(config, pretend.answer_rubbish, ("tests.jit.pretend",), b"")
    with JitBackend(config, _crew=crew) as backend:
        outcome = backend.compile_jit_sync(request_of(CODE))
        assert outcome.status is OutcomeStatus.FAILED
        assert str(outcome.reason).startswith("elf_rule:")
        assert not isinstance(backend.lookup(request_of(CODE)), Compiled)


def test_the_compiler_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "llvmlite" else find_spec(name, *more)
    )
    with JitBackend(RuntimeConfig(enabled=True)) as backend:
        assert backend.jit_off == "llvmlite_missing"
        assert "llvmlite_missing" in caplog.text
        assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
        assert backend.compile_jit_sync(request_of(CODE)).reason == "llvmlite_missing"
        assert backend.lookup_blocking(request_of(CODE)) == Interpret(InterpretReason.JIT_FAILED)
        assert backend.worker_process_ids == []


def test_everything_but_compilation_works_without_the_compiler_installed(root: Path) -> None:
    """In a fresh process that cannot import llvmlite."""
    publish(root, Contract())
    script = f"""
import sys
sys.modules["llvmlite"] = None
import evmaot.runtime
from evmaot.jit import *
from evmaot.evm.keccak import keccak256
code = bytes.fromhex({CODE.hex()!r})
with JitBackend(RuntimeConfig(enabled=True, store={str(root)!r})) as backend:
    assert backend.jit_off == "llvmlite_missing"
    key = RuntimeCacheKey(keccak256(code), "osaka")
    assert isinstance(backend.lookup(LookupRequest(key, code)), Compiled)
    other = code + bytes(1)
    outcome = backend.compile_jit_sync(LookupRequest(RuntimeCacheKey(keccak256(other), "osaka"), other))
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "llvmlite_missing")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=REPOSITORY, check=True)
