"""Each opcode whose result depends on its operands alone, against Python integers, in both tiers.

Operands come as the compiler meets them: unknown (call data), constants, one of each, the same word
twice, flags and small numbers.  One program holds all opcodes for one way; it is run for many operands.
"""

from __future__ import annotations

import itertools
import random
from functools import cache

import pytest

from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.assembler import asm
from tests.support.native import run_code
from tests.support.words import EDGE_WORDS, WORD_MASK, random_word

FORK = "osaka"
NAMES = tuple(sorted(PURE_FUNCTIONS))
OPERANDS = 3
SHORT = (0, 1, 2, 7, 8, 30, 31, 32, 33, 63, 64, 127, 128, 129, 248, 255, 256, 257, (1 << 64) + 1, WORD_MASK)
"""Counts, indexes and exponents."""


def expected(name: str, words: tuple[int, ...]) -> int:
    return PURE_FUNCTIONS[name](*words[: BY_MNEMONIC[name].inputs])


@cache
def cases() -> tuple[tuple[int, int, int], ...]:
    random_ = random.Random(4)
    found = [(a, b, c) for a, b in itertools.product(SHORT, (0, 1, WORD_MASK, 1 << 255, 0x80FF)) for c in (0, 7)]
    for _ in range(250):
        words = [random_.choice(EDGE_WORDS) if random_.random() < 0.5 else random_word(random_) for _ in range(3)]
        words[0] = random_.choice(SHORT) if random_.random() < 0.3 else words[0]
        found.append((words[0], words[1], words[2]))
    return tuple(found)


def calldata(words: tuple[int, ...]) -> bytes:
    return b"".join(word.to_bytes(32, "big") for word in words)


def operands(name: str, form: str, words: tuple[int, int, int]) -> str:
    """Code that pushes the operands, the last one first."""
    parts = []
    for index in reversed(range(BY_MNEMONIC[name].inputs)):
        constant = {"top constant": index == 0, "rest constant": index > 0, "second constant": index == 1}.get(form)
        parts.append(f"PUSH32={words[index]}" if constant else f"{32 * index} CALLDATALOAD")
    return " ".join(parts)


def results(code: bytes, tier: str, words: tuple[int, ...], count: int) -> list[int]:
    ended = run_code(code, FORK, tier, input=calldata(words))
    assert ended.outcome == "success", ended.reason
    assert len(ended.output) == 32 * count
    return [int.from_bytes(ended.output[place : place + 32], "big") for place in range(0, 32 * count, 32)]


def test_unknown_operands(tier: str) -> None:
    code = asm(
        " ".join(f"{operands(name, 'unknown', (0, 0, 0))} {name} {32 * n} MSTORE" for n, name in enumerate(NAMES))
        + f" {32 * len(NAMES)} 0 RETURN"
    )
    for words in cases():
        found = results(code, tier, words, len(NAMES))
        assert dict(zip(NAMES, found, strict=True)) == {name: expected(name, words) for name in NAMES}, words


@pytest.mark.parametrize("form", ["top constant", "rest constant", "second constant"])
@pytest.mark.parametrize("name", [name for name in NAMES if BY_MNEMONIC[name].inputs > 1])
def test_a_constant_among_unknown_operands(name: str, form: str, tier: str) -> None:
    random_ = random.Random(f"{name} {form}")
    chosen = random_.sample(cases(), 24)
    constants = chosen[:12]
    code = asm(
        " ".join(f"{operands(name, form, words)} {name} {32 * n} MSTORE" for n, words in enumerate(constants))
        + f" {32 * len(constants)} 0 RETURN"
    )
    for given in chosen[12:]:
        mixed = [
            tuple(
                word if {"top constant": index == 0, "rest constant": index > 0, "second constant": index == 1}[form]
                else given[index]
                for index, word in enumerate(words)
            )
            for words in constants
        ]  # fmt: skip
        assert results(code, tier, given, len(constants)) == [expected(name, words) for words in mixed]


def test_constant_operands_are_folded_right(tier: str) -> None:
    random_ = random.Random(9)
    rows = [(name, words) for name in NAMES for words in random_.sample(cases(), 6)]
    pushes = (
        " ".join(f"PUSH32={word}" for word in reversed(words[: BY_MNEMONIC[name].inputs])) for name, words in rows
    )
    code = asm(
        " ".join(f"{push} {name} {32 * n} MSTORE" for n, (push, (name, _)) in enumerate(zip(pushes, rows, strict=True)))
        + f" {32 * len(rows)} 0 RETURN"
    )
    assert results(code, tier, (), len(rows)) == [expected(name, words) for name, words in rows]


def test_one_word_as_every_operand(tier: str) -> None:
    code = asm(
        " ".join(
            f"0 CALLDATALOAD {'DUP1 ' * (BY_MNEMONIC[name].inputs - 1)} {name} {32 * n} MSTORE"
            for n, name in enumerate(NAMES)
        )
        + f" {32 * len(NAMES)} 0 RETURN"
    )
    for word in (*EDGE_WORDS, 5, 31, 255, 256):
        assert results(code, tier, (word,), len(NAMES)) == [expected(name, (word,) * OPERANDS) for name in NAMES], word


KINDS = {
    "unknown": "0 CALLDATALOAD",
    "flag": "0 CALLDATALOAD ISZERO",
    "no flag": "0 CALLDATALOAD ISZERO ISZERO",
    "size": "CALLDATASIZE",
    "byte": "0 CALLDATALOAD 31 BYTE",
    "one": "1",
    "wide": f"PUSH32={WORD_MASK}",
}
"""Words that the compiler keeps as something narrower, and how they are made."""


def kind_value(kind: str, word: int) -> int:
    return {
        "unknown": word,
        "flag": int(word == 0),
        "no flag": int(word != 0),
        "size": 32,
        "byte": word & 0xFF,
        "one": 1,
        "wide": WORD_MASK,
    }[kind]


@pytest.mark.parametrize("name", [name for name in NAMES if BY_MNEMONIC[name].inputs == 2])
def test_flags_and_small_numbers_as_operands(name: str, tier: str) -> None:
    pairs = list(itertools.product(KINDS, KINDS))
    code = asm(
        " ".join(f"{KINDS[b]} {KINDS[a]} {name} {32 * n} MSTORE" for n, (a, b) in enumerate(pairs))
        + f" {32 * len(pairs)} 0 RETURN"
    )
    for word in (0, 1, 2, 31, 0x80, WORD_MASK, 1 << 255):
        found = results(code, tier, (word,), len(pairs))
        assert found == [expected(name, (kind_value(a, word), kind_value(b, word))) for a, b in pairs], word


def test_a_result_that_a_helper_wrote_is_an_operand(tier: str) -> None:
    """Helpers write their results to the stack's memory, where the next helper reads them."""
    code = asm(
        "32 CALLDATALOAD 0 CALLDATALOAD DIV DUP1 64 CALLDATALOAD MOD DUP2 DUP2 SDIV DUP3 DUP3 DUP3 MULMOD"
        " DUP4 SWAP1 ADDMOD SWAP1 SMOD 0 MSTORE 32 MSTORE 64 0 RETURN"
    )
    pure = PURE_FUNCTIONS
    for a, b, c in cases():
        quotient = pure["DIV"](a, b)
        rest = pure["MOD"](c, quotient)
        signed = pure["SDIV"](rest, quotient)
        product = pure["MULMOD"](signed, rest, quotient)
        total = pure["ADDMOD"](product, quotient, signed)
        assert results(code, tier, (a, b, c), 2) == [pure["SMOD"](rest, total), quotient], (a, b, c)
