"""MUL, SIGNEXTEND, BYTE and shifts as helpers against the reference functions."""

from __future__ import annotations

import random

import pytest

from evmaot.codegen.options import Tier
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.builtins_jit import TIERS, from_native, load_builtins, to_native
from tests.support.scale import scaled
from tests.support.words import EDGE_WORDS, random_word

NAMES = ("mul", "signextend", "byte", "shl", "shr", "sar")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_count_and_edge_word(name: str, tier: Tier) -> None:
    function, reference = load_builtins(tier).word_function(name), PURE_FUNCTIONS[name.upper()]
    for count in (*range(260), *EDGE_WORDS):
        for value in EDGE_WORDS:
            assert function(count, value) == reference(count, value), (hex(count), hex(value))


@pytest.mark.parametrize("name", NAMES)
def test_random_words(name: str) -> None:
    function, reference = load_builtins(Tier.OPTIMISED).word_function(name), PURE_FUNCTIONS[name.upper()]
    random_ = random.Random(1)
    for _ in range(scaled(2000)):
        a, b = random_word(random_), random_word(random_)
        assert function(a, b) == reference(a, b), (hex(a), hex(b))


@pytest.mark.parametrize("name", NAMES)
def test_the_result_may_replace_an_operand(name: str) -> None:
    call, reference = load_builtins(Tier.OPTIMISED).functions[name], PURE_FUNCTIONS[name.upper()]
    for position in (0, 1):
        operands = [to_native(5), to_native((1 << 255) + 0x8FF7)]
        call(*operands, operands[position])
        assert from_native(operands[position]) == reference(5, (1 << 255) + 0x8FF7)
