"""Words worth testing: edges of limbs and signs, and random ones of every length."""

from __future__ import annotations

import random

WORD_MASK = (1 << 256) - 1
MIN_SIGNED = 1 << 255
MINUS_ONE = WORD_MASK

EDGE_WORDS: tuple[int, ...] = tuple(
    sorted(
        {0, 1, 2, 3, 10, MIN_SIGNED, MINUS_ONE, MINUS_ONE - 1, MIN_SIGNED + 1, MIN_SIGNED - 1}
        | {(1 << bits) + delta for bits in (8, 32, 63, 64, 65, 127, 128, 129, 191, 192, 193) for delta in (-1, 0, 1)}
        | {-(1 << bits) & WORD_MASK for bits in (32, 64, 128, 192)}
        | {(1 << 256) - (1 << 64) - 1, (1 << 192) | 1, (1 << 255) | (1 << 128)}
    )
)
_EDGE_LIMBS = (0, 1, 2, 3, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 2, (1 << 64) - 1)


def random_word(random_: random.Random) -> int:
    """A word of a random bit length, or of edge limbs, or near a power of two."""
    kind = random_.randrange(3)
    if kind == 0:
        return random_.getrandbits(random_.randint(1, 256))
    if kind == 1:
        return sum(random_.choice(_EDGE_LIMBS) << (64 * index) for index in range(random_.randint(1, 4)))
    return ((1 << random_.randint(0, 255)) + random_.choice((-1, 0, 1))) & WORD_MASK
