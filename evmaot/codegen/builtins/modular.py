"""ADDMOD and MULMOD as LLVM IR: sums of 257 bits and products of 512 bits are never cut.

Job: the bodies of `evmaot_addmod` and `evmaot_mulmod`.  Invariants: a zero modulus gives 0 (Yellow
Paper H.2); the result may be written over an operand.  May import:
`evmaot.codegen.builtins.division`, `evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.codegen.builtins import division
from evmaot.codegen.builtins.writer import UNLIKELY, Limbs, Writer, function
from evmaot.target import Target

_PRODUCT_LIMBS = 8
_ZEROS = ("0", "0", "0", "0")


def _product(w: Writer, a: Limbs, b: Limbs) -> Limbs:
    """The full product of two words, row by row."""
    result = ["0"] * _PRODUCT_LIMBS
    for i, a_limb in enumerate(a):
        carry = "0"
        for j, b_limb in enumerate(b):
            # Cannot wrap: (2**64 - 1)**2 + 2 * (2**64 - 1) = 2**128 - 1.
            cell = w.op("add", w.multiply(a_limb, b_limb), w.widen(result[i + j]), "i128")
            cell = w.op("add", cell, w.widen(carry), "i128")
            result[i + j], carry = w.low(cell), w.high(cell)
        result[i + len(b)] = carry
    return tuple(result)


def _reduce_loop(w: Writer, d: Limbs, numerator: str) -> None:
    """The remainder of the numerator by d, whose top limb is not 0, to %out: a loop over quotient limbs.

    `numerator` points to nine limbs (scratch; the ninth is written here) of which one of 4 to 7 is not 0.
    """
    n = len(d)
    shift = w.leading_zeros(d[-1])
    normal = w.shift_left(d, shift)[:n]
    shifted = w.shift_left(w.load_limbs(numerator, _PRODUCT_LIMBS), shift)
    w.store_limbs(shifted, numerator)
    # Start at the highest shifted limb that is not 0, or one lower where that limb alone is below d.
    index = "4"
    for higher in range(5, _PRODUCT_LIMBS + 1):
        index = w.select(w.compare("ne", shifted[higher], "0"), str(higher), index)
    top = w.value(f"load i64, ptr {_limb_address(w, numerator, index)}, align 8")
    smaller = w.compare("ult", top, normal[-1])
    highest = w.op("add", index, w.select(smaller, "0", "1"))
    first = w.op("sub", highest, str(n))
    base = _limb_address(w, numerator, w.op("add", first, "1"))
    start = w.load_limbs(base, n)
    v = (
        division.reciprocal_one_limb(w, normal[0])
        if n == 1
        else division.reciprocal_two_limbs(w, normal[-1], normal[-2])
    )
    before, loop, done = w.block, w.label(), w.label()
    w.jump(loop)
    w.start(loop)
    names, place = tuple(w.fresh() for _ in range(n)), w.fresh()
    next_place = w.fresh()
    lines = w.mark()
    limb = w.value(f"load i64, ptr {_limb_address(w, numerator, place)}, align 8")
    window = _reduce_step(w, limb, names, normal, v)
    w.define(next_place, f"sub i64 {place}, 1")
    finished = w.compare("eq", place, "0")
    phis = [(place, (first, before), (next_place, w.block))]
    phis += [(names[i], (start[i], before), (window[i], w.block)) for i in range(n)]
    w.insert(lines, [f"{name} = {w.phi_text('i64', *incoming)}" for name, *incoming in phis])
    w.branch(finished, done, loop)
    w.start(done)
    w.store_limbs((*w.shift_right(window, shift), *_ZEROS)[:4], "%out")
    w.do("ret void")


def _reduce_step(w: Writer, limb: str, window: Limbs, d: Limbs, v: str) -> Limbs:
    """The remainder of (window, limb) by d: one quotient limb."""
    if len(d) == 1:
        return (division.step_one_limb(w, window[0], limb, d[0], v)[1],)
    if len(d) == 2:
        return w.split(division.step_two_limbs(w, (limb, *window), d, v)[1], 2)
    return division.step_many_limbs(w, (limb, *window), d, v)[1]


def _limb_address(w: Writer, base: str, index: str) -> str:
    return w.value(f"getelementptr i64, ptr {base}, i64 {index}")


def _reduce(target: Target) -> str:
    """`reduce`: %out = %numerator % %modulus, see `_reduce_loop`; 0 for a zero modulus."""
    w = Writer()
    d = w.load_limbs("%modulus")
    for limbs in (4, 3, 2, 1):
        this, other = w.label(), w.label()
        w.branch(w.compare("ne", d[limbs - 1], "0"), this, other)
        w.start(this)
        _reduce_loop(w, d[:limbs], "%numerator")
        w.start(other)
    w.store_limbs(_ZEROS, "%out")
    w.do("ret void")
    return function("void @reduce(ptr %numerator, ptr %modulus, ptr %out)", w.text(), "internal")


def _mulmod(target: Target) -> str:
    w = Writer()
    numerator = w.value("alloca [9 x i64], align 8")
    scratch = w.value("alloca [4 x i64], align 8")
    a, b = w.load_limbs("%a"), w.load_limbs("%b")
    modulus = w.load("%n", kind="i256")
    product = _product(w, a, b)
    fold, other, narrow, wide = (w.label() for _ in range(4))
    w.branch(w.compare("eq", modulus, "-1", "i256"), fold, other)
    # 2**256 - 1, the modulus of 512-bit multiplication libraries: 2**256 counts as 1.
    w.start(fold)
    high, low = w.join(product[4:]), w.join(product[:4])
    total = w.op("add", high, low, "i256")
    carry = w.compare("ult", total, low, "i256")
    total = w.op("add", total, w.widen(carry, "i256", "i1"), "i256")
    full = w.compare("eq", total, "-1", "i256")
    w.store(w.select(full, "0", total, "i256"), "%out", kind="i256")
    w.do("ret void")
    w.start(other)
    w.store_limbs(product, numerator)
    w.branch(w.compare("eq", w.any_set(product[4:]), "0"), narrow, wide)
    w.start(narrow)
    w.do(f"call void @udivrem(ptr {numerator}, ptr %n, ptr {scratch}, ptr %out)")
    w.do("ret void")
    w.start(wide)
    w.do(f"call void @reduce(ptr {numerator}, ptr %n, ptr %out)")
    w.do("ret void")
    return function("void @evmaot_mulmod(ptr %a, ptr %b, ptr %n, ptr %out)", w.text())


def _addmod(target: Target) -> str:
    w = Writer()
    numerator = w.value("alloca [9 x i64], align 8")
    scratch = w.value("alloca [4 x i64], align 8")
    a, b, n = (w.load(name, kind="i256") for name in ("%a", "%b", "%n"))
    total = w.op("add", a, b, "i256")
    carry = w.compare("ult", total, a, "i256")
    reduced, general, wide, narrow = (w.label() for _ in range(4))
    both = w.op("and", w.compare("ult", a, n, "i256"), w.compare("ult", b, n, "i256"), "i1")
    w.branch(both, reduced, general)
    # Both operands below the modulus: at most one subtraction, which also undoes the carry.
    w.start(reduced)
    enough = w.op("or", carry, w.compare("uge", total, n, "i256"), "i1")
    result = w.op("sub", total, w.select(enough, n, "0", "i256"), "i256")
    w.store(result, "%out", kind="i256")
    w.do("ret void")
    w.start(general)
    w.store(total, numerator, kind="i256")
    w.branch(carry, wide, narrow, UNLIKELY)
    w.start(wide)
    w.store_limbs(("1", "0", "0", "0"), w.address(numerator, "32"))
    w.do(f"call void @reduce(ptr {numerator}, ptr %n, ptr %out)")
    w.do("ret void")
    w.start(narrow)
    w.do(f"call void @udivrem(ptr {numerator}, ptr %n, ptr {scratch}, ptr %out)")
    w.do("ret void")
    return function("void @evmaot_addmod(ptr %a, ptr %b, ptr %n, ptr %out)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {"reduce": _reduce, "mulmod": _mulmod, "addmod": _addmod}
"""Name to definition for a target; `reduce` is internal and calls nothing, the others call `udivrem` too."""
