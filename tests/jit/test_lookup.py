"""Look-ups: what they say, what they count, what becomes hot."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from evmaot.jit import (
    Compiled,
    CompiledProgram,
    Interpret,
    InterpretReason,
    JitBackend,
    LookupDecision,
    LookupRequest,
    OutcomeStatus,
    ProgramKind,
    RuntimeCacheKey,
)
from tests.jit import pretend
from tests.jit.conftest import Gate, MakeBackend, eventually, numbered, request_of
from tests.runtime.packs import CODE

AnswerOf = Callable[[CompiledProgram], int]


def reason_of(decision: LookupDecision) -> InterpretReason | None:
    return decision.reason if isinstance(decision, Interpret) else None


def test_a_disabled_backend_has_no_thread_and_no_process() -> None:
    threads = threading.active_count()
    with JitBackend.disabled() as backend:
        for _ in range(3):
            assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
        assert backend.lookup_blocking(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
        assert threading.active_count() == threads
        assert (backend.enabled, backend.worker_process_ids) == (False, [])
        statistics = backend.stats()
        assert (statistics.lookup_disabled, statistics.lookups, statistics.worker_spawns) == (4, 4, 0)
        assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.DISABLED


def test_a_miss_says_not_ready(make_backend: MakeBackend) -> None:
    backend = make_backend()
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
    statistics = backend.stats()
    assert (statistics.lookup_misses, statistics.lookup_hits, statistics.compilations_dispatched) == (1, 0, 0)


def test_a_key_becomes_hot(make_backend: MakeBackend, answer_of: AnswerOf) -> None:
    backend = make_backend(jit_hot_threshold=3)
    for _ in range(3):
        assert reason_of(backend.lookup(request_of(CODE))) is InterpretReason.NOT_READY
    eventually(lambda: backend.get_compiled(request_of(CODE).key.code_hash, "osaka"))
    decision = backend.lookup(request_of(CODE))
    assert isinstance(decision, Compiled)
    assert decision.program.kind is ProgramKind.JIT
    assert answer_of(decision.program) == 42
    statistics = backend.stats()
    assert (statistics.lookup_misses, statistics.lookup_hits) == (3, 1)


def test_below_the_threshold_nothing_is_compiled(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_hot_threshold=8)
    for _ in range(7):
        backend.lookup(request_of(CODE))
    eventually(lambda: backend.stats().events_queued == 0)
    # What is asked for now is compiled after what was hot before.
    backend.compile_jit_sync(request_of(numbered(1)))
    assert reason_of(backend.lookup(request_of(CODE))) is InterpretReason.NOT_READY
    eventually(lambda: backend.get_compiled(request_of(CODE).key.code_hash, "osaka"))


def test_look_ups_follow_the_switch(make_backend: MakeBackend) -> None:
    backend = make_backend()
    backend.compile_jit_sync(request_of(CODE))
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    for _ in range(3):
        backend.set_enabled(False)
        assert reason_of(backend.lookup(request_of(CODE))) is InterpretReason.DISABLED
        assert backend.get_compiled(request_of(CODE).key.code_hash, "osaka") is not None
        backend.set_enabled(True)
        assert isinstance(backend.lookup(request_of(CODE)), Compiled)


@pytest.mark.parametrize(
    "code", [b"", b"\xef", b"\xef\x00\x01", bytes.fromhex("ef0100") + bytes(20), bytes(101)], ids=lambda code: len(code)
)
def test_what_is_never_compiled_is_ineligible(make_backend: MakeBackend, code: bytes) -> None:
    """Empty, reserved (EIP-3541), a delegation (EIP-7702), longer than the limit."""
    backend = make_backend(jit_max_bytecode_len=100)
    for _ in range(3):
        assert reason_of(backend.lookup(request_of(code))) is InterpretReason.INELIGIBLE
    assert reason_of(backend.lookup_blocking(request_of(code))) is InterpretReason.INELIGIBLE
    assert backend.compile_jit_sync(request_of(code)).status is OutcomeStatus.INELIGIBLE
    assert backend.stats().lookup_ineligible == 4


def test_without_a_limit_long_code_is_eligible(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_max_bytecode_len=0)
    assert reason_of(backend.lookup(request_of(bytes(40_000)))) is InterpretReason.NOT_READY


@pytest.mark.parametrize("key", [RuntimeCacheKey(bytes(32), "no such fork"), RuntimeCacheKey(b"short", "osaka")])
def test_a_look_up_never_raises(make_backend: MakeBackend, key: RuntimeCacheKey) -> None:
    backend = make_backend(jit_hot_threshold=1)
    assert reason_of(backend.lookup(LookupRequest(key, CODE))) is InterpretReason.NOT_READY
    assert backend.get_compiled(key.code_hash, key.fork) is None
    assert backend.compile_jit_sync(LookupRequest(key, CODE)).status is OutcomeStatus.INELIGIBLE
    assert isinstance(backend.lookup_blocking(LookupRequest(key, CODE)), Interpret)


def test_the_blocking_mode_compiles_and_waits(make_backend: MakeBackend) -> None:
    backend = make_backend(enabled=False, blocking=True)
    assert backend.enabled
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    failing = request_of(pretend.told(CODE, b"fail"))
    assert reason_of(backend.lookup(failing)) is InterpretReason.JIT_FAILED
    assert reason_of(backend.lookup(request_of(b""))) is InterpretReason.INELIGIBLE
    statistics = backend.stats()
    assert (statistics.lookup_hits, statistics.lookup_misses, statistics.lookup_ineligible) == (1, 2, 1)


@pytest.mark.parametrize("blocking", [False, True])
def test_with_no_workers_nothing_is_compiled(make_backend: MakeBackend, blocking: bool) -> None:
    backend = make_backend(jit_worker_count=0, blocking=blocking, jit_hot_threshold=1)
    expected = InterpretReason.JIT_FAILED if blocking else InterpretReason.NOT_READY
    for _ in range(3):
        assert reason_of(backend.lookup(request_of(CODE))) is expected
    assert backend.jit_off == "no_workers"
    outcome = backend.compile_jit_sync(request_of(CODE))
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "no_workers")
    assert backend.stats().worker_spawns == 0


def test_two_forks_of_one_code_have_their_own_programs(make_backend: MakeBackend) -> None:
    backend = make_backend()
    osaka = backend.compile_jit_sync(request_of(CODE, "osaka")).program
    assert reason_of(backend.lookup(request_of(CODE, "paris"))) is InterpretReason.NOT_READY, "PUSH0 is Shanghai's"
    paris = backend.compile_jit_sync(request_of(CODE, "paris")).program
    assert osaka is not None
    assert paris is not None
    assert osaka.rules_digest != paris.rules_digest
    found = backend.get_compiled(osaka.code_hash, "osaka"), backend.get_compiled(osaka.code_hash, "paris")
    assert [program and program.rules_digest for program in found] == [osaka.rules_digest, paris.rules_digest]


def test_forks_that_a_code_cannot_tell_apart_share_one_compilation(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_mode="direct")
    backend.compile_jit_sync(request_of(CODE, "osaka"))
    for fork in ("shanghai", "cancun", "prague", "Osaka", "bpo1"):
        assert isinstance(backend.lookup(request_of(CODE, fork)), Compiled)
        assert backend.compile_jit_sync(request_of(CODE, fork)).status is OutcomeStatus.RESIDENT
    assert backend.stats().compilations_dispatched == 1


def test_wrong_code_for_a_known_hash_is_not_answered_at_first_sight(make_backend: MakeBackend) -> None:
    backend = make_backend()
    backend.compile_jit_sync(request_of(CODE, "osaka"))
    liar = LookupRequest(RuntimeCacheKey(request_of(CODE).key.code_hash, "prague"), numbered(1))
    assert reason_of(backend.lookup(liar)) is InterpretReason.NOT_READY


def test_statistics_are_exact_with_eight_threads(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_hot_threshold=1 << 20, jit_max_bytecode_len=1000)
    backend.compile_jit_sync(request_of(CODE))
    asked = [request_of(CODE), request_of(CODE), request_of(numbered(1)), request_of(b"\xef"), request_of(bytes(2000))]
    start = threading.Barrier(8)

    def look_up() -> None:
        start.wait()
        for number in range(1000):
            backend.lookup(asked[number % 5])

    threads = [threading.Thread(target=look_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statistics = backend.stats()
    assert (statistics.lookup_hits, statistics.lookup_misses, statistics.lookup_ineligible) == (3200, 1600, 3200)
    assert statistics.lookups == 8000
    backend.set_enabled(False)
    backend.lookup(asked[0])
    assert (backend.stats().lookup_disabled, backend.stats().lookups) == (1, 8001)


def test_tracked_access_counts_and_plain_access_does_not(make_backend: MakeBackend) -> None:
    backend = make_backend()
    program = backend.compile_jit_sync(request_of(CODE)).program
    assert program is not None
    assert backend.get_compiled(program.code_hash, "osaka") is not None
    assert backend.get_compiled(bytes(32), "osaka") is None
    assert backend.stats().lookups == 0
    assert backend.get_compiled_tracked(program.code_hash, "osaka") is not None
    assert backend.get_compiled_tracked(bytes(32), "osaka") is None
    assert (backend.stats().lookup_hits, backend.stats().lookup_misses) == (1, 1)


def test_a_full_queue_of_events_drops_and_counts(make_backend: MakeBackend, gate: Gate) -> None:
    backend = make_backend(channel_capacity=4, jit_hot_threshold=1 << 20, event_drain_interval=3600.0)
    backend.lookup(request_of(numbered(0)))
    eventually(lambda: backend.stats().events_queued == 0)
    # The next drains come 10 ms, 20 ms, ... later; in a burst the queue fills.
    for _ in range(2000):
        backend.lookup(request_of(numbered(1)))
    statistics = backend.stats()
    assert statistics.events_dropped > 0
    assert statistics.lookup_misses == 2001
    assert statistics.events_queued <= 4
