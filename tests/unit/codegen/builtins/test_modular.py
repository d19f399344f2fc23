"""ADDMOD and MULMOD against the reference functions: no intermediate is cut to 256 bits."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from evmaot.codegen.options import Tier
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.builtins_jit import TIERS, from_native, load_builtins, to_native
from tests.support.long_division import divide
from tests.support.scale import scaled
from tests.support.words import EDGE_WORDS, MINUS_ONE, WORD_MASK, random_word

NAMES = ("addmod", "mulmod")
TRIPLES = scaled(6000)
BN254_PRIME = 21888242871839275222246405745257275088696311157297823662689037894645226208583
SECP256K1_PRIME = (1 << 256) - (1 << 32) - 977
MODULI = (BN254_PRIME, SECP256K1_PRIME, MINUS_ONE, 1 << 255, (1 << 128) - 1, 1 << 128, 1 << 64, 1, 0)
RARE_BRANCHES = (
    "one limb: correct",
    "two limbs: correct",
    "3 limbs: equal",
    "3 limbs: equal, carry",
    "3 limbs: add back",
    "4 limbs: equal",
    "4 limbs: equal, carry",
    "4 limbs: add back",
)


def operand_triples(seed: int, count: int) -> list[tuple[int, int, int]]:
    """Random triples, half of them made to hit corner cases of long division."""
    random_ = random.Random(seed)
    triples = []
    for _ in range(count):
        a, b, n = (random_word(random_) for _ in range(3))
        kind = random_.randrange(4)
        if kind == 1 and n > 1 and math.gcd(a, n) == 1:
            # a * b = -1 (mod n): the product is just below a multiple.
            b = pow(-a, -1, n)
            b += n * random_.randint(0, (WORD_MASK - b) // n)
        if kind == 2 and n > 1:
            # The product's leading limbs are the modulus' own.
            a, b = n - random_.randint(1, min(n - 1, 1 << 64)), 1 << 64 * random_.randint(1, 3)
        triples.append((a, b, n))
    return triples


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_random_triples_of_every_length(name: str, tier: Tier) -> None:
    function, reference = load_builtins(tier).word_function(name), PURE_FUNCTIONS[name.upper()]
    for a, b, n in operand_triples(seed=1, count=TRIPLES):
        assert function(a, b, n) == reference(a, b, n), (hex(a), hex(b), hex(n))


def test_the_triples_reach_every_rare_branch() -> None:
    events: Counter[str] = Counter()
    for a, b, n in operand_triples(seed=1, count=TRIPLES):
        # Only products of more than 256 bits go through the helper's own loop.
        if n and a * b > WORD_MASK and n != MINUS_ONE:
            divide(events, a * b, n)
    assert [branch for branch in RARE_BRANCHES if not events[branch]] == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modulus", MODULI)
def test_edge_words_by_moduli_that_contracts_use(name: str, modulus: int, tier: Tier) -> None:
    function, reference = load_builtins(tier).word_function(name), PURE_FUNCTIONS[name.upper()]
    for a in EDGE_WORDS:
        for b in EDGE_WORDS[::3]:
            assert function(a, b, modulus) == reference(a, b, modulus), (hex(a), hex(b))


@pytest.mark.parametrize("name", NAMES)
def test_edge_moduli(name: str) -> None:
    function, reference = load_builtins(Tier.OPTIMISED).word_function(name), PURE_FUNCTIONS[name.upper()]
    for modulus in EDGE_WORDS:
        for a in EDGE_WORDS[::2]:
            for b in (MINUS_ONE, modulus, a, max(modulus - 1, 0)):
                assert function(a, b, modulus) == reference(a, b, modulus), (hex(a), hex(b), hex(modulus))


def test_a_sum_of_257_bits_is_not_cut() -> None:
    assert load_builtins(Tier.OPTIMISED).word_function("addmod")(MINUS_ONE, MINUS_ONE, 7) == (2 * MINUS_ONE) % 7


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_result_may_be_written_over_any_operand(name: str, place: int, tier: Tier) -> None:
    function, reference = load_builtins(tier).functions[name], PURE_FUNCTIONS[name.upper()]
    for triple in operand_triples(seed=2, count=300):
        words = [to_native(value) for value in triple]
        function(*words, words[place])
        expected = list(triple)
        expected[place] = reference(*triple)
        assert [from_native(word) for word in words] == expected
