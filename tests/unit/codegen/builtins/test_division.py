"""DIV, MOD, SDIV and SMOD against the reference functions, with every rare branch proved to be reached."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from evmaot.codegen.options import Tier
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.builtins_jit import TIERS, from_native, load_builtins, to_native
from tests.support.long_division import divide
from tests.support.scale import scaled
from tests.support.words import EDGE_WORDS, MIN_SIGNED, MINUS_ONE, WORD_MASK, random_word

NAMES = ("div", "mod", "sdiv", "smod")
PAIRS = scaled(6000)
RARE_BRANCHES = (
    "one limb: over",
    "one limb: correct",
    "two limbs: over",
    "two limbs: correct",
    "3 limbs: equal",
    "3 limbs: equal, carry",
    "3 limbs: add back",
    "4 limbs: add back",
)


def operand_pairs(seed: int, count: int) -> list[tuple[int, int]]:
    """Random pairs, half of them made to hit corner cases of long division."""
    random_ = random.Random(seed)
    pairs = []
    for _ in range(count):
        a, d = random_word(random_), random_word(random_) or 1
        kind = random_.randrange(4)
        if kind == 1:
            # Just below a multiple: the estimate from the leading limbs is one too large.
            a = max(0, d * random_.randint(1, max(1, WORD_MASK // d)) - random_.choice((0, 1, 2)))
        if kind == 2:
            # The leading limbs of the window are those of the divisor: the estimate does not fit a limb.
            a = ((d - 1) << 64 | random_.getrandbits(64)) & WORD_MASK
        pairs.append((a, d))
    return pairs


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_all_pairs_of_edge_words(name: str, tier: Tier) -> None:
    function, reference = load_builtins(tier).word_function(name), PURE_FUNCTIONS[name.upper()]
    for a in EDGE_WORDS:
        for b in EDGE_WORDS:
            assert function(a, b) == reference(a, b), (hex(a), hex(b))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_random_pairs_of_every_length(name: str, tier: Tier) -> None:
    function, reference = load_builtins(tier).word_function(name), PURE_FUNCTIONS[name.upper()]
    for a, b in operand_pairs(seed=1, count=PAIRS):
        assert function(a, b) == reference(a, b), (hex(a), hex(b))


def test_the_pairs_reach_every_rare_branch() -> None:
    events: Counter[str] = Counter()
    for a, b in operand_pairs(seed=1, count=PAIRS):
        divide(events, a, b)
    assert [branch for branch in RARE_BRANCHES if not events[branch]] == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("limbs", [1, 2, 3, 4])
def test_divisors_of_each_number_of_limbs_at_each_shift(limbs: int, tier: Tier) -> None:
    """The divisor is shifted by 0 to 63 bits; both ends are where shifts of limbs go wrong."""
    divide_, modulo = (load_builtins(tier).word_function(name) for name in ("div", "mod"))
    random_ = random.Random(limbs)
    for bits in range(64 * limbs - 63, 64 * limbs + 1):
        d = 1 << (bits - 1) | random_.getrandbits(bits - 1) if bits > 1 else 1
        for a in (d - 1, d, d + 1, MINUS_ONE, MIN_SIGNED, random_.getrandbits(256), random_.getrandbits(bits)):
            a &= WORD_MASK
            assert (divide_(a, d), modulo(a, d)) == divmod(a, d), (hex(a), hex(d))


@pytest.mark.parametrize("prefix", range(256))
def test_every_entry_of_the_reciprocal_table(prefix: int) -> None:
    divide_ = load_builtins(Tier.OPTIMISED).word_function("div")
    low = 256 + prefix << 55
    for d in (low, low + 1, low + (1 << 54), low + (1 << 55) - 1):
        for a in (MINUS_ONE, d * d - 1, (d << 128) - 1, d << 192 | 5):
            assert divide_(a & WORD_MASK, d) == (a & WORD_MASK) // d, (hex(a), hex(d))


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_divisor_gives_zero(name: str) -> None:
    function = load_builtins(Tier.OPTIMISED).word_function(name)
    assert [function(a, 0) for a in EDGE_WORDS] == [0] * len(EDGE_WORDS)


def test_the_smallest_word_divided_by_minus_one_is_itself() -> None:
    builtins = load_builtins(Tier.OPTIMISED)
    assert builtins.word_function("sdiv")(MIN_SIGNED, MINUS_ONE) == MIN_SIGNED
    assert builtins.word_function("smod")(MIN_SIGNED, MINUS_ONE) == 0


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", NAMES)
def test_the_result_may_be_written_over_either_operand(name: str, tier: Tier) -> None:
    function, reference = load_builtins(tier).functions[name], PURE_FUNCTIONS[name.upper()]
    for a, b in operand_pairs(seed=2, count=300):
        first, second = to_native(a), to_native(b)
        function(first, second, first)
        assert (from_native(first), from_native(second)) == (reference(a, b), b)
        first = to_native(a)
        function(first, second, second)
        assert (from_native(first), from_native(second)) == (a, reference(a, b))
        both = to_native(a)
        function(both, both, both)
        assert from_native(both) == reference(a, a)
