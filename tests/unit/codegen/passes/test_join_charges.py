"""Charges of blocks that nothing enters in the middle: what is joined, and what must not be."""

from __future__ import annotations

import pytest

from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import BOTH_TIERS, Call, world_of
from tests.support.programs import planned


def charges(text: str) -> list[int]:
    """Gas of all charges of the live blocks, in order."""
    program = planned(text)
    return [gas for label in sorted(program.live) for _, gas in program.block(label).charges]


def test_jumpdests_that_no_jump_reaches_are_one_charge() -> None:
    assert charges("1 JUMPDEST JUMPDEST JUMPDEST POP STOP") == [3 + 3 * 1 + 2]


def test_a_jumpdest_that_a_jump_reaches_keeps_its_charge() -> None:
    assert charges("1 there: @there JUMP") == [3, 1 + 3 + 8]


def test_behind_a_jumpi_nothing_is_charged_early() -> None:
    assert charges("1 CALLER @out JUMPI JUMPDEST JUMPDEST POP STOP out: STOP")[0] == 3 + 2 + 3 + 10


@pytest.mark.parametrize("text", ["GAS JUMPDEST POP STOP", "GAS POP GAS JUMPDEST POP STOP"])
def test_nothing_moves_over_an_instruction_that_shows_the_gas_left(text: str) -> None:
    assert charges(text)[-1] == 1 + 2


CODES = {
    "gas": "GAS JUMPDEST JUMPDEST 0 MSTORE GAS JUMPDEST 32 MSTORE JUMPDEST 64 0 RETURN",
    "storage": "1 2 SSTORE JUMPDEST JUMPDEST 3 2 SSTORE JUMPDEST GAS 0 MSTORE JUMPDEST 32 0 RETURN",
    "branch": "0 CALLDATALOAD @out JUMPI JUMPDEST JUMPDEST GAS JUMPDEST 0 MSTORE 32 0 RETURN out: STOP",
}


@pytest.mark.parametrize("fork", ["frontier", "petersburg", "istanbul", "osaka"])
@pytest.mark.parametrize("name", CODES)
def test_with_any_gas_they_end_as_on_eels(name: str, fork: str) -> None:
    code = asm(CODES[name])
    whole = Call(world_of(code), gas=100_000, input=bytes(32))
    used = whole.gas - assert_same(whole, fork, BOTH_TIERS).gas_left
    for gas in range(max(0, used - 12), used + 3):
        assert_same(Call(world_of(code), gas=gas, input=bytes(32)), fork, BOTH_TIERS)
