"""MUL, SIGNEXTEND, BYTE and variable shifts as helpers: what LLVM expands into much code.

Job: the bodies that `emit.lowerings` call once a program has used up its share of inline expansions.
Invariants: shift counts of 256 and more give 0, or the sign for SAR (EIP-145); BYTE beyond 31 gives 0,
SIGNEXTEND beyond 30 the value (Yellow Paper H.2); the result may be written over an operand.
May import: `evmaot.codegen.builtins.writer`, `evmaot.target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.codegen.builtins.writer import Writer, function
from evmaot.target import Target


def _words(name: str, compute: Callable[[Writer, str, str], str]) -> Callable[[Target], str]:
    """A helper of two words; the first is what is on top of the stack."""

    def write(_: Target) -> str:
        w = Writer()
        a, b = w.load("%a", kind="i256"), w.load("%b", kind="i256")
        w.store(compute(w, a, b), "%out", kind="i256")
        w.do("ret void")
        return function(f"void @evmaot_{name}(ptr %a, ptr %b, ptr %out)", w.text())

    return write


def _shift(operation: str, w: Writer, count: str, value: str) -> str:
    inside = w.compare("ult", count, "256", "i256")
    limit = "255" if operation == "ashr" else "0"
    result = w.op(operation, value, w.select(inside, count, limit, "i256"), "i256")
    return result if operation == "ashr" else w.select(inside, result, "0", "i256")


def _byte(w: Writer, index: str, value: str) -> str:
    inside = w.compare("ult", index, "32", "i256")
    up = w.op("shl", index, "3", "i256")
    amount = w.select(inside, w.op("sub", "248", up, "i256"), "0", "i256")
    byte = w.op("and", w.op("lshr", value, amount, "i256"), "255", "i256")
    return w.select(inside, byte, "0", "i256")


def _signextend(w: Writer, index: str, value: str) -> str:
    inside = w.compare("ult", index, "31", "i256")
    up = w.op("shl", index, "3", "i256")
    amount = w.select(inside, w.op("sub", "248", up, "i256"), "0", "i256")
    return w.op("ashr", w.op("shl", value, amount, "i256"), amount, "i256")


BODIES: Mapping[str, Callable[[Target], str]] = {
    "mul": _words("mul", lambda w, a, b: w.op("mul", a, b, "i256")),
    "signextend": _words("signextend", _signextend),
    "byte": _words("byte", _byte),
    "shl": _words("shl", lambda w, a, b: _shift("shl", w, a, b)),
    "shr": _words("shr", lambda w, a, b: _shift("lshr", w, a, b)),
    "sar": _words("sar", lambda w, a, b: _shift("ashr", w, a, b)),
}
"""Name to definition for a target."""
