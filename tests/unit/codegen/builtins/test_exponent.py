"""EXP against the reference function."""

from __future__ import annotations

import random

import pytest

from evmaot.codegen.options import Tier
from evmaot.evm.semantics import exp
from tests.support.builtins_jit import TIERS, from_native, load_builtins, to_native
from tests.support.scale import scaled
from tests.support.words import EDGE_WORDS, random_word


@pytest.mark.parametrize("tier", TIERS)
def test_all_pairs_of_edge_words(tier: Tier) -> None:
    function = load_builtins(tier).word_function("exp")
    for base in EDGE_WORDS:
        for exponent in EDGE_WORDS:
            assert function(base, exponent) == exp(base, exponent), (hex(base), hex(exponent))


@pytest.mark.parametrize("tier", TIERS)
def test_random_pairs(tier: Tier) -> None:
    function, random_ = load_builtins(tier).word_function("exp"), random.Random(1)
    for _ in range(scaled(1500)):
        base, exponent = random_word(random_), random_word(random_)
        assert function(base, exponent) == exp(base, exponent), (hex(base), hex(exponent))


@pytest.mark.parametrize("tier", TIERS)
def test_every_power_of_two_as_a_base(tier: Tier) -> None:
    """Done by a shift, whose count must not wrap or reach 256."""
    function = load_builtins(tier).word_function("exp")
    for bit in range(256):
        last = 255 // bit if bit else 300
        for exponent in (0, 1, 2, last, last + 1, 255, 256, 257, 1 << 64, (1 << 64) + 1, 1 << 255):
            assert function(1 << bit, exponent) == exp(1 << bit, exponent), (bit, exponent)


def test_small_exponents_of_ten_and_of_bytes() -> None:
    function = load_builtins(Tier.OPTIMISED).word_function("exp")
    for base in (10, 0x100):
        for exponent in range(100):
            assert function(base, exponent) == exp(base, exponent)


def test_zero_to_the_power_of_zero_is_one() -> None:
    assert load_builtins(Tier.OPTIMISED).word_function("exp")(0, 0) == 1


@pytest.mark.parametrize("place", [0, 1])
def test_the_result_may_be_written_over_an_operand(place: int) -> None:
    function, random_ = load_builtins(Tier.OPTIMISED).functions["exp"], random.Random(2)
    for _ in range(scaled(300)):
        pair = [random_word(random_), random_word(random_)]
        words = [to_native(value) for value in pair]
        function(*words, words[place])
        expected = list(pair)
        expected[place] = exp(*pair)
        assert [from_native(word) for word in words] == expected


@pytest.mark.parametrize("tier", TIERS)
def test_gas_of_an_exponent_counts_its_bytes_and_may_be_negative(tier: Tier) -> None:
    call = load_builtins(tier).functions["exponent_gas"]
    for exponent in (0, 1, 255, 256, *EDGE_WORDS):
        expected = 1000 - 50 * ((exponent.bit_length() + 7) // 8)
        assert call(1000, to_native(exponent), 50) == expected % (1 << 64), hex(exponent)
