"""A model of the helpers' long division that counts its rare branches.

A random operand meets most of them with a chance of 2**-64.  The model follows the same algorithms
(Moeller and Granlund 2011, algorithms 4 and 5, and Knuth's D) on ints, so a test can prove that its
operands reach every branch of the code under test.
"""

from __future__ import annotations

from collections import Counter

BASE = 1 << 64
_MASK = BASE - 1


def _limbs(value: int, count: int) -> list[int]:
    return [value >> (64 * index) & _MASK for index in range(count)]


def _step_one(events: Counter[str], u: int, d: int, v: int) -> tuple[int, int]:
    """Algorithm 4 with the code's names."""
    u1, u0 = u >> 64, u & _MASK
    q = v * u1 + u
    q1, q0 = (q >> 64) + 1, q & _MASK
    r = (u0 - q1 * d) & _MASK
    if r > q0:
        q1, r = q1 - 1, (r + d) & _MASK
        events["one limb: over"] += 1
    if r >= d:
        q1, r = q1 + 1, r - d
        events["one limb: correct"] += 1
    return q1 & _MASK, r


def _step_two(events: Counter[str], u: int, d: int, v: int) -> tuple[int, int]:
    """Algorithm 5."""
    wide = (1 << 128) - 1
    u2 = u >> 128
    q = v * u2 + (u >> 64)
    q1, q0 = (q >> 64) & _MASK, q & _MASK
    r1 = ((u >> 64) - q1 * (d >> 64)) & _MASK
    r = ((r1 << 64 | u & _MASK) - (d & _MASK) * q1 - d) & wide
    q1 = (q1 + 1) & _MASK
    if r >> 64 >= q0:
        q1, r = (q1 - 1) & _MASK, (r + d) & wide
        events["two limbs: over"] += 1
    if r >= d:
        q1, r = (q1 + 1) & _MASK, r - d
        events["two limbs: correct"] += 1
    return q1, r


def divide(events: Counter[str], numerator: int, divisor: int) -> tuple[int, int]:
    """Quotient and remainder, `divisor` > 0, by the helpers' steps; counts what happened."""
    n = (divisor.bit_length() + 63) // 64
    shift = 64 * n - divisor.bit_length()
    d, u = divisor << shift, numerator << shift
    top = d >> 64 * max(n - 2, 0)
    v = ((1 << 128) - 1) // top - BASE if n == 1 else ((1 << 192) - 1) // top - BASE
    count = (u.bit_length() + 63) // 64
    quotient, r = 0, 0
    for limb in reversed(_limbs(u, count)):
        window = r << 64 | limb
        if n == 1:
            q, r = _step_one(events, window, d, v)
        elif n == 2:
            q, r = _step_two(events, window, d, v)
        else:
            q, r = _step_many(events, window, d, v, n)
        quotient = quotient << 64 | q
    assert (quotient, r >> shift) == divmod(numerator, divisor)
    return quotient, r >> shift


def _step_many(events: Counter[str], window: int, d: int, v: int, n: int) -> tuple[int, int]:
    """Knuth's D3 to D6."""
    top = d >> 64 * (n - 2)
    upper = window >> 64 * (n - 2)
    if upper >> 64 == top:
        q, rest = _MASK, top + (upper & _MASK)
        events[f"{n} limbs: equal"] += 1
        if rest >> 128:
            events[f"{n} limbs: equal, carry"] += 1
    else:
        q, rest = _step_two(events, upper, top, v)
    low_bits = 64 * (n - 2)
    low = (1 << low_bits) - 1
    r = (rest << low_bits | window & low) - q * (d & low)
    if r < 0:
        q, r = q - 1, r + d
        events[f"{n} limbs: add back"] += 1
    return q, r
