"""Which holes can be left open, and what must be proved of the rest."""

from __future__ import annotations

import pytest

from evmaot.codegen.driver import compile_unit, plan, reachable_opcodes, template_refusal
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.frontend.holes import open_code
from evmaot.codegen.ir.program import JumpKind
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import fork_named
from evmaot.evm.instruction_set import restrict
from evmaot.evm.template import Holes
from tests.support.assembler import asm

CLOSED = asm("7 0 SSTORE STOP")


def refusal(code: bytes, holes: Holes) -> str | None:
    return template_refusal(code, restrict(fork_named("osaka"), reachable_opcodes(code)), holes)


def test_the_operand_of_a_push_is_a_hole_of_code() -> None:
    opened = open_code(asm("PUSH32=77 POP PUSH2=5 POP"), [(1, 32), (35, 2)])
    assert (opened.operands, opened.known_bytes) == (frozenset({1, 35}), 38)
    assert opened.code == asm("PUSH32=0 POP PUSH2=0 POP")


@pytest.mark.parametrize("hole", [(1, 31), (2, 31), (0, 33), (1, 33), (0, 1), (33, 1)])
def test_a_hole_that_is_not_exactly_an_operand_is_refused_where_code_runs(hole: tuple[int, int]) -> None:
    reason = refusal(asm("PUSH32=77 POP STOP"), [hole])
    assert reason is not None and "hole" in reason


def test_a_hole_in_push_data_that_is_cut_off_is_refused() -> None:
    assert refusal(asm("0 0 SSTORE") + b"\x7f\x01\x02", [(6, 2)]) is not None


def test_data_behind_the_code_may_be_a_hole() -> None:
    assert refusal(CLOSED + bytes(40), [(len(CLOSED), 32)]) is None


def test_code_that_runs_into_a_hole_is_refused() -> None:
    reason = refusal(asm("7 0 SSTORE") + bytes(32), [(5, 32)])
    assert reason is not None and "runs into a hole" in reason


def test_a_suspension_right_before_a_hole_is_refused() -> None:
    """The frame would go on in the hole."""
    code = asm("0 0 0 0 0 0 0 CALL")
    assert refusal(code + bytes(32), [(len(code), 32)]) is not None


def test_a_jumpi_right_before_a_hole_is_refused() -> None:
    code = asm("a: 0 0 JUMPI")
    assert refusal(code + bytes(32), [(len(code), 32)]) is not None


def test_a_jump_behind_a_hole_of_data_is_refused() -> None:
    """What the constructor writes there may be a JUMPDEST."""
    code = asm("PUSH1=5 JUMP STOP STOP")
    assert refusal(code + bytes(32), [(len(code), 32)]) is not None
    assert refusal(asm("PUSH1=200 JUMP STOP STOP") + bytes(32), [(len(code), 32)]) is None


def test_a_computed_jump_and_a_hole_of_data_are_refused_together() -> None:
    reason = refusal(asm("0 CALLDATALOAD JUMP a: STOP") + bytes(32), [(6, 32)])
    assert reason is not None and "computed jump" in reason


def test_a_jump_to_a_hole_is_dynamic() -> None:
    code = asm("PUSH2=9 JUMP a: STOP")
    program = plan(code, restrict(fork_named("osaka"), reachable_opcodes(code)), CompileOptions(), [(1, 2)])
    assert program.blocks[0].jump is JumpKind.DYNAMIC


def test_without_holes_the_text_is_the_same_whatever_is_asked() -> None:
    code = asm("0 CALLDATALOAD PUSH32=77 MUL PUSH1=255 AND 0 SSTORE STOP")
    rules = restrict(fork_named("osaka"), reachable_opcodes(code))
    for tier in Tier:
        options = CompileOptions(tier)
        assert module_text(plan(code, rules, options), "s") == module_text(plan(code, rules, options, ()), "s")
        assert "@evmaot_" in module_text(plan(code, rules, options, [(4, 32)]), "s")


def test_the_values_in_holes_do_not_influence_the_object() -> None:
    codes = [asm(f"PUSH32={value} 0 SSTORE STOP") + bytes([value]) * 8 for value in (0, 0x5B)]
    rules = restrict(fork_named("osaka"), reachable_opcodes(codes[0]))
    holes = [(1, 32), (len(codes[0]) - 8, 8)]
    objects = {compile_unit(code, rules, CompileOptions(), "s", holes).object_data for code in codes}
    assert len(objects) == 1
