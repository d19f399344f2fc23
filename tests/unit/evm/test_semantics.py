"""The reference functions, each against a second formulation or the vectors of its EIP."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.evm.semantics import MAX_WORD, MODULUS, PURE_FUNCTIONS, SIGN_BIT, to_signed, to_word
from tests.support.scale import scaled
from tests.support.words import EDGE_WORDS, random_word

MIN = SIGN_BIT
ONES = MAX_WORD


def big_endian(word: int) -> bytes:
    """The word's 32 bytes, most significant first."""
    return word.to_bytes(32, "big")


def signed(word: int) -> int:
    """Python's own two's complement."""
    return int.from_bytes(big_endian(word), "big", signed=True)


def word_of(value: int) -> int:
    """The same backwards."""
    return int.from_bytes((value % MODULUS).to_bytes(32, "big"), "big")


def truncated(a: int, b: int) -> int:
    """Exact quotient toward zero."""
    return math.trunc(Fraction(signed(a), signed(b)))


def sign_extended(size: int, value: int) -> int:
    """By bytes."""
    if size >= 32:
        return value
    return word_of(int.from_bytes(big_endian(value)[31 - size :], "big", signed=True))


def bits(word: int) -> str:
    """256 binary digits."""
    return format(word, "0256b")


SECOND_FORMULATIONS: dict[str, Callable[..., int]] = {
    "ADD": lambda a, b: (a + b) % MODULUS,
    "MUL": lambda a, b: (a * b) % MODULUS,
    "SUB": lambda a, b: (a + MODULUS - b) % MODULUS,
    "DIV": lambda a, b: math.floor(Fraction(a, b)) if b else 0,
    "SDIV": lambda a, b: word_of(truncated(a, b)) if b else 0,
    "MOD": lambda a, b: a - b * math.floor(Fraction(a, b)) if b else 0,
    "SMOD": lambda a, b: word_of(signed(a) - signed(b) * truncated(a, b)) if b else 0,
    "SIGNEXTEND": sign_extended,
    "LT": lambda a, b: int(big_endian(a) < big_endian(b)),
    "GT": lambda a, b: int(big_endian(a) > big_endian(b)),
    "SLT": lambda a, b: int(signed(a) < signed(b)),
    "SGT": lambda a, b: int(signed(a) > signed(b)),
    "EQ": lambda a, b: int(big_endian(a) == big_endian(b)),
    "AND": lambda a, b: int("".join("01"[x == y == "1"] for x, y in zip(bits(a), bits(b), strict=True)), 2),
    "OR": lambda a, b: int("".join("01"["1" in (x, y)] for x, y in zip(bits(a), bits(b), strict=True)), 2),
    "XOR": lambda a, b: int("".join("01"[x != y] for x, y in zip(bits(a), bits(b), strict=True)), 2),
    "BYTE": lambda i, x: big_endian(x)[i] if i < 32 else 0,
    "SHL": lambda s, x: int((bits(x) + "0" * s)[-256:], 2) if s < 256 else 0,
    "SHR": lambda s, x: int(("0" * s + bits(x))[:256], 2) if s < 256 else 0,
    "SAR": lambda s, x: int((bits(x)[0] * min(s, 256) + bits(x))[:256], 2),
}


@pytest.mark.parametrize("name", sorted(SECOND_FORMULATIONS))
def test_two_operands_against_a_second_formulation(name: str) -> None:
    function, second, random_ = PURE_FUNCTIONS[name], SECOND_FORMULATIONS[name], random.Random(1)
    pairs = [(a, b) for a in EDGE_WORDS for b in EDGE_WORDS]
    pairs += [(random_.randrange(260), random_word(random_)) for _ in range(scaled(500))]
    pairs += [(random_word(random_), random_word(random_)) for _ in range(scaled(500))]
    for a, b in pairs:
        assert function(a, b) == second(a, b), (hex(a), hex(b))


def test_every_result_is_a_word() -> None:
    random_ = random.Random(2)
    for name, function in PURE_FUNCTIONS.items():
        inputs = BY_MNEMONIC[name].inputs
        for _ in range(scaled(300)):
            operands = [random_word(random_) for _ in range(inputs)]
            assert 0 <= function(*operands) < MODULUS, (name, operands)


def test_the_pure_opcodes_are_the_arithmetic_comparison_and_bitwise_ones() -> None:
    expected = {name for name, row in BY_MNEMONIC.items() if 0x01 <= row.value <= 0x1E}
    assert set(PURE_FUNCTIONS) == expected


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("SUB", (1, 2), ONES),
        ("DIV", (5, 0), 0),
        ("SDIV", (MIN, ONES), MIN),
        ("SDIV", (to_word(-7), 2), to_word(-3)),
        ("SMOD", (to_word(-8), 3), to_word(-2)),
        ("SMOD", (8, to_word(-3)), 2),
        ("ADDMOD", (ONES, ONES, 7), (2 * ONES) % 7),
        ("ADDMOD", (ONES, 1, ONES), 1),
        ("ADDMOD", (3, 4, 0), 0),
        ("MULMOD", (ONES, ONES, 12), 9),
        ("MULMOD", (ONES, ONES, 0), 0),
        ("EXP", (0, 0), 1),
        ("EXP", (2, 256), 0),
        ("EXP", (3, ONES), pow(3, -1, MODULUS)),
        ("SIGNEXTEND", (0, 0x7F), 0x7F),
        ("SIGNEXTEND", (0, 0xFF), ONES),
        ("SIGNEXTEND", (1, 0x12_80_FF), to_word(-0x7F01)),
        ("SIGNEXTEND", (31, MIN), MIN),
        ("SIGNEXTEND", (ONES, 0xFF), 0xFF),
        ("ISZERO", (0,), 1),
        ("ISZERO", (MIN,), 0),
        ("NOT", (0,), ONES),
        ("BYTE", (31, 0xFF00), 0),
        ("BYTE", (30, 0xFF00), 0xFF),
        ("BYTE", (1 << 64, ONES), 0),
    ],
)
def test_examples(name: str, operands: tuple[int, ...], expected: int) -> None:
    assert PURE_FUNCTIONS[name](*operands) == expected


@pytest.mark.parametrize(
    ("name", "value", "shift", "expected"),
    [
        ("SHL", 1, 0, 1),
        ("SHL", 1, 0xFF, MIN),
        ("SHL", 1, 0x100, 0),
        ("SHL", 1, 0x101, 0),
        ("SHL", ONES, 1, ONES - 1),
        ("SHL", ONES >> 1, 1, ONES - 1),
        ("SHR", 1, 1, 0),
        ("SHR", MIN, 0xFF, 1),
        ("SHR", MIN, 0x100, 0),
        ("SHR", ONES, 0xFF, 1),
        ("SAR", MIN, 1, MIN | MIN >> 1),
        ("SAR", MIN, 0xFF, ONES),
        ("SAR", MIN, 0x100, ONES),
        ("SAR", ONES, 0x101, ONES),
        ("SAR", 1 << 254, 0xFE, 1),
        ("SAR", ONES >> 1, 0xF8, 0x7F),
        ("SAR", ONES >> 1, 0x100, 0),
    ],
)
def test_vectors_of_eip_145(name: str, value: int, shift: int, expected: int) -> None:
    assert PURE_FUNCTIONS[name](shift, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 256), (MIN, 0), (ONES, 0), (1 << 254, 1), (ONES >> 1, 1), (1, 255)]
)
def test_vectors_of_eip_7939(value: int, expected: int) -> None:
    assert PURE_FUNCTIONS["CLZ"](value) == expected


def test_exp_by_repeated_multiplication() -> None:
    for base in EDGE_WORDS:
        product = 1
        for exponent in range(12):
            assert PURE_FUNCTIONS["EXP"](base, exponent) == product
            product = product * base % MODULUS


def test_signed_and_unsigned_forms_are_inverse() -> None:
    for word in EDGE_WORDS:
        assert to_signed(word) == signed(word)
        assert to_word(to_signed(word)) == word
