"""A key is compiled once on a machine at a time, where the result is stored: backends, builds and what they leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evmaot.errors import StoreError
from evmaot.jit import Compiled, OutcomeStatus
from evmaot.jit.compiler import KeyJob, KeyOutput, Surroundings, compile_code, run_job
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.locks import UnitLocks
from tests.jit import pretend
from tests.jit.conftest import Gate, MakeBackend, eventually, numbered, request_of
from tests.jit.test_artifacts import aot_of, libraries_in
from tests.runtime.packs import CODE


def key_job(code: bytes, fork: str = "osaka") -> KeyJob:
    return KeyJob(code, request_of(code).key.code_hash, fork, (), "optimised", False, Surroundings())


def unit_key_of(code: bytes) -> str:
    """Under the pretended compiler."""
    output = pretend.run_job(b"", b"", b"", key_job(code))
    assert isinstance(output, KeyOutput)
    return output.unit_key


@pytest.fixture
def others(root: Path) -> Iterator[UnitLocks]:
    """The build locks as another process has them."""
    with ArtifactDirectory.open(root, create=True).unit_locks() as locks:
        yield locks


def test_a_key_that_another_compiles_is_waited_for_and_taken(make_backend: MakeBackend, root: Path, gate: Gate) -> None:
    one, other = make_backend(store=root), make_backend(store=root)
    first = one.prepare_aot(aot_of(gate.code))
    gate.wait_until_reached()
    second = other.prepare_aot(aot_of(gate.code))
    assert other.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED, "it holds up nothing else"
    assert not second.done()
    gate.open()
    assert first.result(30).status is OutcomeStatus.PUBLISHED
    assert second.result(30).status is OutcomeStatus.LOADED
    assert other.stats().compilations_dispatched == 1
    assert isinstance(other.lookup(request_of(gate.code)), Compiled)
    assert len(libraries_in(root)) == 2


def test_a_key_that_another_gave_up_is_compiled(make_backend: MakeBackend, root: Path, gate: Gate) -> None:
    one, other = make_backend(store=root), make_backend(store=root)
    one.prepare_aot(aot_of(gate.code))
    gate.wait_until_reached()
    second = other.prepare_aot(aot_of(gate.code))
    eventually(lambda: other.stats().pending_jobs == 1)
    one.close()
    gate.lose()
    gate.wait_until_reached()
    gate.open()
    assert second.result(30).status is OutcomeStatus.PUBLISHED


def test_a_build_s_lock_counts_and_look_ups_do_not_wait_for_it(
    make_backend: MakeBackend, root: Path, others: UnitLocks
) -> None:
    assert others.try_lock(unit_key_of(CODE))
    backend = make_backend(store=root)
    future = backend.prepare_aot(aot_of(CODE))
    assert isinstance(backend.lookup_blocking(request_of(CODE)), Compiled), "what is not for the store needs no lock"
    assert not future.done()
    others.unlock(unit_key_of(CODE))
    assert future.result(30).status is OutcomeStatus.PUBLISHED


@pytest.mark.parametrize("word", [b"", b"fail", b"kill"])
def test_a_lock_is_given_back_with_the_outcome(
    make_backend: MakeBackend, root: Path, others: UnitLocks, word: bytes
) -> None:
    code = pretend.told(CODE, word) if word else CODE
    backend = make_backend(store=root)
    backend.prepare_aot(aot_of(code)).result(30)
    assert others.try_lock(unit_key_of(code))


def test_a_clear_gives_back_what_it_discards(
    make_backend: MakeBackend, root: Path, others: UnitLocks, gate: Gate
) -> None:
    backend = make_backend(store=root)
    future = backend.prepare_aot(aot_of(gate.code))
    gate.wait_until_reached()
    assert not others.try_lock(unit_key_of(gate.code))
    backend.clear_resident()
    assert future.result(30).status is OutcomeStatus.DISCARDED
    assert others.try_lock(unit_key_of(gate.code))
    gate.open()


def test_forks_that_a_code_cannot_tell_apart_share_their_lock(
    make_backend: MakeBackend, root: Path, others: UnitLocks
) -> None:
    backend = make_backend(store=root)
    batch = backend.prepare_aot_batch([aot_of(CODE, "osaka"), aot_of(CODE, "shanghai"), aot_of(numbered(1))])
    assert [outcome.status for outcome in batch.result(30)] == [OutcomeStatus.PUBLISHED] * 3
    assert others.try_lock(unit_key_of(CODE))


def test_patience_has_an_end(
    make_backend: MakeBackend, root: Path, others: UnitLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the lock is stuck: a second artifact is a waste, and no fault."""
    monkeypatch.setattr("evmaot.jit.single_flight._GRACE_SECONDS", 0.0)
    assert others.try_lock(unit_key_of(CODE))
    backend = make_backend(store=root, aot_timeout=0.5)
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED


def test_locks_that_cannot_be_had_are_no_reason_not_to_compile(
    make_backend: MakeBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> UnitLocks:
        raise StoreError("store_full", "no space left")

    monkeypatch.setattr(ArtifactDirectory, "unit_locks", refuse)
    backend = make_backend(store=root)
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED


def test_the_key_that_is_locked_is_the_one_that_is_compiled() -> None:
    from evmaot.jit.compiler import CompileJob

    compiled = compile_code(
        CompileJob(
            CODE, request_of(CODE).key.code_hash, "osaka", (), "fast", False, False, False, None, None, Surroundings()
        )
    )
    job = KeyJob(CODE, request_of(CODE).key.code_hash, "osaka", (), "fast", False, Surroundings())
    assert run_job(job) == KeyOutput(compiled.unit.key)
