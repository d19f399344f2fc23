"""Offsets and sizes of every magnitude for everything that touches memory, against EELS.

Gas is plenty or as much as there can be: then only memory that nobody could pay for is left out.
"""

from __future__ import annotations

import pytest

from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import Call, world_of

FORK = "osaka"
MOST_GAS = (1 << 63) - 1
EDGES = (
    0, 1, 31, 32, 33, 1 << 16, 1 << 20, (1 << 32) - 1, 1 << 32, (1 << 42) - 32, (1 << 42) - 1, 1 << 42, (1 << 42) + 1,
    (1 << 62) - 1, 1 << 62, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 33, (1 << 64) - 32,
    (1 << 64) - 31, (1 << 64) - 1, 1 << 64, (1 << 64) + 5, 1 << 128, 1 << 255, (1 << 256) - 32, (1 << 256) - 1,
)  # fmt: skip
SIZES = (0, 1, 33, 1 << 42, (1 << 64) - 1, 1 << 64, (1 << 256) - 1)
BUYABLE_BYTES = 1 << 21
"""More than this EELS would allocate for minutes, with enough gas."""
UNPAYABLE_BYTES = 1 << 43

WORDS = ["7 X MSTORE", "7 X MSTORE8", "X MLOAD POP"]
_O, _L = "0 CALLDATALOAD", "32 CALLDATALOAD"
RANGES = {
    "KECCAK256": f"{_L} {_O} KECCAK256 0 MSTORE",
    "LOG0": f"{_L} {_O} LOG0",
    "LOG2": f"1 2 {_L} {_O} LOG2",
    "RETURN": f"{_L} {_O} RETURN",
    "REVERT": f"{_L} {_O} REVERT",
    "CALLDATACOPY to": f"{_L} 0 {_O} CALLDATACOPY",
    "CALLDATACOPY from": f"{_L} {_O} 0 CALLDATACOPY",
    "CODECOPY to": f"{_L} 3 {_O} CODECOPY",
    "CODECOPY from": f"{_L} {_O} 7 CODECOPY",
    "MCOPY to": f"{_L} 3 {_O} MCOPY",
    "MCOPY from": f"{_L} {_O} 3 MCOPY",
    "RETURNDATACOPY to": f"{_L} 0 {_O} RETURNDATACOPY",
    "RETURNDATACOPY from": f"{_L} {_O} 3 RETURNDATACOPY",
    "EXTCODECOPY to": f"{_L} 0 {_O} 4 EXTCODECOPY",
    "EXTCODECOPY from": f"{_L} {_O} 3 4 EXTCODECOPY",
    "CREATE": f"{_L} {_O} 0 CREATE 0 MSTORE",
    "CREATE2": f"3 {_L} {_O} 0 CREATE2 0 MSTORE",
    "CALL input": f"0 0 {_L} {_O} 0 4 9000 CALL 0 MSTORE",
    "CALL output": f"{_L} {_O} 0 0 0 4 9000 CALL 0 MSTORE",
    "CALLCODE input": f"0 0 {_L} {_O} 0 4 9000 CALLCODE 0 MSTORE",
    "STATICCALL output": f"{_L} {_O} 0 0 4 9000 STATICCALL 0 MSTORE",
    "DELEGATECALL input": f"3 9 {_L} {_O} 4 9000 DELEGATECALL 0 MSTORE",
}


def gases(offset: int, size: int) -> list[int]:
    """Gas to try: not so much that EELS really gets the memory."""
    end = offset + size if size else 0
    return [10_000_000] if BUYABLE_BYTES < end < UNPAYABLE_BYTES else [10_000_000, MOST_GAS]


def check(text: str, gas: int, *words: int) -> None:
    """In both tiers: EELS is what takes the time."""
    assert_same(Call(world_of(asm(text)), gas=gas, input=b"".join(word.to_bytes(32, "big") for word in words)), FORK)


@pytest.mark.parametrize("text", WORDS)
def test_words_at_every_offset(text: str) -> None:
    for offset in EDGES:
        for gas in gases(offset, 32):
            check(text.replace("X", "0 CALLDATALOAD") + " MSIZE 0 MSTORE 32 0 RETURN", gas, offset)


@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize("offset", EDGES)
def test_words_at_every_constant_offset(offset: int, text: str) -> None:
    for gas in gases(offset, 32):
        check(text.replace("X", str(offset)) + " MSIZE 0 MSTORE 32 0 RETURN", gas)


@pytest.mark.parametrize("text", RANGES.values(), ids=RANGES)
def test_ranges_at_every_offset_and_of_every_size(text: str) -> None:
    for size in SIZES:
        for offset in EDGES[::2] if size > 33 else EDGES:
            for gas in gases(offset, size):
                check(text + " MSIZE 32 MSTORE 64 0 RETURN", gas, offset, size)


@pytest.mark.parametrize(
    "text",
    [
        "GAS MLOAD", "1 GAS MSTORE", "1 GAS MSTORE8", "GAS GAS KECCAK256", "GAS GAS LOG0", "GAS JUMP",
        "GAS CALLDATALOAD 0 MSTORE 32 0 RETURN", "GAS BLOCKHASH 0 MSTORE GAS BLOBHASH 32 MSTORE 64 0 RETURN",
    ],
)  # fmt: skip
def test_gas_itself_as_an_operand(text: str) -> None:
    """The largest number that the compiler keeps in 64 bits."""
    check(text, MOST_GAS)


def test_memory_that_was_paid_for_is_not_paid_again() -> None:
    check("1 0 MSTORE 2 32 MSTORE 0 MLOAD 32 MLOAD 1 MLOAD 33 MLOAD 64 MLOAD GAS 0 MSTORE MSIZE 0 RETURN", 50_000)


def test_memory_paid_on_one_path_is_paid_on_the_other() -> None:
    text = "0 CALLDATALOAD @a JUMPI 1 96 MSTORE a: 2 96 MSTORE 3 64 MSTORE GAS 0 MSTORE MSIZE 0 RETURN"
    for flag in (0, 1):
        check(text, 50_000, flag)


def test_the_output_of_a_call_goes_where_memory_was_grown_before() -> None:
    """Memory may move or grow while the frame is suspended; what was known of it is loaded again."""
    text = "42 0 MSTORE 40 100 32 0 0 4 30000 CALL 132 MLOAD 100 MLOAD 0 MSTORE 32 MSTORE MSIZE 0 RETURN"
    check(text, 100_000)
