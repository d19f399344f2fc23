"""DIV, MOD, SDIV and SMOD as LLVM IR: long division of 256-bit words by limbs of 64 bits.

Job: the bodies of `evmaot_div`, `_mod`, `_sdiv`, `_smod`, and the steps that `modular` shares.
Method: Moeller and Granlund, "Improved division by invariant integers" (2011): the divisor is
shifted until its top bit is set, a reciprocal of its top one or two limbs turns each quotient limb
into multiplications (algorithms 4 and 5), and divisors of three and four limbs are finished as in
Knuth's algorithm D, subtracting and rarely adding back.  Invariants: no division instruction can
trap; x / 0 = 0 (Yellow Paper H.2); the result may be written over an operand.
May import: `evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evmaot.codegen.builtins.writer import UNLIKELY, Limbs, Writer, function
from evmaot.target import Target

ALL_ONES = "-1"
_ZEROS = ("0", "0", "0", "0")


# --- steps ----------------------------------------------------------------------------------------


_TABLE = "@reciprocals = private unnamed_addr constant [256 x i16] [{rows}], align 2\n".format(
    rows=", ".join(f"i16 {0x7FD00 // top_bits}" for top_bits in range(256, 512))
)
"""The 11-bit reciprocal of each 9-bit prefix (the paper's table 1)."""


def reciprocal_one_limb(w: Writer, d: str) -> str:
    """floor((2**128 - 1) / d) - 2**64 for a limb `d` with its top bit set (algorithm 3): Newton's method.

    x86-64's own division of 128 by 64 bits would be 5 to 8 ns faster on AMD Zen 4, but takes some 90 cycles on Intel
    before Ice Lake; and inline assembly would tie the compiler to hosts that have the target's assembler.
    """
    prefix = w.op("and", w.op("lshr", d, "55"), "255")
    entry = w.value(f"getelementptr i16, ptr @reciprocals, i64 {prefix}")
    v0 = w.widen(w.load(entry, kind="i16", align=2), "i64", "i16")
    d40 = w.op("add", w.op("lshr", d, "24"), "1")
    square = w.op("mul", w.op("mul", v0, v0), d40)
    v1 = w.op("sub", w.op("sub", w.op("shl", v0, "11"), w.op("lshr", square, "40")), "1")
    rest = w.op("sub", str(1 << 60), w.op("mul", v1, d40))
    v2 = w.op("add", w.op("shl", v1, "13"), w.op("lshr", w.op("mul", v1, rest), "47"))
    odd = w.op("and", d, "1")
    d63 = w.op("add", w.op("lshr", d, "1"), odd)
    half = w.op("and", w.op("lshr", v2, "1"), w.op("sub", "0", odd))
    error = w.op("sub", half, w.op("mul", v2, d63))
    v3 = w.op("add", w.op("lshr", w.high(w.multiply(v2, error)), "1"), w.op("shl", v2, "31"))
    product = w.op("add", w.multiply(v3, d), w.widen(d), "i128")
    return w.op("sub", w.op("sub", v3, w.high(product)), d)


def reciprocal_two_limbs(w: Writer, d1: str, d0: str) -> str:
    """floor((2**192 - 1) / d) - 2**64 for d = (d1, d0) with its top bit set (algorithm 6)."""
    v = reciprocal_one_limb(w, d1)
    p = w.op("add", w.op("mul", d1, v), d0)
    wrapped = w.compare("ult", p, d0)
    again = w.op("and", wrapped, w.compare("uge", p, d1), "i1")
    for condition in (wrapped, again):
        v = w.op("sub", v, w.widen(condition, "i64", "i1"))
        p = w.op("sub", p, w.select(condition, d1, "0"))
    t = w.multiply(v, d0)
    p2 = w.op("add", p, w.high(t))
    wrapped = w.compare("ult", p2, p)
    reached = w.compare("uge", w.join((w.low(t), p2)), w.join((d0, d1)), "i128")
    again = w.op("and", wrapped, reached, "i1")
    for condition in (wrapped, again):
        v = w.op("sub", v, w.widen(condition, "i64", "i1"))
    return v


def step_one_limb(w: Writer, u1: str, u0: str, d: str, v: str) -> Limbs:
    """(quotient, remainder) of (u1, u0) by a normalised `d` > u1 (algorithm 4).  Branches."""
    q = w.op("add", w.multiply(v, u1), w.join((u0, u1)), "i128")
    q0, q1 = w.low(q), w.high(q)
    q2 = w.op("add", q1, "1")
    r = w.op("sub", u0, w.op("mul", q2, d))
    over = w.compare("ugt", r, q0)
    q3 = w.select(over, q1, q2)
    r2 = w.op("add", r, w.select(over, d, "0"))
    return _correct(w, q3, r2, d, "i64")


def step_two_limbs(w: Writer, u: Limbs, d: Limbs, v: str) -> tuple[str, str]:
    """(quotient, i128 remainder) of u (3 limbs) by a normalised d (2 limbs) > (u2, u1) (algorithm 5).  Branches."""
    u0, u1, u2 = u
    d0, d1 = d
    divisor = w.join(d)
    q = w.op("add", w.multiply(v, u2), w.join((u1, u2)), "i128")
    q0, q1 = w.low(q), w.high(q)
    r1 = w.op("sub", u1, w.op("mul", q1, d1))
    r = w.op("sub", w.join((u0, r1)), w.multiply(d0, q1), "i128")
    r = w.op("sub", r, divisor, "i128")
    over = w.compare("uge", w.high(r), q0)
    q2 = w.select(over, q1, w.op("add", q1, "1"))
    r = w.op("add", r, w.select(over, divisor, "0", "i128"), "i128")
    q3, rest = _correct(w, q2, r, divisor, "i128")
    return q3, rest


def _correct(w: Writer, q: str, r: str, d: str, kind: str) -> Limbs:
    """The last, rare correction of both algorithms: q + 1, r - d if r >= d.  Branches."""
    before, rare, after = w.block, w.label(), w.label()
    w.branch(w.compare("uge", r, d, kind), rare, after, UNLIKELY)
    w.start(rare)
    q_more, r_less = w.op("add", q, "1"), w.op("sub", r, d, kind)
    w.jump(after)
    w.start(after)
    return w.phi("i64", (q, before), (q_more, rare)), w.phi(kind, (r, before), (r_less, rare))


def step_many_limbs(w: Writer, u: Limbs, d: Limbs, v: str) -> tuple[str, Limbs]:
    """(quotient limb, remainder) of u by a normalised d of n = 3 or 4 limbs, u of n + 1 with u >> 64 < d.

    Knuth's D3 to D6 with a quotient estimated from three limbs by two: it is at most 1 too large.  Branches.
    """
    n = len(d)
    top, lower = d[n - 2 :], d[: n - 2]
    divisor = w.join(top)
    usual, equal, estimated = w.label(), w.label(), w.label()
    w.branch(w.compare("eq", w.join(u[n - 1 :]), divisor, "i128"), equal, usual, UNLIKELY)
    # The estimate would not fit a limb: it is 2**64 - 1, with remainder d + u, which may carry.
    w.start(equal)
    sum_ = w.op("add", divisor, w.widen(u[n - 2]), "i128")
    carry = w.compare("ult", sum_, divisor, "i128")
    w.jump(estimated)
    w.start(usual)
    q_usual, r_usual = step_two_limbs(w, u[n - 2 :], top, v)
    usual_end = w.block
    w.jump(estimated)
    w.start(estimated)
    q = w.phi("i64", (ALL_ONES, equal), (q_usual, usual_end))
    r = w.phi("i128", (sum_, equal), (r_usual, usual_end))
    carried = w.phi("i1", (carry, equal), ("false", usual_end))
    rest, borrow = _subtract_product(w, u[: n - 2], lower, q)
    r_top = w.op("sub", r, w.widen(borrow), "i128")
    below = w.compare("ult", r, w.widen(borrow), "i128")
    negative = w.op("and", below, w.op("xor", carried, "true", "i1"), "i1")
    remainder = (*rest, w.low(r_top), w.high(r_top))
    return _add_back(w, negative, q, remainder, d)


def _subtract_product(w: Writer, u: Sequence[str], d: Sequence[str], q: str) -> tuple[Limbs, str]:
    """u - q * d: the limbs, and the borrow (a limb) to take from what is above."""
    result: list[str] = []
    borrow = "0"
    for u_limb, d_limb in zip(u, d, strict=True):
        product = w.op("add", w.multiply(q, d_limb), w.widen(borrow), "i128")
        low = w.low(product)
        result.append(w.op("sub", u_limb, low))
        under = w.widen(w.compare("ult", u_limb, low), "i64", "i1")
        borrow = w.op("add", w.high(product), under)
    return tuple(result), borrow


def _add_back(w: Writer, negative: str, q: str, r: Limbs, d: Limbs) -> tuple[str, Limbs]:
    """q - 1, r + d if the estimate was one too large.  Branches."""
    before, rare, after = w.block, w.label(), w.label()
    w.branch(negative, rare, after, UNLIKELY)
    w.start(rare)
    q_less = w.op("sub", q, "1")
    r_more = w.split(w.op("add", w.join(r), w.join(d), f"i{64 * len(d)}"), len(d))
    w.jump(after)
    w.start(after)
    return w.phi("i64", (q, before), (q_less, rare)), w.phis((r, before), (r_more, rare))


# --- the core: quotient and remainder of two words ------------------------------------------------


def _finish(w: Writer, quotient: Sequence[str], remainder: Sequence[str]) -> None:
    w.store_limbs((*quotient, *_ZEROS)[:4], "%quotient")
    w.store_limbs((*remainder, *_ZEROS)[:4], "%remainder")
    w.do("ret void")


def _by_one_limb(w: Writer, a: Limbs, d: str) -> None:
    """Divisor below 2**64, not 0.  Dividends below 2**128 skip the upper half."""
    shift = w.leading_zeros(d)
    normal = w.shift_left((d,), shift)[0]
    u = w.shift_left(a, shift)
    v = reciprocal_one_limb(w, normal)
    long, short = w.label(), w.label()
    before = w.block
    w.branch(w.compare("eq", w.any_set(a[2:]), "0"), short, long)
    w.start(long)
    q3, r = step_one_limb(w, u[4], u[3], normal, v)
    q2, r = step_one_limb(w, r, u[2], normal, v)
    long_end = w.block
    w.jump(short)
    w.start(short)
    q2, q3, r = w.phis((("0", "0", u[2]), before), ((q2, q3, r), long_end))
    q1, r = step_one_limb(w, r, u[1], normal, v)
    q0, r = step_one_limb(w, r, u[0], normal, v)
    _finish(w, (q0, q1, q2, q3), (w.op("lshr", r, shift),))


def _by_two_limbs(w: Writer, a: Limbs, d: Limbs) -> None:
    """Divisor of two limbs.  Dividends below 2**128 need one step, below 2**192 two, else three."""
    shift = w.leading_zeros(d[1])
    normal = w.shift_left(d, shift)[:2]
    u = w.shift_left(a, shift)
    v = reciprocal_two_limbs(w, normal[1], normal[0])
    q2 = q1 = "0"
    # u shifted: the limb above the highest one is below the divisor's top limb.
    r: Limbs = u[3:5]
    for index in (2, 1):
        step, done = w.label(), w.label()
        before = w.block
        w.branch(w.compare("eq", w.any_set(a[index + 1 :]), "0"), done, step)
        w.start(step)
        q, rest = step_two_limbs(w, (u[index], *r), normal, v)
        r_step = w.split(rest, 2)
        end = w.block
        w.jump(done)
        w.start(done)
        r = w.phis((u[index : index + 2], before), (r_step, end))
        q = w.phi("i64", ("0", before), (q, end))
        q2, q1 = (q, q1) if index == 2 else (q2, q)
    q0, rest = step_two_limbs(w, (u[0], *r), normal, v)
    remainder = w.shift_right(w.split(rest, 2), shift)
    _finish(w, (q0, q1, q2), remainder)


def _by_many_limbs(w: Writer, a: Limbs, d: Limbs) -> None:
    """Divisor of three or four limbs."""
    n = len(d)
    shift = w.leading_zeros(d[-1])
    normal = w.shift_left(d, shift)[:n]
    u = w.shift_left(a, shift)
    v = reciprocal_two_limbs(w, normal[n - 1], normal[n - 2])
    quotient: list[str] = []
    window = u[5 - n :]
    for index in range(4 - n, -1, -1):
        q, window = step_many_limbs(w, (u[index], *window), normal, v)
        quotient.insert(0, q)
    _finish(w, quotient, w.shift_right(window, shift))


def _core(target: Target) -> str:
    """`udivrem`: both results; the divisor may be 0, the result pointers may be operand pointers."""
    w = Writer()
    a, d = w.load_limbs("%a"), w.load_limbs("%b")
    less, dispatch = w.label(), w.label()
    w.branch(w.compare("ult", w.join(a), w.join(d), "i256"), less, dispatch)
    w.start(less)
    _finish(w, _ZEROS, a)
    w.start(dispatch)
    cases: dict[int, Callable[[], None]] = {
        4: lambda: _by_many_limbs(w, a, d),
        3: lambda: _by_many_limbs(w, a, d[:3]),
        2: lambda: _by_two_limbs(w, a, d[:2]),
        1: lambda: _by_one_limb(w, a, d[0]),
    }
    for limbs, write in cases.items():
        this, other = w.label(), w.label()
        w.branch(w.compare("ne", d[limbs - 1], "0"), this, other)
        w.start(this)
        write()
        w.start(other)
    _finish(w, _ZEROS, _ZEROS)
    return _TABLE + function("void @udivrem(ptr %a, ptr %b, ptr %quotient, ptr %remainder)", w.text(), "internal")


def _unsigned(instruction: str, arguments: str) -> str:
    """DIV or MOD: operands below 2**64 at once, else the core."""
    w = Writer()
    a, d = w.load_limbs("%a"), w.load_limbs("%b")
    scratch = w.value("alloca [4 x i64], align 8")
    small, large, zero, divide = w.label(), w.label(), w.label(), w.label()
    w.branch(w.compare("eq", w.any_set((*a[1:], *d[1:])), "0"), small, large)
    w.start(small)
    w.branch(w.compare("eq", d[0], "0"), zero, divide, UNLIKELY)
    w.start(zero)
    w.store_limbs(_ZEROS, "%out")
    w.do("ret void")
    w.start(divide)
    w.store_limbs((w.op(instruction, a[0], d[0]), *_ZEROS[1:]), "%out")
    w.do("ret void")
    w.start(large)
    w.do(f"call void @udivrem(ptr %a, ptr %b, {arguments.format(scratch=scratch)})")
    w.do("ret void")
    return w.text()


def _signed(instruction: str, arguments: str) -> str:
    """SDIV or SMOD by magnitudes.  2**255 is its own magnitude as an unsigned word, so MIN / -1 = MIN."""
    w = Writer()
    a, d = (w.load(name, kind="i256") for name in ("%a", "%b"))
    spaces = [w.value("alloca i256, align 8") for _ in range(3)]
    a_mask, d_mask = (w.op("ashr", value, "255", "i256") for value in (a, d))
    a, d = (w.op("sub", w.op("xor", value, mask, "i256"), mask, "i256") for value, mask in ((a, a_mask), (d, d_mask)))
    # The quotient is negative where the signs differ, the remainder where the dividend is.
    mask = w.op("xor", a_mask, d_mask, "i256") if instruction == "udiv" else a_mask
    small, large, zero, divide, done = (w.label() for _ in range(5))
    a_limbs, d_limbs = w.split(a, 4), w.split(d, 4)
    w.branch(w.compare("eq", w.any_set((*a_limbs[1:], *d_limbs[1:])), "0"), small, large)
    w.start(small)
    w.branch(w.compare("eq", d_limbs[0], "0"), zero, divide, UNLIKELY)
    w.start(zero)
    w.store_limbs(_ZEROS, "%out")
    w.do("ret void")
    w.start(divide)
    quick = w.widen(w.op(instruction, a_limbs[0], d_limbs[0]), "i256")
    w.jump(done)
    w.start(large)
    for value, space in ((a, spaces[0]), (d, spaces[1])):
        w.store(value, space, kind="i256")
    w.do(f"call void @udivrem(ptr {spaces[0]}, ptr {spaces[1]}, {arguments.format(scratch=spaces[2])})")
    slow = w.load("%out", kind="i256")
    w.jump(done)
    w.start(done)
    magnitude = w.phi("i256", (quick, divide), (slow, large))
    w.store(w.op("sub", w.op("xor", magnitude, mask, "i256"), mask, "i256"), "%out", kind="i256")
    w.do("ret void")
    return w.text()


_QUOTIENT = "ptr %out, ptr {scratch}"
_REMAINDER = "ptr {scratch}, ptr %out"
_SIGNATURE = "void @evmaot_{name}(ptr %a, ptr %b, ptr %out)"

BODIES: Mapping[str, Callable[[Target], str]] = {
    "udivrem": _core,
    "div": lambda target: function(_SIGNATURE.format(name="div"), _unsigned("udiv", _QUOTIENT)),
    "mod": lambda target: function(_SIGNATURE.format(name="mod"), _unsigned("urem", _REMAINDER)),
    "sdiv": lambda target: function(_SIGNATURE.format(name="sdiv"), _signed("udiv", _QUOTIENT)),
    "smod": lambda target: function(_SIGNATURE.format(name="smod"), _signed("urem", _REMAINDER)),
}
"""Name to definition for a target; `udivrem` is internal."""
