"""Modules as text: what is in them, and that LLVM takes odd ones."""

from __future__ import annotations

import random
import re

import pytest

from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.driver import plan
from evmaot.codegen.emit.lowerings import LOWERINGS
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.target import host_target
from tests.support.assembler import asm
from tests.support.programs import planned, rules_of

MODULE_SYMBOL = "entry_of_a_test"


def text_of(text: str, tier: Tier = Tier.OPTIMISED) -> str:
    return module_text(planned(text, tier=tier), MODULE_SYMBOL)


def test_every_opcode_has_a_lowering() -> None:
    assert set(LOWERINGS) == set(BY_MNEMONIC)


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("mnemonic", BY_MNEMONIC)
def test_every_opcode_compiles_alone(mnemonic: str, tier: Tier) -> None:
    """With unknown operands, so that nothing is folded."""
    row = BY_MNEMONIC[mnemonic]
    text = text_of(f"{'CALLER ' * row.inputs} x{row.value:02x}{'01' * row.immediate_size}", tier)
    assert compile_text(text, tier, host_target()).data


def test_words_never_cross_a_function_border_in_registers() -> None:
    for tier in Tier:
        text = text_of("1 loop: DUP1 @x JUMPI @loop JUMP x: CALLER ADD @loop JUMP", tier)
        for line in text.splitlines():
            if line.startswith("define"):
                assert "i256" not in line
            if "musttail call" in line:
                assert "i256" not in line


def test_every_edge_between_regions_is_a_tail_call() -> None:
    text = text_of("1 loop: DUP1 @x JUMPI @loop JUMP x: CALLER ADD @loop JUMP", Tier.FAST)
    calls = re.findall(r"(\S+) call i64 @region\d+", text)
    assert set(calls) == {"musttail", "="}, "the entry calls, regions tail-call"
    assert calls.count("=") == 1


def test_tables_are_there_only_where_they_are_used() -> None:
    assert "@jump_table" not in text_of("@a JUMP a: STOP")
    assert "@jump_table" in text_of("0 CALLDATALOAD JUMP a: STOP")
    assert "@entry_table" not in text_of("@a JUMP a: STOP")
    assert "@entry_table" in text_of("CALL")


def test_a_jump_table_holds_only_what_a_computed_jump_may_reach() -> None:
    text = text_of("0 CALLDATALOAD JUMP x605b a: STOP")
    (table,) = re.findall(r'@jump_table = .* c"([^"]*)"', text)
    labels = [int(low, 16) | int(high, 16) << 8 for low, high in re.findall(r"\\(..)\\(..)", table)]
    assert [pc for pc, label in enumerate(labels) if label] == [6]


def test_only_helpers_that_are_called_are_declared() -> None:
    declared = set(re.findall(r"declare .*@(\w+)\(", text_of("CALLER CALLER DIV 0 SLOAD")))
    assert declared == {"evmaot_div", "evmaot_sload"}


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize(
    "text",
    [
        "0 @a JUMPI STOP a: STOP",  # nothing jumps to the live block
        "0 @a JUMPI STOP a: @b JUMP STOP b: CALLER POP @a JUMP",
        "POP @a JUMP a: ADD",
        "POP 0 CALLDATALOAD JUMP a: STOP",
        "0 CALLDATALOAD JUMP",
        "1 2 JUMPI",
        "x0c a: STOP",
    ],
)
def test_llvm_takes_programs_with_blocks_that_nothing_reaches(text: str, tier: Tier) -> None:
    assert compile_text(text_of(text, tier), tier, host_target()).data


@pytest.mark.parametrize("seed", range(12))
def test_llvm_takes_random_bytes(seed: int) -> None:
    code = random.Random(seed).randbytes(200) if seed % 2 else _defined_bytes(random.Random(seed))
    for tier in Tier:
        program = plan(code, rules_of(code), CompileOptions(tier))
        assert compile_text(module_text(program, MODULE_SYMBOL), tier, host_target()).data


def _defined_bytes(random_: random.Random) -> bytes:
    """Opcodes that go on: most of it is reached."""
    ends = ("STOP", "JUMP", "RETURN", "REVERT", "SELFDESTRUCT", "INVALID")
    values = [row.value for row in BY_MNEMONIC.values() if FORKS["osaka"].prices(row.mnemonic)]
    values = [value for value in values if value not in [BY_MNEMONIC[name].value for name in ends]]
    return bytes(random_.choice(values) for _ in range(300))


def test_the_entry_knows_the_labels_that_can_be_resumed() -> None:
    text = module_text(planned("0 0 0 0 0 CALLER 99 CALL POP CALLER a: STOP"), MODULE_SYMBOL)
    (table,) = re.findall(r"@entry_table = .*", text)
    assert table.count("ptrtoint") == 2 * 2, "the start and the block behind the call; two addresses each"
    assert "icmp ule i64 %label, " in text


def test_code_without_calls_is_entered_at_its_start_alone() -> None:
    assert "%resume" in text_of("CALLER")
    assert "refuse" not in module_text(planned("CALLER"), MODULE_SYMBOL)
    assert asm("CALLER") == b"\x33"
