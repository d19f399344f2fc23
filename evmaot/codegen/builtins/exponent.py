"""EXP as LLVM IR: square and multiply on i256, shifts for powers of two.

Job: the body of `evmaot_exp`.  Invariants: arithmetic is modulo 2**256 and 0 ** 0 = 1 (Yellow Paper
H.2); at most 256 rounds; the result may be written over an operand.  May import:
`evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.codegen.builtins.writer import FUNCTION_ATTRIBUTES
from evmaot.target import Target

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

BODIES: Mapping[str, Callable[[Target], str]] = {"exp": lambda target: _EXP}
"""Name to definition for a target."""
