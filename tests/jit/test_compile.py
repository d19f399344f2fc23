"""Requests: waiting, joining, tiers, failures, clears, pauses."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from evmaot.errors import EvmaotError
from evmaot.jit import (
    CompilationEvent,
    CompilationOutcome,
    Compiled,
    CompiledProgram,
    Interpret,
    InterpretReason,
    JitBackend,
    LookupRequest,
    OutcomeStatus,
    RuntimeCacheKey,
    admission,
)
from evmaot.runtime.events import RuntimeEvent
from tests.jit import pretend
from tests.jit.conftest import Gate, MakeBackend, eventually, numbered, request_of
from tests.runtime.packs import CODE

AnswerOf = Callable[[CompiledProgram], int]


def in_thread(action: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start an action in a thread; what it returns is appended to the list."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    return thread, found


def test_a_synchronous_request_waits_for_the_program(
    make_backend: MakeBackend, gate: Gate, answer_of: AnswerOf
) -> None:
    backend = make_backend()
    thread, found = in_thread(lambda: backend.compile_jit_sync(request_of(gate.code)))
    gate.wait_until_reached()
    assert thread.is_alive()
    assert backend.stats().pending_jobs == 1
    gate.open()
    thread.join()
    (outcome,) = found
    assert outcome.status is OutcomeStatus.COMPILED
    assert answer_of(outcome.program) == 42
    assert isinstance(backend.lookup(request_of(gate.code)), Compiled)


def test_four_threads_that_want_one_key_cause_one_compilation(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend(jit_mode="direct", jit_worker_count=2)
    asked = [in_thread(lambda: backend.lookup_blocking(request_of(gate.code))) for _ in range(4)]
    gate.wait_until_reached()
    eventually(lambda: backend.stats().lookup_misses == 4 and backend.stats().command_queue_len == 0)
    gate.open()
    for thread, _ in asked:
        thread.join()
    programs = {id(found[0].program) for _, found in asked}
    assert len(programs) == 1
    assert backend.stats().compilations_dispatched == 1


def test_an_asynchronous_request_does_not_wait(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    assert not future.done()
    assert not future.cancel()
    gate.open()
    assert future.result(30).status is OutcomeStatus.COMPILED


def test_fast_code_comes_first_and_is_replaced(make_backend: MakeBackend, optimised_gate: Gate) -> None:
    backend = make_backend()
    key = request_of(optimised_gate.code).key
    first = backend.compile_jit_sync(request_of(optimised_gate.code)).program
    assert first is not None
    assert first.tier == "fast"
    optimised_gate.wait_until_reached()
    assert backend.get_compiled(key.code_hash, "osaka") is first
    optimised_gate.open()
    eventually(lambda: backend.get_compiled(key.code_hash, "osaka") is not first)
    second = backend.get_compiled(key.code_hash, "osaka")
    assert second is not None
    assert second.tier == "optimised"
    assert backend.stats().resident_entries == 1


def test_who_holds_the_fast_program_keeps_it(
    make_backend: MakeBackend, optimised_gate: Gate, answer_of: AnswerOf
) -> None:
    backend = make_backend()
    first = backend.compile_jit_sync(request_of(optimised_gate.code)).program
    assert first is not None
    optimised_gate.wait_until_reached()
    optimised_gate.open()
    eventually(lambda: backend.get_compiled(first.code_hash, "osaka") is not first)
    assert answer_of(first) == 42


@pytest.mark.parametrize(
    ("fields", "tiers"),
    [
        ({}, ["fast", "optimised"]),
        ({"jit_mode": "direct"}, ["optimised"]),
        ({"jit_opt_level": "fast"}, ["fast"]),
        ({"jit_mode": "direct", "jit_opt_level": "fast"}, ["fast"]),
    ],
)
def test_modes_and_levels_decide_the_tiers(
    make_backend: MakeBackend, events: list[RuntimeEvent], fields: dict[str, str], tiers: list[str]
) -> None:
    backend = make_backend(**fields)
    backend.compile_jit_sync(request_of(CODE))
    eventually(lambda: backend.stats().pending_jobs == 0)
    backend.close()
    assert [event.tier for event in events if isinstance(event, CompilationEvent)] == tiers


def test_an_upgrade_that_fails_leaves_the_fast_code(make_backend: MakeBackend) -> None:
    backend = make_backend()
    code = pretend.told(CODE, b"fail:optimised")
    assert backend.compile_jit_sync(request_of(code)).status is OutcomeStatus.COMPILED
    eventually(lambda: backend.stats().compilations_failed == 1)
    decision = backend.lookup(request_of(code))
    assert isinstance(decision, Compiled)
    assert decision.program.tier == "fast"


def test_an_upgrade_that_met_an_accident_is_tried_again(make_backend: MakeBackend, optimised_gate: Gate) -> None:
    backend = make_backend()
    assert backend.compile_jit_sync(request_of(optimised_gate.code)).status is OutcomeStatus.COMPILED
    optimised_gate.wait_until_reached()
    (process_id,) = backend.worker_process_ids
    os.kill(process_id, signal.SIGKILL)
    eventually(lambda: backend.stats().compilations_failed == 1)
    assert backend.stats().pending_jobs == 0
    optimised_gate.lose()
    optimised_gate.wait_until_reached()
    optimised_gate.open()
    key = request_of(optimised_gate.code).key
    eventually(lambda: getattr(backend.get_compiled(key.code_hash, "osaka"), "tier", None) == "optimised")


@pytest.mark.parametrize(("word", "reason"), [(b"fail", "pretended"), (b"raise", "compiler_bug")])
def test_a_failure_is_remembered_with_its_reason(
    make_backend: MakeBackend, events: list[RuntimeEvent], word: bytes, reason: str
) -> None:
    backend = make_backend(jit_hot_threshold=1)
    request = request_of(pretend.told(CODE, word))
    outcome = backend.compile_jit_sync(request)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, reason)
    assert backend.lookup(request) == Interpret(InterpretReason.JIT_FAILED)
    again = backend.compile_jit_sync(request)
    assert (again.reason, again.message) == (outcome.reason, outcome.message)
    statistics = backend.stats()
    assert (statistics.compilations_dispatched, statistics.compilations_failed) == (1, 1)
    assert statistics.negative_cache_hits == 2
    backend.close()
    failures = [event for event in events if isinstance(event, CompilationEvent)]
    assert [(event.reason, event.succeeded) for event in failures] == [(reason, False)]
    assert failures[0].error


def test_a_failed_key_is_tried_again_after_its_pause(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(admission, "FIRST_PAUSE_AFTER_ACCIDENT_SECONDS", 0.0)
    backend = make_backend(jit_hot_threshold=1)
    request = request_of(pretend.told(CODE, b"kill"))
    for attempt in (1, 2):
        assert backend.compile_jit_sync(request).reason == "compile_crash"
        assert backend.stats().compilations_failed == attempt
    # Still: until it succeeds, a look-up says that it failed.
    assert backend.lookup(request) == Interpret(InterpretReason.JIT_FAILED)


def test_a_code_that_is_not_of_its_hash_is_refused(make_backend: MakeBackend) -> None:
    backend = make_backend(real=True)
    outcome = backend.compile_jit_sync(LookupRequest(RuntimeCacheKey(bytes(32), "osaka"), CODE))
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "code_hash_mismatch")


def test_explicit_requests_go_before_hot_keys(
    make_backend: MakeBackend, gate: Gate, events: list[RuntimeEvent]
) -> None:
    backend = make_backend(jit_hot_threshold=1, jit_opt_level="fast")
    blocked = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    backend.lookup(request_of(numbered(1)))
    backend.lookup(request_of(numbered(2)))
    eventually(lambda: backend.stats().pending_jobs == 3)
    explicit = backend.compile_jit(request_of(numbered(3)))
    promoted = backend.compile_jit(request_of(numbered(2)))
    eventually(lambda: backend.stats().command_queue_len == 0)
    gate.open()
    for future in (blocked, explicit, promoted):
        future.result(30)
    eventually(lambda: backend.stats().pending_jobs == 0)
    backend.close()
    compiled = [event.key.code_hash for event in events if isinstance(event, CompilationEvent)]
    assert compiled == [request_of(code).key.code_hash for code in (gate.code, numbered(3), numbered(2), numbered(1))]


def test_hot_keys_beyond_the_limit_are_dropped_and_counted(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend(jit_hot_threshold=1, jit_max_pending_jobs=2)
    backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    for number in range(4):
        backend.lookup(request_of(numbered(number)))
    eventually(lambda: backend.stats().commands_dropped == 3)
    assert backend.stats().pending_jobs == 2
    gate.open()


def test_requests_wait_for_room_and_for_nothing_else(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend(channel_capacity=1, jit_max_pending_jobs=1, jit_opt_level="fast")
    backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    backend.compile_jit(request_of(numbered(1)))
    thread, found = in_thread(lambda: backend.compile_jit(request_of(numbered(2))))
    assert backend.stats().command_queue_len == 1
    assert not found
    gate.open()
    thread.join(30)
    assert found[0].result(30).status is OutcomeStatus.COMPILED


# Clears.


def test_a_clear_discards_what_was_begun_and_wakes_waiters_once(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    answers: list[CompilationOutcome] = []
    futures = [backend.compile_jit(request_of(code)) for code in (gate.code, gate.code, numbered(1))]
    for future in futures:
        future.add_done_callback(lambda ended: answers.append(ended.result()))
    gate.wait_until_reached()
    backend.clear_resident()
    assert backend.stats().pending_jobs == 0
    assert [answer.status for answer in answers] == [OutcomeStatus.DISCARDED] * 3
    gate.open()
    # The worker has to be through with what was discarded before it does this.
    assert backend.compile_jit_sync(request_of(numbered(2))).status is OutcomeStatus.COMPILED
    assert backend.get_compiled(request_of(gate.code).key.code_hash, "osaka") is None
    assert len(answers) == 3


def test_a_key_admitted_again_after_a_clear_is_not_answered_by_the_old_result(
    make_backend: MakeBackend, gate: Gate, events: list[RuntimeEvent]
) -> None:
    backend = make_backend(jit_mode="direct")
    backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    backend.clear_resident()
    again = backend.compile_jit(request_of(gate.code))
    gate.open()
    # The second compilation stands before the gate as the first one did.
    gate.wait_until_reached()
    assert not again.done()
    assert backend.get_compiled(request_of(gate.code).key.code_hash, "osaka") is None
    gate.open()
    assert again.result(30).status is OutcomeStatus.COMPILED
    assert backend.stats().compilations_dispatched == 2


def test_programs_of_callers_survive_a_clear(make_backend: MakeBackend, answer_of: AnswerOf) -> None:
    backend = make_backend()
    program = backend.compile_jit_sync(request_of(CODE)).program
    assert program is not None
    backend.clear_all()
    statistics = backend.stats()
    assert (statistics.resident_entries, statistics.resident_bytes, statistics.pending_jobs) == (0, 0, 0)
    assert backend.get_compiled(program.code_hash, "osaka") is None
    assert answer_of(program) == 42


def test_a_clear_forgets_failures(make_backend: MakeBackend) -> None:
    backend = make_backend()
    request = request_of(pretend.told(CODE, b"fail"))
    backend.compile_jit_sync(request)
    backend.clear_resident()
    assert backend.lookup(request) == Interpret(InterpretReason.NOT_READY)


def test_what_was_begun_is_finished_when_the_backend_is_disabled(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    backend.set_enabled(False)
    assert backend.lookup(request_of(gate.code)) == Interpret(InterpretReason.DISABLED)
    assert backend.compile_jit_sync(request_of(numbered(1))).status is OutcomeStatus.DISABLED
    gate.open()
    assert future.result(30).status is OutcomeStatus.COMPILED
    backend.set_enabled(True)
    assert isinstance(backend.lookup(request_of(gate.code)), Compiled)


# Pauses.


def state_of(process_id: int) -> str:
    with open(f"/proc/{process_id}/stat", encoding="ascii") as stream:
        return stream.read().rpartition(")")[2].split()[0]


def test_a_pause_stops_the_workers_until_as_many_resume(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend(jit_timeout=1.0)
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    (process_id,) = backend.worker_process_ids
    backend.pause()
    backend.pause()
    eventually(lambda: state_of(process_id) == "T")
    gate.open()
    waiting = backend.compile_jit(request_of(numbered(1)))
    backend.resume()
    # Longer than the job's deadline, which does not count meanwhile.
    assert not threading.Event().wait(1.2)
    assert not future.done()
    assert not waiting.done()
    assert state_of(process_id) == "T"
    backend.resume()
    assert future.result(30).status is OutcomeStatus.COMPILED
    assert waiting.result(30).status is OutcomeStatus.COMPILED
    assert (backend.stats().pause_requests, backend.stats().resume_requests) == (2, 2)


def test_pause_and_resume_ten_thousand_times_before_the_start() -> None:
    with JitBackend.disabled() as backend:
        for _ in range(10_000):
            backend.pause()
            backend.resume()
        statistics = backend.stats()
        assert (statistics.pause_requests, statistics.resume_requests) == (10_000, 10_000)


def test_a_pause_before_the_start_holds_after_it(make_backend: MakeBackend) -> None:
    backend = make_backend(enabled=False)
    backend.pause()
    backend.set_enabled(True)
    future = backend.compile_jit(request_of(CODE))
    eventually(lambda: backend.stats().pending_jobs == 1)
    assert backend.stats().compilations_dispatched == 0
    backend.resume()
    assert future.result(30).status is OutcomeStatus.COMPILED


def test_resuming_what_is_not_paused_does_nothing(make_backend: MakeBackend) -> None:
    backend = make_backend()
    backend.resume()
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED


# Callbacks and waiting in the wrong place.


def test_a_callback_that_raises_is_disabled_and_nothing_else_happens(
    make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[RuntimeEvent] = []
    reached: list[RuntimeEvent] = []

    def raising(event: RuntimeEvent) -> None:
        called.append(event)
        raise ValueError("from the callback")

    backend = make_backend(on_event=raising, on_compilation=reached.append)
    for number in range(3):
        assert backend.compile_jit_sync(request_of(numbered(number))).status is OutcomeStatus.COMPILED
    eventually(lambda: backend.stats().pending_jobs == 0)
    backend.close()
    assert len(called) == 1
    assert len(reached) == 6
    assert sum("from the callback" in (record.exc_text or "") for record in caplog.records) == 1


def test_a_callback_that_would_end_its_thread_ends_nothing(make_backend: MakeBackend) -> None:
    """`sys.exit` in a callback once ended the thread of all callbacks, or that of all compilations."""
    reached: list[RuntimeEvent] = []
    backend = make_backend(on_event=lambda _: sys.exit(3), on_compilation=reached.append, jit_opt_level="fast")
    future = backend.compile_jit(request_of(numbered(0)))
    future.add_done_callback(lambda _: sys.exit(4))
    assert future.result(30).status is OutcomeStatus.COMPILED
    assert backend.compile_jit(request_of(numbered(1))).result(30).status is OutcomeStatus.COMPILED
    backend.close()
    assert len(reached) == 2


def test_a_callback_may_use_the_backend(make_backend: MakeBackend) -> None:
    answers: list[CompilationOutcome] = []
    made: list[JitBackend] = []

    def callback(event: CompilationEvent) -> None:
        if len(answers) < 2:
            answers.append(made[0].compile_jit_sync(request_of(numbered(len(answers)))))
            made[0].stats()
            made[0].clear_resident()

    made.append(make_backend(on_event=None, on_compilation=callback))
    made[0].compile_jit(request_of(CODE))
    eventually(lambda: len(answers) == 2)


def test_waiting_in_a_futures_callback_does_not_deadlock(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    found: list[object] = []
    future = backend.compile_jit(request_of(gate.code))
    future.add_done_callback(lambda _: found.append(backend.lookup_blocking(request_of(numbered(1)))))
    gate.wait_until_reached()
    gate.open()
    eventually(lambda: found)
    assert found == [Interpret(InterpretReason.NOT_READY)]


def test_events_tell_of_compilations(make_backend: MakeBackend, events: list[RuntimeEvent]) -> None:
    backend = make_backend(real=True)
    backend.compile_jit_sync(request_of(CODE))
    eventually(lambda: backend.stats().pending_jobs == 0)
    backend.close()
    first, second = (event for event in events if isinstance(event, CompilationEvent))
    assert (first.tier, second.tier) == ("fast", "optimised")
    for event in (first, second):
        assert event.key == request_of(CODE).key
        assert set(event.phase_seconds) == {"analyse", "emit", "optimise", "codegen", "link", "load"}
        assert event.code_size_bytes == len(CODE)
        assert event.library_size_bytes > 1000
        assert event.seconds > 0


def test_a_closed_backend_says_so(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend()
    future = backend.compile_jit(request_of(gate.code))

    def ask() -> str:
        with pytest.raises(EvmaotError) as caught:
            backend.compile_jit_sync(request_of(numbered(1)))
        return caught.value.reference

    thread, found = in_thread(ask)
    gate.wait_until_reached()
    eventually(lambda: backend.stats().pending_jobs == 2)
    backend.close()
    thread.join(30)
    assert found == ["backend_closed"]
    assert future.result(30).status is OutcomeStatus.CLOSED
    with pytest.raises(EvmaotError, match="closed"):
        backend.compile_jit_sync(request_of(CODE))
    with pytest.raises(EvmaotError, match="closed"):
        backend.set_enabled(True)
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
    backend.close()
