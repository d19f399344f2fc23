"""Memory: what is given back, when, and that it really is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.jit import Compiled, CompiledProgram, JitBackend, OutcomeStatus
from evmaot.runtime.events import EvictedEvent, RuntimeEvent
from tests.jit.conftest import MakeBackend, eventually, numbered, request_of
from tests.runtime.packs import CODE, Contract, publish

AnswerOf = Callable[[CompiledProgram], int]


def mapped(backend: JitBackend, code: bytes) -> Callable[[], bool]:
    """Whether the memory of a code's program is there."""
    program = backend.get_compiled(request_of(code).key.code_hash, "osaka")
    assert program is not None
    library = weakref.ref(program.backing)
    return lambda: library() is not None


def test_idle_code_is_given_back(make_backend: MakeBackend, events: list[RuntimeEvent]) -> None:
    backend = make_backend(jit_opt_level="fast", idle_evict_duration=0.05, eviction_sweep_interval=0.02)
    backend.compile_jit(request_of(CODE)).result(30)
    eventually(lambda: backend.stats().evictions == 1)
    statistics = backend.stats()
    assert (statistics.resident_entries, statistics.resident_bytes) == (0, 0)
    backend.close()
    (event,) = (event for event in events if isinstance(event, EvictedEvent))
    assert (event.reason, event.keys) == ("idle", (request_of(CODE).key,))
    assert event.size_bytes > 4096


def test_what_is_looked_up_is_not_idle(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_opt_level="fast", idle_evict_duration=1.0, eviction_sweep_interval=0.01)
    for code in (CODE, numbered(1)):
        backend.compile_jit(request_of(code)).result(30)
    is_mapped = mapped(backend, CODE)

    def cold_is_gone() -> bool:
        backend.lookup(request_of(CODE))
        return backend.stats().evictions == 1

    eventually(cold_is_gone)
    assert is_mapped()
    assert backend.get_compiled(request_of(numbered(1)).key.code_hash, "osaka") is None


def test_the_least_recently_used_code_goes_first_over_the_budget(make_backend: MakeBackend) -> None:
    backend = make_backend(jit_opt_level="fast")
    backend.compile_jit(request_of(numbered(0))).result(30)
    size_bytes = backend.stats().resident_bytes
    assert size_bytes > 0
    backend.close()

    small = make_backend(jit_opt_level="fast", resident_code_cache_bytes=3 * size_bytes)
    for number in range(3):
        small.compile_jit(request_of(numbered(number))).result(30)
    small.lookup(request_of(numbered(0)))
    small.lookup(request_of(numbered(2)))
    cold = mapped(small, numbered(1))
    small.compile_jit(request_of(numbered(3))).result(30)
    eventually(lambda: small.stats().evictions == 1)
    assert not cold()
    assert small.stats().resident_bytes == 3 * size_bytes
    for number in (0, 2, 3):
        assert small.get_compiled(request_of(numbered(number)).key.code_hash, "osaka") is not None
    # What was evicted is compiled again when it is asked for.
    assert small.compile_jit_sync(request_of(numbered(1))).status is OutcomeStatus.COMPILED


def test_a_held_program_survives_and_is_not_counted_as_given_back(
    make_backend: MakeBackend, answer_of: AnswerOf
) -> None:
    backend = make_backend(jit_opt_level="fast", resident_code_cache_bytes=0)
    held = backend.compile_jit_sync(request_of(CODE)).program
    assert held is not None
    backend.compile_jit(request_of(numbered(1))).result(30)
    eventually(lambda: backend.stats().evictions == 1)
    # It takes its memory whether it is in the map or not; so there it stays, and is still found.
    assert backend.stats().resident_bytes > 0
    assert backend.get_compiled(held.code_hash, "osaka") is held
    assert answer_of(held) == 42
    library = weakref.ref(held.backing)
    del held
    gc.collect()
    backend.compile_jit(request_of(numbered(2))).result(30)
    eventually(lambda: backend.stats().resident_bytes == 0)
    assert library() is None


def test_evicted_artifacts_are_loaded_from_the_store_again(
    make_backend: MakeBackend, root: Path, answer_of: AnswerOf
) -> None:
    publish(root, Contract(), Contract(code=numbered(1)))
    backend = make_backend(store=root, idle_evict_duration=0.05, eviction_sweep_interval=0.02)
    is_mapped = mapped(backend, CODE)
    eventually(lambda: backend.stats().evictions == 1)
    assert not is_mapped()
    assert backend.stats().aot_code_bytes == 0

    def found() -> bool:
        decision = backend.lookup(request_of(CODE))
        return isinstance(decision, Compiled) and answer_of(decision.program) == 42

    eventually(found)
    assert backend.stats().compilations_dispatched == 0


def test_one_budget_for_stored_and_compiled_code(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract())
    size_bytes = make_backend(store=root).stats().aot_code_bytes
    backend = make_backend(store=root, jit_opt_level="fast", resident_code_cache_bytes=size_bytes * 3 // 2)
    assert backend.stats().aot_code_bytes == size_bytes > 0
    backend.compile_jit(request_of(numbered(1))).result(30)
    eventually(lambda: backend.stats().evictions == 1)
    assert backend.stats().aot_code_bytes == 0
    assert backend.get_compiled(request_of(numbered(1)).key.code_hash, "osaka") is not None


def test_no_more_is_preloaded_than_the_budget(make_backend: MakeBackend, root: Path) -> None:
    for number in range(4):
        publish(root, Contract(code=numbered(number)))
    size_bytes = make_backend(store=root).stats().aot_code_bytes // 4
    backend = make_backend(store=root, resident_code_cache_bytes=2 * size_bytes)
    statistics = backend.stats()
    assert (statistics.preload_loaded, statistics.aot_code_bytes, statistics.evictions) == (2, 2 * size_bytes, 0)
    for number in range(4):
        assert isinstance(backend.lookup_blocking(request_of(numbered(number))), Compiled)
    assert backend.stats().compilations_dispatched == 0


def test_a_replaced_fast_program_is_given_back(make_backend: MakeBackend) -> None:
    backend = make_backend()
    backend.compile_jit(request_of(CODE)).result(30)
    eventually(lambda: backend.stats().pending_jobs == 0)
    single = make_backend(jit_mode="direct")
    single.compile_jit(request_of(CODE)).result(30)
    assert backend.stats().resident_bytes == single.stats().resident_bytes


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_finalizer_of_a_program_may_use_the_backend(make_backend: MakeBackend, root: Path, is_stored: bool) -> None:
    """It runs where the last reference goes: in the thread that schedules, while it changes the map."""
    if is_stored:
        publish(root, Contract())
    backend = make_backend(store=root if is_stored else None, jit_opt_level="fast")
    for code in (CODE, numbered(1)):
        backend.compile_jit(request_of(code)).result(30)
    program = backend.get_compiled(request_of(CODE).key.code_hash, "osaka")
    answers: list[object] = []
    weakref.finalize(program, lambda: answers.append(backend.lookup(request_of(numbered(1), "cancun"))))
    del program
    backend.clear_resident()
    eventually(lambda: answers)
    assert backend.compile_jit_sync(request_of(numbered(2))).program is not None
    backend.clear_all()
    assert (backend.stats().resident_entries, backend.stats().resident_bytes) == (0, 0)
