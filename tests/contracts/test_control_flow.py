"""Jumps, calls of internal functions, long runs and ends of code, against EELS in both tiers."""

from __future__ import annotations

import pytest

from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import Call, world_of

OUT = " 0 MSTORE MSIZE 0 RETURN"


def check(text: str, tier: str, *words: int, fork: str = "osaka", gas: int = 200_000) -> str:
    call = Call(world_of(asm(text)), gas=gas, input=b"".join(word.to_bytes(32, "big") for word in words))
    return assert_same(call, fork, (tier,)).outcome


@pytest.mark.parametrize("depth", [1, 20, 100, 300])
def test_recursion(depth: int, tier: str) -> None:
    """Deeper than what the analysis of jump targets follows."""
    text = (
        f"@end {depth} @f JUMP f: DUP1 ISZERO @base JUMPI @r DUP2 1 SWAP1 SUB @f JUMP"
        " r: MUL SWAP1 JUMP base: POP 1 SWAP1 JUMP end:"
    )
    assert check(text + OUT, tier) == "success"


@pytest.mark.parametrize("number", [8, 9])
def test_mutual_recursion(number: int, tier: str) -> None:
    text = (
        f"@end {number} @even JUMP even: DUP1 ISZERO @yes JUMPI 1 SWAP1 SUB @odd JUMP"
        " odd: DUP1 ISZERO @no JUMPI 1 SWAP1 SUB @even JUMP yes: POP 1 SWAP1 JUMP no: POP 7 SWAP1 JUMP end:"
    )
    assert check(text + OUT, tier) == "success"


@pytest.mark.parametrize("calls", [1, 7, 8, 9, 20, 63, 64, 65, 130])
def test_a_function_called_from_many_places(calls: int, tier: str) -> None:
    """Returns to few places are a switch, to many a table; some of them are in other regions."""
    body = "".join(f" @r{i} {i} @f JUMP r{i}: {'PC POP ' * 40 if i % 3 == 0 else ''} ADD" for i in range(calls))
    assert check(f"0 {body} {OUT} f: 3 MUL SWAP1 JUMP", tier) == "success"
    assert check(f"@go JUMP f: 3 MUL @g JUMP g: 1 ADD SWAP1 JUMP go: 0 {body} {OUT}", tier) == "success"


@pytest.mark.parametrize("chosen", [0, 5, 9, 10])
def test_a_jump_table_in_memory(chosen: int, tier: str) -> None:
    stores = "".join(f"@t{i} {32 * i} MSTORE " for i in range(10))
    arms = " ".join(f"t{i}: {i} 0 MSTORE 32 0 RETURN" for i in range(10))
    assert check(f"{stores} 0 CALLDATALOAD 32 MUL MLOAD JUMP {arms}", tier, chosen) == (
        "success" if chosen < 10 else "halt"
    )


@pytest.mark.parametrize("condition", [0, 1])
@pytest.mark.parametrize("other", ["@b", "1", "PUSH32=0x1000000000000000000000000000000000000000000000000"])
def test_one_of_two_targets(other: str, condition: int, tier: str) -> None:
    """One of them may be no JUMPDEST: only taking it halts."""
    text = f"@a {other} 0 CALLDATALOAD @c JUMPI SWAP1 c: JUMP a: 1 0 MSTORE 32 0 RETURN b: 2 0 MSTORE 32 0 RETURN"
    check(text, tier, condition)


TARGETS = (0, 1, 2, 3, 4, 5, 6, 7, (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 64) + 4, (1 << 256) - 1)


def test_a_target_from_call_data(tier: str) -> None:
    for target in TARGETS:
        check("0 CALLDATALOAD JUMP a: STOP", tier, target)
        check("1 0 CALLDATALOAD JUMPI STOP a: 1 0 MSTORE 32 0 RETURN", tier, target)


@pytest.mark.parametrize(
    "text",
    [
        "4 JUMP x605b STOP", "5 JUMP x615b5b STOP", "3 JUMP x7f5b", "0 JUMP", "1 JUMP", "99 JUMP",
        "PUSH9=0x10000000000000003 JUMP a: STOP", "1 99 JUMPI", "0 99 JUMPI 5 0 MSTORE 32 0 RETURN", "0 0 JUMPI",
        "PUSH1=5 JUMP INVALID INVALID a: STOP", "x5b 0 JUMP", "a: GAS 60000 LT @a JUMPI 1 0 MSTORE 32 0 RETURN",
    ],
)  # fmt: skip
def test_odd_targets(text: str, tier: str) -> None:
    check(text, tier, gas=70_000)


ENDS = (
    "", "STOP", "JUMPDEST", "JUMPDEST STOP", "x5b5b5b", "CALLER", "1 JUMPI", "1 1 JUMPI", "0 0 JUMPI", "0 @a JUMPI a:",
    "1 @a JUMPI a:", "@a JUMP STOP a:", "0 0 0 0 0 4 9999 CALL", "0 0 0 0 0 4 9999 CALL JUMPDEST", "0 0 0 CREATE",
    "0 0 0 CREATE JUMPDEST STOP", "0 0 RETURN", "0 0 RETURN JUMPDEST", "INVALID", "x0c", "x0c 1 a: STOP",
    "@a JUMP x0c a:", "x60", "x7f", "x61ff", "x7f01", "x5f", "GAS", "0 SELFDESTRUCT", "xfe", "xef", "x5c", "1 2 x0c 3",
)  # fmt: skip


@pytest.mark.parametrize("fork", ["frontier", "byzantium", "berlin", "osaka"])
@pytest.mark.parametrize("text", ENDS)
def test_ends_of_code(text: str, fork: str, tier: str) -> None:
    """Empty code, a JUMPDEST first, a JUMPI or a call last, truncated pushes, undefined opcodes."""
    check(text, tier, fork=fork)


@pytest.mark.parametrize("length", [254, 255, 256, 257, 299, 300, 301, 600])
@pytest.mark.parametrize(
    "end",
    [
        "", "@x JUMP x:", "0 CALLDATALOAD @x JUMPI 5 ADD x:", "0 0 0 0 0 4 9000 CALL ADD", "GAS GAS GAS POP POP POP",
        "x0c", "JUMPDEST JUMPDEST", "0 SLOAD ADD", "1 0 SSTORE GAS 7 SSTORE",
    ],
)  # fmt: skip
def test_runs_as_long_as_blocks_and_chains(end: str, length: int, tier: str) -> None:
    check(f"0 {'1 ADD ' * (length // 2)} {'CALLER POP ' * (length % 2)} {end} {OUT}", tier)


def test_many_side_exits_of_one_run(tier: str) -> None:
    for flag in (0, 1):
        check("0 " + "1 ADD GAS POP 0 CALLDATALOAD @x JUMPI " * 90 + " x:" + OUT, tier, flag)


@pytest.mark.parametrize("words", [0, 3, 7, 8, 9, 12, 20])
def test_words_that_a_loop_keeps_on_the_stack(words: int, tier: str) -> None:
    """Chains get the words they need from each other, up to a number, and the rest through memory."""
    pushes = " ".join(f"{i} CALLDATALOAD" for i in range(words))
    rotate = f"SWAP{words} " if 0 < words <= 16 else ""
    body = f"5 loop: {rotate} DUP1 3 AND @odd JUMPI CALLER XOR @next JUMP odd: NOT next: {rotate}"
    text = f"{pushes} {body} 1 SWAP1 SUB DUP1 7 AND @loop JUMPI"
    check(text + "".join(f" {32 * i} MSTORE" for i in range(words)) + " MSIZE 0 RETURN", tier, 9, 1 << 200)


def test_different_heights_meet_at_one_place(tier: str) -> None:
    for flag in (0, 1):
        check("1 2 3 0 CALLDATALOAD @a JUMPI 4 5 a: ADD ADD" + OUT, tier, flag)
        assert check("1 0 CALLDATALOAD @a JUMPI 4 5 a: ADD ADD" + OUT, tier, flag) == ("halt" if flag else "success")
