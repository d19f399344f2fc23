"""The store: prepare, publish, restart, load; and stores that fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evmaot.errors import EvmaotError, StoreError
from evmaot.jit import (
    AotRequest,
    Compiled,
    CompiledProgram,
    Interpret,
    InterpretReason,
    JitBackend,
    OutcomeStatus,
    ProgramKind,
    RuntimeConfig,
)
from evmaot.runtime import ArtifactStore, DirectoryStore, RuntimeArtifactStore
from evmaot.runtime.artifacts import NewLibrary, StoredArtifact
from evmaot.runtime.events import PreloadedEvent, PublicationFailedEvent, PublishedEvent, RuntimeEvent, SkippedEvent
from evmaot.store.directory import ArtifactDirectory
from tests.jit.conftest import Gate, MakeBackend, eventually, numbered, request_of
from tests.runtime.packs import CODE, Contract, overwrite, profile, publish

AnswerOf = Callable[[CompiledProgram], int]


def aot_of(code: bytes, fork: str = "osaka") -> AotRequest:
    return AotRequest(request_of(code).key.code_hash, code, fork)


def libraries_in(root: Path) -> list[Path]:
    return sorted((root / "v1" / "objects").rglob("*.so")) if root.exists() else []


# Starts.


def test_a_store_that_is_missing_is_a_reason_and_is_made_when_needed(make_backend: MakeBackend, root: Path) -> None:
    backend = make_backend(store=root)
    assert backend.stats().preload_skipped == {"store_missing": 1}
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED
    assert not root.exists(), "nothing is written unless it is asked for"
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED
    assert len(libraries_in(root)) == 1


def test_an_empty_store(make_backend: MakeBackend, root: Path, events: list[RuntimeEvent]) -> None:
    ArtifactDirectory.open(root, create=True)
    backend = make_backend(store=root)
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
    assert (backend.stats().preload_loaded, backend.stats().preload_skipped) == (0, {})
    backend.close()
    assert [type(event) for event in events] == [PreloadedEvent]


def test_a_store_that_cannot_be_read_is_an_error_and_may_succeed_later(root: Path) -> None:
    publish(root, Contract())
    (root / "STORE").rename(root / "elsewhere")
    config = RuntimeConfig(enabled=True, store=root)
    with pytest.raises(StoreError) as caught:
        JitBackend(config)
    assert caught.value.reference == "not_a_store"
    with JitBackend(RuntimeConfig(store=root)) as backend:
        for _ in range(2):
            with pytest.raises(StoreError):
                backend.set_enabled(True)
            assert not backend.enabled
            assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
        (root / "elsewhere").rename(root / "STORE")
        backend.set_enabled(True)
        assert isinstance(backend.lookup(request_of(CODE)), Compiled)


# Preload.


@pytest.mark.parametrize("mapping", ["copy", "file"])
def test_what_is_in_the_store_is_found_at_once(
    make_backend: MakeBackend, root: Path, mapping: str, answer_of: AnswerOf
) -> None:
    publish(root, Contract())
    backend = make_backend(store=root, mapping=mapping)
    decision = backend.lookup(request_of(CODE))
    assert isinstance(decision, Compiled)
    assert answer_of(decision.program) == 42
    assert decision.program.kind is ProgramKind.AOT
    statistics = backend.stats()
    assert (statistics.preload_loaded, statistics.lookup_hits, statistics.lookup_misses) == (1, 1, 0)
    assert statistics.aot_code_bytes == statistics.resident_bytes > 0
    assert statistics.worker_spawns <= 1
    assert statistics.compilations_dispatched == 0


def test_a_lazy_store_is_loaded_behind_the_first_look_up(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract())
    backend = make_backend(store=root, preload="lazy")
    assert backend.stats().aot_code_bytes == 0
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY), "a look-up reads no file"
    eventually(lambda: isinstance(backend.lookup(request_of(CODE)), Compiled))
    assert backend.stats().compilations_dispatched == 0


def test_a_lazy_store_is_waited_for_by_who_waits(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract())
    backend = make_backend(store=root, preload="lazy")
    assert isinstance(backend.lookup_blocking(request_of(CODE)), Compiled)
    assert backend.stats().compilations_dispatched == 0


def test_an_artifact_of_other_code_is_not_used(
    make_backend: MakeBackend, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A manifest that claims another code's hash is found out by SHA-256."""
    other = Contract(code=numbered(1), answer=7)
    publish(root, other)
    manifest = next((root / "v1").rglob("packs/*.json"))
    text = manifest.read_text().replace(other.code_hash.hex(), request_of(CODE).key.code_hash.hex())
    manifest.write_text(text)
    backend = make_backend(store=root)
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
    assert backend.stats().preload_skipped == {"code_mismatch": 1}
    for _ in range(10):
        backend.lookup(request_of(CODE))
    assert sum("code_mismatch" in record.getMessage() for record in caplog.records) == 1, "all count, one is told"
    assert backend.get_compiled(request_of(CODE).key.code_hash, "osaka") is not None, "without the code it is believed"
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY), "and that is not remembered"


DAMAGE: dict[str, Callable[[Path], None]] = {
    "hash_mismatch": lambda path: overwrite(path, path.read_bytes()[:-1] + b"\x55"),
    "size_mismatch": lambda path: overwrite(path, path.read_bytes()[:1000]),
    "object_missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("preload", ["eager", "lazy"])
@pytest.mark.parametrize("reason", DAMAGE)
def test_damage_is_a_reason_and_the_code_is_compiled(
    make_backend: MakeBackend, root: Path, events: list[RuntimeEvent], reason: str, preload: str
) -> None:
    DAMAGE[reason](publish(root, Contract()))
    backend = make_backend(store=root, preload=preload)
    outcome = backend.compile_jit_sync(request_of(CODE))
    assert outcome.status is OutcomeStatus.COMPILED
    assert backend.stats().preload_skipped == {reason: 1}
    backend.close()
    assert [event.reason for event in events if isinstance(event, SkippedEvent)] == [reason]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"abi": "00" * 32}, "abi_mismatch"),
        ({"triple": "riscv64-unknown-linux-gnu"}, "architecture:riscv64"),
        ({"features": ("no_cpu_has_this",)}, "isa_missing:no_cpu_has_this"),
    ],
)
def test_what_is_not_for_this_process_is_a_reason(
    make_backend: MakeBackend, root: Path, fields: dict[str, object], reason: str
) -> None:
    publish(root, Contract(), of=profile(**fields))  # type: ignore[arg-type]  # one table for fields of two types
    backend = make_backend(store=root)
    assert backend.stats().preload_skipped == {reason: 1}
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED


def test_code_of_another_compiler_is_counted_once_and_compiled_anew(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract(), of=profile(compiler="of another version"))
    backend = make_backend(store=root)
    for _ in range(3):
        assert backend.compile_jit_sync(request_of(CODE)).succeeded
        backend.clear_resident()
    assert backend.stats().preload_skipped == {"profile_other": 1}
    trusting = make_backend(store=root, profiles="any")
    assert isinstance(trusting.lookup(request_of(CODE)), Compiled)


# Prepare.


def test_prepare_publishes_and_the_next_process_compiles_nothing(
    make_backend: MakeBackend, root: Path, answer_of: AnswerOf, events: list[RuntimeEvent]
) -> None:
    backend = make_backend(store=root)
    outcome = backend.prepare_aot(aot_of(CODE)).result(30)
    assert outcome.status is OutcomeStatus.PUBLISHED
    assert outcome.program is not None
    assert (outcome.program.kind, outcome.program.tier) == (ProgramKind.AOT, "optimised")
    assert answer_of(outcome.program) == 42
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    backend.close()
    assert [event.keys for event in events if isinstance(event, PublishedEvent)] == [(request_of(CODE).key,)]
    again = make_backend(store=root)
    assert isinstance(again.lookup(request_of(CODE)), Compiled)
    assert again.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.RESIDENT
    assert again.stats().compilations_dispatched == 0
    assert not ArtifactDirectory.open(root).verify("hash")


def test_a_batch_shares_a_library(make_backend: MakeBackend, root: Path, answer_of: AnswerOf) -> None:
    backend = make_backend(store=root, real=True)
    codes = [bytes.fromhex(f"60{answer:02x}5f5260205ff3") for answer in range(1, 6)]
    requests = [aot_of(code) for code in codes] + [aot_of(codes[0], "shanghai"), aot_of(codes[0], "paris"), aot_of(b"")]
    outcomes = backend.prepare_aot_batch(requests).result(60)
    statuses = [outcome.status for outcome in outcomes]
    assert statuses == [OutcomeStatus.PUBLISHED] * 7 + [OutcomeStatus.INELIGIBLE]
    assert [answer_of(outcome.program) for outcome in outcomes[:5] if outcome.program] == [1, 2, 3, 4, 5]
    assert len(libraries_in(root)) == 1
    assert not ArtifactDirectory.open(root).verify("hash")
    index = ArtifactDirectory.open(root).index()
    assert len(index) == 6, "Osaka and Shanghai are one: the code can't tell them apart"
    assert backend.prepare_aot_batch([]).result(1) == ()


def test_units_that_do_not_link_together_are_stored_alone(make_backend: MakeBackend, root: Path) -> None:
    """The pretended linker links nothing."""
    backend = make_backend(store=root)
    outcomes = backend.prepare_aot_batch([aot_of(numbered(number)) for number in range(3)]).result(30)
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.PUBLISHED] * 3
    assert len(libraries_in(root)) == 3


def test_an_import_that_nobody_signed_is_left_out_where_signatures_are_required(
    make_backend: MakeBackend, root: Path
) -> None:
    publish(root, Contract())
    (path,) = (root / "v1").rglob("packs/*.json")
    path.write_bytes(path.read_bytes().replace(b'"kind":"build"', b'"kind":"import"'))
    assert isinstance(make_backend(store=root).lookup(request_of(CODE)), Compiled)
    backend = make_backend(store=root, require_signed=True)
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
    assert backend.stats().preload_skipped == {"unsigned": 1}
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED, "nor found in the store"


def test_what_another_process_published_is_loaded_and_not_compiled(make_backend: MakeBackend, root: Path) -> None:
    backend = make_backend(store=root)
    publish(root, Contract(), Contract(code=numbered(1)))
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.LOADED
    assert backend.prepare_aot(aot_of(numbered(1))).result(30).status is OutcomeStatus.RESIDENT
    assert backend.stats().compilations_dispatched == 0


def test_persisted_but_not_resident_is_not_compiled(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract())
    backend = make_backend(store=root)
    backend.clear_resident()
    assert backend.get_compiled(request_of(CODE).key.code_hash, "osaka") is None
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.LOADED
    assert backend.stats().compilations_dispatched == 0


@pytest.mark.parametrize("is_aot", [False, True])
def test_contracts_of_one_library_are_all_found_when_one_of_them_loads_it(
    make_backend: MakeBackend, root: Path, is_aot: bool
) -> None:
    """All but the first were once compiled again."""
    codes = [numbered(number) for number in range(8)]
    publish(root, *(Contract(code=code) for code in codes))
    backend = make_backend(store=root)
    backend.clear_resident()
    if is_aot:
        outcomes = backend.prepare_aot_batch([aot_of(code) for code in codes]).result(30)
    else:
        outcomes = tuple(future.result(30) for future in [backend.compile_jit(request_of(code)) for code in codes])
    assert {outcome.status for outcome in outcomes} <= {OutcomeStatus.LOADED, OutcomeStatus.RESIDENT}
    assert backend.stats().compilations_dispatched == 0


def test_what_is_resident_from_the_jit_is_published_all_the_same(make_backend: MakeBackend, root: Path) -> None:
    backend = make_backend(store=root)
    first = backend.compile_jit_sync(request_of(CODE)).program
    outcome = backend.prepare_aot(aot_of(CODE)).result(30)
    assert outcome.status is OutcomeStatus.PUBLISHED
    assert len(libraries_in(root)) == 1
    found = backend.get_compiled(request_of(CODE).key.code_hash, "osaka")
    assert found is not None
    assert found is not first
    assert found.kind is ProgramKind.AOT
    eventually(lambda: backend.stats().jit_code_bytes == 0)


@pytest.mark.parametrize("asked", ["aot", "store"])
@pytest.mark.parametrize("mode", ["tiered", "direct"])
def test_hot_misses_become_artifacts_where_that_is_asked_for(
    make_backend: MakeBackend, root: Path, asked: str, mode: str
) -> None:
    store: object = DirectoryStore(root, publish_jit=True) if asked == "store" else root
    backend = make_backend(store=store, aot=asked == "aot", jit_hot_threshold=2, jit_mode=mode)
    for _ in range(2):
        backend.lookup(request_of(CODE))
    eventually(lambda: libraries_in(root) and backend.stats().pending_jobs == 0)
    program = backend.get_compiled(request_of(CODE).key.code_hash, "osaka")
    assert program is not None
    assert (program.kind, program.tier) == (ProgramKind.AOT, "optimised")
    assert backend.stats().compilations_dispatched == (2 if mode == "tiered" else 1)


def test_without_a_store_a_temporary_one_keeps_what_is_prepared(make_backend: MakeBackend) -> None:
    backend = make_backend()
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED
    backend.clear_resident()
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.LOADED
    assert backend.stats().compilations_dispatched == 1
    backend.clear_persisted()
    backend.clear_resident()
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED


def test_clearing_what_is_persisted_empties_the_store(make_backend: MakeBackend, root: Path) -> None:
    backend = make_backend(store=root)
    backend.prepare_aot(aot_of(CODE)).result(30)
    backend.clear_persisted()
    assert libraries_in(root) == []
    assert isinstance(backend.lookup(request_of(CODE)), Compiled), "what is resident stays"
    backend.clear_all()
    assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.NOT_READY)
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED


def test_an_artifact_begun_before_a_clear_is_not_stored(make_backend: MakeBackend, root: Path, gate: Gate) -> None:
    backend = make_backend(store=root)
    future = backend.prepare_aot(aot_of(gate.code))
    gate.wait_until_reached()
    backend.clear_persisted()
    assert future.result(30).status is OutcomeStatus.DISCARDED
    gate.open()
    assert backend.prepare_aot(aot_of(CODE)).result(30).status is OutcomeStatus.PUBLISHED
    assert len(libraries_in(root)) == 1


def test_clearing_works_before_the_start_and_without_a_store(root: Path) -> None:
    publish(root, Contract())
    with JitBackend(RuntimeConfig(store=root)) as backend:
        backend.clear_all()
        assert libraries_in(root) == []
    with JitBackend.disabled() as backend:
        backend.clear_all()


class SlowStore(RuntimeArtifactStore):
    """A store whose disk does not answer until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def find(self, code_hash: bytes) -> Sequence[StoredArtifact]:
        self.is_asked.set()
        assert self.may_answer.wait(60)
        return super().find(code_hash)


def test_a_clear_discards_what_is_being_looked_for_in_the_store(make_backend: MakeBackend) -> None:
    store = SlowStore()
    backend = make_backend(store=store)
    future = backend.compile_jit(request_of(CODE))
    assert store.is_asked.wait(30)
    backend.clear_resident()
    assert future.result(30).status is OutcomeStatus.DISCARDED
    again = backend.compile_jit(request_of(CODE))
    store.may_answer.set()
    assert again.result(30).status is OutcomeStatus.COMPILED
    assert backend.stats().compilations_dispatched >= 1
    eventually(lambda: backend.stats().pending_jobs == 0)


@pytest.mark.parametrize("is_dropped", [False, True])
def test_who_waits_for_a_clear_is_told_when_the_backend_ends_meanwhile(
    make_backend: MakeBackend, is_dropped: bool
) -> None:
    """It once waited for ever: closing dropped the clear, and told nobody."""
    store = SlowStore()
    backend = make_backend(store=store)
    future = backend.compile_jit(request_of(CODE))
    assert store.is_asked.wait(30)
    raised: list[BaseException] = []

    def clear() -> None:
        try:
            core.clear_store()
        except EvmaotError as error:
            raised.append(error)

    core = backend._core
    thread = threading.Thread(target=clear)
    thread.start()
    eventually(lambda: core.store_thread.waiting)
    if is_dropped:
        core.request_stop()
        del backend
    else:
        backend.close(0.1)
    thread.join(30)
    assert not thread.is_alive()
    assert [getattr(error, "reference", None) for error in raised] == ["backend_closed"]
    assert future.result(30).status is OutcomeStatus.CLOSED
    store.may_answer.set()


# Stores that fail in mid-run.


class FailingStore(RuntimeArtifactStore):
    """A store that stops working when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def find(self, code_hash: bytes) -> Sequence[StoredArtifact]:
        if self.error is not None:
            raise self.error
        return super().find(code_hash)

    def store(self, library: NewLibrary) -> Sequence[StoredArtifact]:
        if self.error is not None:
            raise self.error
        return super().store(library)


@pytest.mark.parametrize("error", [StoreError("store_full", "no space left"), RuntimeError("not even a StoreError")])
def test_a_store_that_fails_costs_the_publication_and_nothing_else(
    make_backend: MakeBackend, error: Exception, answer_of: AnswerOf, events: list[RuntimeEvent]
) -> None:
    store = FailingStore()
    assert isinstance(store, ArtifactStore)
    backend = make_backend(store=store)
    assert backend.prepare_aot(aot_of(numbered(0))).result(30).status is OutcomeStatus.PUBLISHED
    store.error = error
    outcome = backend.prepare_aot(aot_of(CODE)).result(30)
    assert outcome.status is OutcomeStatus.FAILED
    assert outcome.reason == ("store_full" if isinstance(error, StoreError) else "store_failed")
    assert outcome.program is not None
    assert answer_of(outcome.program) == 42
    assert isinstance(backend.lookup(request_of(CODE)), Compiled), "what was compiled is good all the same"
    assert backend.compile_jit_sync(request_of(numbered(1))).status is OutcomeStatus.COMPILED
    store.error = None
    assert backend.prepare_aot(aot_of(numbered(2))).result(30).status is OutcomeStatus.PUBLISHED
    backend.close()
    assert sum(isinstance(event, PublicationFailedEvent) for event in events) == 1


def test_a_directory_store_that_breaks_in_mid_run(make_backend: MakeBackend, root: Path) -> None:
    publish(root, Contract())
    backend = make_backend(store=root)
    tmp = root / "v1" / "tmp"
    tmp.rmdir()
    tmp.write_bytes(b"in the way")
    outcome = backend.prepare_aot(aot_of(numbered(1))).result(30)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "store_untrusted")
    assert isinstance(backend.lookup(request_of(numbered(1))), Compiled)
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    assert backend.compile_jit_sync(request_of(numbered(2))).status is OutcomeStatus.COMPILED


def test_code_runs_on_whatever_happens_to_its_file(make_backend: MakeBackend, root: Path, answer_of: AnswerOf) -> None:
    """Deleted, replaced, truncated: a copy of what was hashed is what runs."""
    path = publish(root, Contract())
    backend = make_backend(store=root)
    program = backend.get_compiled(request_of(CODE).key.code_hash, "osaka")
    assert program is not None
    path.chmod(0o644)
    os.truncate(path, 100)
    assert answer_of(program) == 42
    path.write_bytes(bytes(100_000))
    assert answer_of(program) == 42
    path.unlink()
    assert answer_of(program) == 42
    # Loaded again, it is refused with a reason, and compiled.
    del program
    backend.clear_resident()
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED
    assert backend.stats().preload_skipped == {"object_missing": 1}
