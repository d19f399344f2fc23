"""Templates behind the look-ups of a backend: found whoever published them, and no memory for ever new clones."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.jit import AotRequest, Compiled, CompiledProgram, Interpret, OutcomeStatus, ProgramKind
from evmaot.runtime import ArtifactStore, DirectoryStore, templates
from evmaot.runtime.artifacts import TemplateStore
from tests.jit.conftest import MakeBackend, eventually, request_of
from tests.runtime.packs import CODE, Contract, publish

AnswerOf = Callable[[CompiledProgram], int]


def test_a_template_of_the_store_serves_codes_like_it_and_nothing_is_compiled(
    make_backend: MakeBackend, root: Path, answer_of: AnswerOf
) -> None:
    publish(root, Contract(holes=((1, 1),)))
    backend = make_backend(store=root)
    addresses = set()
    for value in (0, 9):
        request = request_of(CODE[:1] + bytes([value]) + CODE[2:])
        assert backend.get_compiled(request.key.code_hash, "osaka") is None
        decision = backend.lookup(request)
        assert isinstance(decision, Compiled)
        assert (decision.program.kind, answer_of(decision.program)) == (ProgramKind.AOT, 42)
        assert decision.program.code_hash == request.key.code_hash
        assert backend.get_compiled(request.key.code_hash, "osaka") is decision.program
        addresses.add(decision.program.address)
    assert len(addresses) == 1
    other = request_of(CODE[:2] + b"\x60" + CODE[3:])
    assert isinstance(backend.lookup(other), Interpret)


def clone(number: int) -> bytes:
    """A code of `CLONED` with four bytes that differ."""
    return CODE + b"\xfe" + number.to_bytes(4, "big")


CLONED = Contract(code=clone(0), holes=((len(CODE) + 1, 4),))


@pytest.mark.parametrize("is_aot", [False, True])
def test_a_template_that_another_process_published_is_loaded_and_nothing_compiled(
    make_backend: MakeBackend, root: Path, is_aot: bool
) -> None:
    backend = make_backend(store=root)
    publish(root, CLONED)
    request = request_of(clone(7))
    if is_aot:
        outcome = backend.prepare_aot(AotRequest(request.key.code_hash, request.code, "osaka")).result(30)
    else:
        outcome = backend.compile_jit_sync(request)
    assert outcome.status is OutcomeStatus.LOADED
    assert isinstance(backend.lookup(request_of(clone(8))), Compiled), "the next is found without a search"
    assert backend.stats().compilations_dispatched == 0


def test_hot_look_ups_find_a_template_that_another_process_published(make_backend: MakeBackend, root: Path) -> None:
    backend = make_backend(store=root, jit_hot_threshold=2)
    publish(root, CLONED)
    request = request_of(clone(7))
    eventually(lambda: isinstance(backend.lookup(request), Compiled))
    assert backend.stats().compilations_dispatched == 0


def test_a_store_that_finds_no_templates_is_searched_for_codes_all_the_same(
    make_backend: MakeBackend, root: Path
) -> None:
    class Plain:
        """An `ArtifactStore` with its methods and no others."""

        def __init__(self, of: ArtifactStore) -> None:
            self.publishes_jit = False
            for name in ("reading", "load_all", "find", "load", "store", "delete", "clear"):
                setattr(self, name, getattr(of, name))

    store = Plain(DirectoryStore(root))
    assert isinstance(store, ArtifactStore) and not isinstance(store, TemplateStore)
    backend = make_backend(store=store)
    publish(root, Contract(), CLONED)
    assert backend.compile_jit_sync(request_of(clone(0))).status is OutcomeStatus.COMPILED
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.LOADED


def test_a_factory_of_clones_eats_no_memory_and_what_is_used_stays(
    make_backend: MakeBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MAX_REMEMBERED_CODES", 64)
    publish(root, CLONED, Contract())
    backend = make_backend(store=root)
    used, alive = request_of(clone(0)), []
    assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    for number in range(1, 1000):
        decision = backend.lookup(request_of(clone(number)))
        assert isinstance(decision, Compiled)
        alive.append(weakref.ref(decision.program))
        found = backend.lookup(used)
        assert isinstance(found, Compiled)
        if number == 1:
            alive.append(weakref.ref(found.program))
    del decision, found
    assert alive[1]() is not None, "it was looked up all the time"
    assert backend.stats().resident_entries == 64 + 1
    assert sum(reference() is not None for reference in alive) == 64
    backend.clear_resident()
    assert backend.stats().resident_entries == 0
    assert isinstance(backend.compile_jit_sync(request_of(clone(3))).program, CompiledProgram)
