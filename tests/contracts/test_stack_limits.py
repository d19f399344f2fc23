"""Stack overflow at 1025 words and underflow, for every kind of opcode."""

from __future__ import annotations

import re

import pytest

from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC, Opcode
from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import Call, run_code, world_of

FORK = "osaka"
_SAME_AS_OTHERS = re.compile(r"(PUSH|DUP|SWAP)([2-9]|1[0-5]|1\d|2\d|30|31)$")
ROWS = [
    row
    for row in BY_MNEMONIC.values()
    if FORKS[FORK].prices(row.mnemonic) and not (_SAME_AS_OTHERS.match(row.mnemonic) and row.mnemonic[-2:] != "16")
]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
ENDS_OR_JUMPS = ("STOP", "RETURN", "REVERT", "SELFDESTRUCT", "JUMP", "JUMPI")


def instruction(row: Opcode) -> bytes:
    return bytes((row.value,)) + bytes(row.immediate_size)


def outcome(code: bytes, tier: str) -> str:
    return assert_same(Call(world_of(code), gas=200_000), FORK, (tier,)).outcome


@every_row
def test_an_operand_too_few_halts(row: Opcode, tier: str) -> None:
    few = max(row.inputs - 1, 0)
    expected = "halt" if row.inputs else "success"
    assert outcome(asm(f"(0)*{few}") + instruction(row), tier) == expected
    assert outcome(asm(f"(0)*{few} @here JUMP here:") + instruction(row), tier) == expected


@every_row
def test_results_are_as_many_as_the_row_says(row: Opcode, tier: str) -> None:
    if row.mnemonic not in ENDS_OR_JUMPS:
        code = asm(f"(0)*{row.inputs}") + instruction(row)
        assert outcome(code + asm(f"(POP)*{row.outputs}"), tier) == "success"
        assert outcome(code + asm(f"(POP)*{row.outputs + 1}"), tier) == "halt"


def fill_and(row: Opcode) -> bytes:
    """As many zeros as the call data says, by a loop, so that the compiler does not know the height."""
    loop = "0 CALLDATALOAD loop: DUP1 ISZERO @out JUMPI 1 SWAP1 SUB 0 SWAP1 @loop JUMP out: POP PUSH0 PUSH0 PUSH0 PUSH0"
    return asm(loop) + instruction(row)


@every_row
def test_a_stack_of_1024_words_is_the_limit(row: Opcode, tier: str) -> None:
    code, grows = fill_and(row), row.outputs - row.inputs
    for height in (1022, 1023, 1024):
        ended = run_code(code, FORK, tier, gas=200_000, input=(height - 4).to_bytes(32, "big"))
        if row.mnemonic in ("JUMP", "JUMPI", "STOP", "RETURN", "SELFDESTRUCT"):
            continue
        overflows = height + grows > 1024
        assert ended.reason == ("STACK_OVERFLOW" if overflows else "REVERT" if row.mnemonic == "REVERT" else "STOP")


@pytest.mark.parametrize("pushes", [1023, 1024, 1025])
@pytest.mark.parametrize("push", ["PC", "7", "GAS"])
def test_pushes_in_a_row(push: str, pushes: int, tier: str) -> None:
    assert outcome(asm(f"({push})*{pushes}"), tier) == ("halt" if pushes > 1024 else "success")


@pytest.mark.parametrize("pops", [1024, 1025])
def test_pops_in_a_row(pops: int, tier: str) -> None:
    assert outcome(asm(f"(PC)*1024 (POP)*{pops}"), tier) == ("halt" if pops > 1024 else "success")


@pytest.mark.parametrize("height", [1023, 1024, 1025])
def test_pushes_behind_a_call_overflow_too(height: int, tier: str) -> None:
    code = asm(f"(PC)*{height - 8} 0 0 0 0 0 4 1000 CALL (PC)*7")
    assert outcome(code, tier) == ("halt" if height > 1024 else "success")
