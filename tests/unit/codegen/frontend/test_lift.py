"""Instructions to blocks."""

from __future__ import annotations

import pytest

from evmaot.codegen.frontend.lift import MAX_BLOCK_INSTRUCTIONS
from evmaot.codegen.ir.program import Entry
from tests.support.programs import lifted

Shape = list[tuple[int, str, int, int | None, int | None]]


def shape(text: str, fork: str = "osaka") -> Shape:
    """Of each block: pc, entry, number of instructions, what it falls to, where it resumes."""
    return [
        (block.pc, block.entry.value, len(block.instructions), block.falls_to, block.resumes_at)
        for block in lifted(text, fork).blocks
    ]


def test_empty_code_is_one_empty_block() -> None:
    assert shape("") == [(0, "start", 0, None, None)]


def test_a_straight_run_is_one_block() -> None:
    assert shape("1 2 ADD POP") == [(0, "start", 4, None, None)]


def test_a_jumpdest_begins_a_block() -> None:
    assert shape("CALLER a: STOP") == [(0, "start", 1, 2, None), (1, "jumpdest", 2, None, None)]


def test_a_jumpdest_at_the_start_gets_a_block_before_it() -> None:
    """So that the first block is entered once, with an empty stack."""
    assert shape("a: STOP") == [(0, "start", 0, 2, None), (0, "jumpdest", 2, None, None)]
    assert shape("a: b:") == [
        (0, "start", 0, 2, None),
        (0, "jumpdest", 1, 3, None),
        (1, "jumpdest", 1, None, None),
    ]


def test_a_jumpi_ends_a_block_that_falls_through() -> None:
    assert shape("1 0 JUMPI CALLER") == [(0, "start", 3, 2, None), (5, "fall-through", 1, None, None)]


def test_a_jumpi_at_the_end_is_followed_by_an_empty_block() -> None:
    assert shape("1 0 JUMPI") == [(0, "start", 3, 2, None), (5, "fall-through", 0, None, None)]


def test_an_empty_block_keeps_a_jumpi_and_a_jumpdest_apart() -> None:
    assert shape("1 0 JUMPI a: STOP") == [
        (0, "start", 3, 2, None),
        (5, "fall-through", 0, 3, None),
        (5, "jumpdest", 2, None, None),
    ]


@pytest.mark.parametrize("name", ["CALL", "CALLCODE", "DELEGATECALL", "STATICCALL", "CREATE", "CREATE2"])
def test_a_suspension_is_resumed_in_the_next_block(name: str) -> None:
    assert shape(f"{name} POP") == [(0, "start", 1, None, 2), (1, "resume", 1, None, None)]
    assert shape(f"{name}") == [(0, "start", 1, None, 2), (1, "resume", 0, None, None)]
    assert shape(f"{name} a:") == [(0, "start", 1, None, 2), (1, "resume", 0, 3, None), (1, "jumpdest", 1, None, None)]


@pytest.mark.parametrize("name", ["STOP", "JUMP", "RETURN", "REVERT", "INVALID", "SELFDESTRUCT", "x0c", "xef"])
def test_an_end_ends_a_block_and_hides_what_follows(name: str) -> None:
    assert shape(f"0 {name} 1 2 ADD a: STOP") == [(0, "start", 2, None, None), (8, "jumpdest", 2, None, None)]


def test_an_opcode_ends_a_block_where_the_fork_does_not_define_it() -> None:
    assert [row[2] for row in shape("PUSH0 PUSH0 ADD", "osaka")] == [3]
    assert [row[2] for row in shape("PUSH0 PUSH0 ADD", "paris")] == [1]
    assert [row[2] for row in shape("0 0 0 0 0 0 DELEGATECALL POP", "frontier")] == [7]


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_long_run_is_split(extra: int) -> None:
    length = MAX_BLOCK_INSTRUCTIONS + extra
    rows = shape("CALLER " * length)
    sizes = [row[2] for row in rows]
    assert sizes == ([length] if extra <= 0 else [MAX_BLOCK_INSTRUCTIONS, 1])
    if extra > 0:
        assert rows[0][3] == 2
        assert rows[1][1] == "fall-through"


def test_labels_count_from_one_in_order_of_pc() -> None:
    program = lifted("1 0 JUMPI a: CALL b: x0c c: STOP")
    assert [block.label for block in program.blocks] == list(range(1, len(program.blocks) + 1))
    assert program.blocks[0].entry is Entry.START
    assert sorted(block.pc for block in program.blocks) == [block.pc for block in program.blocks]
