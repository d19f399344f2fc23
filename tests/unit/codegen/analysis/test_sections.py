"""Gas sections."""

from __future__ import annotations

import pytest

from evmaot.codegen.analysis.sections import gas_sections
from evmaot.codegen.analysis.stack_height import stack_effect
from tests.support.programs import lifted


def sections(text: str, fork: str = "osaka") -> tuple[tuple[int, int], ...]:
    program = lifted(text, fork)
    return gas_sections(program.blocks[0], program.rules)


def test_a_block_is_charged_once() -> None:
    assert sections("1 2 ADD POP") == ((0, 11),)


def test_a_block_without_gas_is_not_charged() -> None:
    assert sections("") == ()
    assert sections("STOP") == ()


def test_gas_ends_a_section_behind_itself() -> None:
    assert sections("1 GAS ADD") == ((0, 5), (2, 3))
    assert sections("1 GAS") == ((0, 5),)
    assert sections("GAS GAS") == ((0, 2), (1, 2))


@pytest.mark.parametrize(("fork", "expected"), [("petersburg", ((0, 11),)), ("istanbul", ((0, 6), (3, 5)))])
def test_an_sstore_that_looks_at_gas_ends_a_section_behind_itself(
    fork: str, expected: tuple[tuple[int, int], ...]
) -> None:
    """EIP-2200: nothing behind it may be charged when it compares the gas left with the stipend."""
    assert sections("1 0 SSTORE CALLER 0", fork) == expected


def test_what_follows_an_undefined_opcode_is_not_charged() -> None:
    assert sections("1 PUSH0", "paris") == ((0, 3),)


@pytest.mark.parametrize(
    ("text", "needs", "grows", "change"),
    [
        ("", 0, 0, 0),
        ("1 2 ADD", 0, 2, 1),
        ("ADD", 2, 0, -1),
        ("POP POP 1", 2, 0, -1),
        ("DUP3", 3, 1, 1),
        ("SWAP3", 4, 0, 0),
        ("1 SWAP3", 3, 1, 1),
        ("1 2 3 LOG4", 3, 3, -3),
        ("0 0 0 CALL", 4, 3, -4),
        ("1 2 x0c", 0, 2, 2),
    ],
)
def test_the_stack_effect_of_a_block(text: str, needs: int, grows: int, change: int) -> None:
    program = lifted(text)
    effect = stack_effect(program.blocks[0], program.rules)
    assert (effect.needs, effect.grows, effect.change) == (needs, grows, change)


def test_a_resume_block_begins_with_the_result_pushed() -> None:
    program = lifted("CALL POP ADD")
    effect = stack_effect(program.blocks[1], program.rules)
    assert (effect.needs, effect.grows, effect.change) == (2, 1, -1)
    program = lifted("CALL ADD")
    effect = stack_effect(program.blocks[1], program.rules)
    assert (effect.needs, effect.grows, effect.change) == (1, 1, 0)
