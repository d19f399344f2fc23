"""Templates in the map of programs: found for every code made of them, remembered, and forgotten in time."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.evm import template as template_module
from evmaot.evm.keccak import keccak256
from evmaot.runtime import CompiledProgram, open_runtime, templates
from tests.runtime.packs import CODE, MNEMONICS, Contract, publish

AnswerOf = Callable[[CompiledProgram], int]


def test_a_template_is_found_for_every_code_that_is_made_of_it_and_remembered(root: Path, answer_of: AnswerOf) -> None:
    template = Contract(holes=((1, 1),))
    publish(root, template, Contract(code=b"\x00", mnemonics=("STOP",)))
    programs = open_runtime(root)
    assert (len(programs), programs.statistics().programs_loaded, programs.statistics().skipped) == (1, 2, {})
    for value in (0, 9):
        code = CODE[:1] + bytes([value]) + CODE[2:]
        code_hash = keccak256(code)
        assert programs.lookup(code_hash, "osaka") is None
        program = programs.lookup(code_hash, "osaka", code)
        assert program is not None
        assert (program.code_hash, program.code_sha256) == (code_hash, hashlib.sha256(code).digest())
        assert answer_of(program) == 42
        assert programs.lookup(code_hash, "osaka") is program
    other = CODE[:2] + b"\x60" + CODE[3:]
    assert programs.lookup(keccak256(other), "osaka", other) is None
    assert programs.lookup(keccak256(CODE), "london", CODE) is None, "the rules of a template are compared as well"


def test_what_is_remembered_of_templates_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_REMEMBERED_CODES", 4)
    publish(root, Contract(holes=((1, 1),)))
    programs = open_runtime(root)
    codes = [CODE[:1] + bytes([value]) + CODE[2:] for value in range(10)]
    for code in (*codes, *codes):
        assert programs.lookup(keccak256(code), "osaka", code) is not None


def clone(number: int) -> bytes:
    """A code of the template with four bytes that differ."""
    return CODE + b"\xfe" + number.to_bytes(4, "big")


CLONED = Contract(code=clone(0), holes=((len(CODE) + 1, 4),))


def test_a_factory_of_clones_eats_no_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither programs nor anything else is kept for more codes than are remembered."""
    monkeypatch.setattr(templates, "MAX_REMEMBERED_CODES", 64)
    publish(root, CLONED)
    programs = open_runtime(root)
    held = programs.lookup(keccak256(clone(0)), "osaka", clone(0))
    assert held is not None
    alive = [weakref.ref(held)]
    for number in range(1, 1000):
        program = programs.lookup(keccak256(clone(number)), "osaka", clone(number))
        assert program is not None and program.address == held.address
        alive.append(weakref.ref(program))
    del program
    assert sum(reference() is not None for reference in alive) <= 64 + 1
    again = programs.lookup(keccak256(clone(0)), "osaka", clone(0))
    assert again is held, "what somebody holds is found again as it is"


@pytest.mark.parametrize("code", [b"\x60" + clone(0)[1:], clone(0)])
def test_a_code_that_no_template_serves_is_masked_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: bytes
) -> None:
    """Also one that a template would serve, had it the hash that it is looked up under."""
    publish(root, CLONED)
    programs = open_runtime(root)
    wrong = b"\x12" * 32
    assert programs.lookup(wrong, "osaka", code) is None
    masked = []
    monkeypatch.setattr(template_module, "masked_code", lambda *arguments: masked.append(arguments))
    for _ in range(100):
        assert programs.lookup(wrong, "osaka", code) is None
    assert masked == []


def test_a_wrong_code_does_not_hide_the_one_that_has_the_hash(root: Path) -> None:
    publish(root, CLONED)
    programs = open_runtime(root)
    code = clone(7)
    assert programs.lookup(keccak256(code), "osaka", clone(8)) is None
    assert programs.lookup(keccak256(code), "osaka", code) is not None


def test_a_template_of_a_later_store_is_found_though_the_code_missed_before(root: Path, tmp_path: Path) -> None:
    publish(root, Contract(code=clone(0) + b"\x00", holes=CLONED.holes), Contract(holes=((1, 1),)))
    programs = open_runtime(root)
    other = Contract(code=CODE[:3] + b"\x01" + CODE[4:], holes=((4, 1),))
    assert programs.lookup(keccak256(other.code), "osaka", other.code) is None
    publish(tmp_path / "later", other)
    programs.add_store(tmp_path / "later")
    assert programs.lookup(keccak256(other.code), "osaka", other.code) is not None


def test_a_template_of_a_later_store_is_found_too(root: Path, tmp_path: Path) -> None:
    """What was remembered of the first must not hide the rules that the second has."""
    publish(root, Contract(holes=((1, 1),), mnemonics=(*MNEMONICS, "CLZ")))
    programs = open_runtime(root)
    assert programs.lookup(keccak256(CODE), "osaka", CODE) is not None
    assert programs.lookup(keccak256(CODE), "shanghai", CODE) is None
    later = Contract(holes=((1, 1),), fork="shanghai")
    publish(tmp_path / "later", later)
    programs.add_store(tmp_path / "later")
    assert programs.lookup(keccak256(CODE), "shanghai", CODE) is not None
