"""The object of all helpers: what a linker of few words must be able to take."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.builtins.module import builtins_object, builtins_text
from evmaot.codegen.builtins.table import BUILTINS
from evmaot.codegen.options import Tier
from evmaot.target import TARGETS, host_target
from tests.support.elf_objects import loaded_sections, relocation_types, symbols

REPOSITORY = Path(__file__).resolve().parents[4]
CASES = [(target, tier) for target in TARGETS for tier in Tier]
# x86-64: PC32, PLT32.  aarch64: ADR_PREL_PG_HI21, ADD_ABS_LO12_NC, LDST64/16_ABS_LO12_NC, JUMP26, CALL26.
RELOCATIONS = {"x86_64": {2, 4}, "aarch64": {275, 277, 282, 283, 284, 286}}


@cache
def _object(target: str, tier: Tier) -> bytes:
    return compile_text(builtins_text(TARGETS[target]), tier, TARGETS[target]).data


@pytest.mark.parametrize(("target", "tier"), CASES)
def test_no_symbol_is_undefined(target: str, tier: Tier) -> None:
    """Variable-length copies and wide divisions must not have become library calls."""
    assert [name for name, _, _, defined in symbols(_object(target, tier)) if not defined] == []


@pytest.mark.parametrize(("target", "tier"), CASES)
def test_exactly_the_rows_of_the_table_are_visible_and_hidden(target: str, tier: Tier) -> None:
    rows = symbols(_object(target, tier))
    visible = {name: visibility for name, binding, visibility, _ in rows if binding != "STB_LOCAL"}
    assert visible == {row.symbol: "STV_HIDDEN" for row in BUILTINS.values()}


@pytest.mark.parametrize(("target", "tier"), CASES)
def test_there_is_code_and_constant_data_and_nothing_else(target: str, tier: Tier) -> None:
    """No writable data, no thread-local data, no global offset table, no unwind tables."""
    loaded = {
        name.split(".")[1]: flags & 0x405  # WRITE, EXECINSTR, TLS
        for name, flags in loaded_sections(_object(target, tier)).items()
    }
    assert loaded == {"text": 4, "rodata": 0}


@pytest.mark.parametrize(("target", "tier"), CASES)
def test_relocations_are_of_the_few_kinds_that_the_linker_knows(target: str, tier: Tier) -> None:
    kinds = relocation_types(_object(target, tier))
    assert list(kinds) == [".rela.text"]
    assert kinds[".rela.text"] <= RELOCATIONS[TARGETS[target].architecture]


def test_the_object_is_the_same_in_another_process() -> None:
    script = (
        "import hashlib; from evmaot.codegen.builtins.module import builtins_object; "
        "from evmaot.target import host_target; "
        "print(hashlib.sha256(builtins_object(host_target())).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(builtins_object(host_target())).hexdigest()


def test_the_text_does_not_depend_on_how_often_it_was_made() -> None:
    for target in TARGETS.values():
        assert builtins_text(target) == builtins_text(target)
