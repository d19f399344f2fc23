"""EXP as LLVM IR: square and multiply on i256, shifts for powers of two.

Job: the body of `evmaot_exp`, and what an exponent costs.  Invariants: arithmetic is modulo 2**256
and 0 ** 0 = 1 (Yellow Paper H.2); at most 256 rounds; the result may be written over an operand.  May import:
`evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.codegen.builtins.writer import FUNCTION_ATTRIBUTES, Writer, function
from evmaot.target import Target


def exponent_charge(w: Writer, exponent: str, byte_price: str) -> str:
    """Dynamic gas of EXP by an i256 value (Yellow Paper H.1, EIP-160)."""
    zeros = w.value(f"call i256 @llvm.ctlz.i256(i256 {exponent}, i1 false)")
    bits = w.op("sub", "256", w.value(f"trunc i256 {zeros} to i64"))
    size = w.op("lshr", w.op("add", bits, "7"), "3")
    return w.op("mul", size, byte_price)


_EXP = f"""define hidden void @evmaot_exp(ptr %base, ptr %exponent, ptr %out) {FUNCTION_ATTRIBUTES} {{
entry:
  %b = load i256, ptr %base, align 8
  %e = load i256, ptr %exponent, align 8
  %less = sub i256 %b, 1
  %common = and i256 %b, %less
  %one.bit = icmp eq i256 %common, 0
  br i1 %one.bit, label %power.of.two, label %general

power.of.two:                                     ; or 0
  %e.zero = icmp eq i256 %e, 0
  br i1 %e.zero, label %one, label %not.one
one:
  store i256 1, ptr %out, align 8
  ret void
not.one:
  ; b = 2**k, and k * e fits a limb once e < 256; an e of 256 or more leaves 1 (k = 0) or 0.
  ; For b = 0 cttz answers 256: outside for any e, as it should be.
  %e.large = icmp ugt i256 %e, 255
  %e.low = trunc i256 %e to i64
  %e.small = select i1 %e.large, i64 256, i64 %e.low
  %k.wide = call i256 @llvm.cttz.i256(i256 %b, i1 false)
  %k = trunc i256 %k.wide to i64
  %shift = mul i64 %k, %e.small
  %inside = icmp ult i64 %shift, 256
  %bit = zext i1 %inside to i256
  %count = select i1 %inside, i64 %shift, i64 0
  %count.wide = zext i64 %count to i256
  %power = shl i256 %bit, %count.wide
  store i256 %power, ptr %out, align 8
  ret void

general:
  br label %loop
loop:
  %result = phi i256 [ 1, %general ], [ %product, %square ]
  %factor = phi i256 [ %b, %general ], [ %squared, %square ]
  %rest = phi i256 [ %e, %general ], [ %rest.next, %square ]
  %odd = trunc i256 %rest to i1
  br i1 %odd, label %multiply, label %next
multiply:
  %multiplied = mul i256 %result, %factor
  br label %next
next:
  %product = phi i256 [ %result, %loop ], [ %multiplied, %multiply ]
  %rest.next = lshr i256 %rest, 1
  %finished = icmp eq i256 %rest.next, 0
  br i1 %finished, label %done, label %square
square:
  %squared = mul i256 %factor, %factor
  br label %loop
done:
  store i256 %product, ptr %out, align 8
  ret void
}}
"""


def _exponent_gas(_: Target) -> str:
    w = Writer()
    left = w.op("sub", "%gas", exponent_charge(w, w.load("%exponent", kind="i256"), "%byte_price"))
    w.do(f"ret i64 {left}")
    return function("i64 @evmaot_exponent_gas(i64 %gas, ptr %exponent, i64 %byte_price)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {"exp": lambda target: _EXP, "exponent_gas": _exponent_gas}
"""Name to definition for a target."""
