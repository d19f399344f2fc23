"""Writing LLVM IR text of limb arithmetic: the few words that the helpers' bodies are made of.

Job: collect the lines of one function and name its values.  A *limb* is an i64; a number of several
limbs is a tuple of values, lowest first.  Invariants: names are counted, so the same calls give the
same text; every method emits into the current block, and a method that branches says so.  Limb
arithmetic never has undefined behaviour (no nsw, nuw or exact).  May import: nothing of evmaot.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

UNLIKELY = ", !prof !0"
"""Behind a conditional branch whose first destination is rarely taken; `MODULE_FOOTER` defines it."""
MODULE_FOOTER = '!0 = !{!"branch_weights", i32 1, i32 2000}\n'
FUNCTION_ATTRIBUTES = 'nounwind "no-builtins"'
"""Of every body.  Without "no-builtins" LLVM turns copy loops into calls of memcpy and memset."""

Limbs = tuple[str, ...]


class Writer:
    """Lines of one function body; values are named %v0, %v1, ... and blocks b0, b1, ... ."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._values = 0
        self._labels = 0
        self.block = "entry"
        """The block that is being written, for phis."""

    def text(self) -> str:
        """The lines so far."""
        return "\n".join(self._lines) + "\n"

    # --- lines, values and blocks -------------------------------------------------------------

    def do(self, line: str) -> None:
        """An instruction without a result."""
        self._lines.append(f"  {line}")

    def value(self, instruction: str) -> str:
        """An instruction; its result's name."""
        name = self.fresh()
        self._lines.append(f"  {name} = {instruction}")
        return name

    def fresh(self) -> str:
        """A value name that `define` will be given later: loops need names before values."""
        self._values += 1
        return f"%v{self._values - 1}"

    def define(self, name: str, instruction: str) -> None:
        """Give a `fresh` name its value."""
        self._lines.append(f"  {name} = {instruction}")

    def mark(self) -> int:
        """The current place, for `insert`; an insertion before it moves it."""
        return len(self._lines)

    def insert(self, place: int, instructions: Sequence[str]) -> None:
        """Put instructions at a marked place: a loop's phis, whose last operands are known at its end."""
        self._lines[place:place] = [f"  {instruction}" for instruction in instructions]

    def label(self) -> str:
        """A new block name."""
        self._labels += 1
        return f"b{self._labels - 1}"

    def start(self, label: str) -> None:
        """Begin a block."""
        self._lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        """Unconditional branch."""
        self.do(f"br label %{label}")

    def branch(self, condition: str, yes: str, no: str, hint: str = "") -> None:
        """Conditional branch; `hint` is "" or UNLIKELY."""
        self.do(f"br i1 {condition}, label %{yes}, label %{no}{hint}")

    def phi(self, kind: str, *incoming: tuple[str, str]) -> str:
        """A phi of (value, block) pairs."""
        return self.value(self.phi_text(kind, *incoming))

    @staticmethod
    def phi_text(kind: str, *incoming: tuple[str, str]) -> str:
        """The instruction of a phi, for `define`."""
        return f"phi {kind} " + ", ".join(f"[ {value}, %{block} ]" for value, block in incoming)

    def phis(self, *incoming: tuple[Sequence[str], str]) -> Limbs:
        """A phi for each limb of several (limbs, block) pairs."""
        count = len(incoming[0][0])
        return tuple(self.phi("i64", *((limbs[index], block) for limbs, block in incoming)) for index in range(count))

    # --- arithmetic ---------------------------------------------------------------------------

    def op(self, operation: str, a: str, b: str, kind: str = "i64") -> str:
        """A binary instruction."""
        return self.value(f"{operation} {kind} {a}, {b}")

    def compare(self, condition: str, a: str, b: str, kind: str = "i64") -> str:
        """An icmp; i1."""
        return self.value(f"icmp {condition} {kind} {a}, {b}")

    def select(self, condition: str, yes: str, no: str, kind: str = "i64") -> str:
        """A select."""
        return self.value(f"select i1 {condition}, {kind} {yes}, {kind} {no}")

    def widen(self, value: str, kind: str = "i128", source: str = "i64") -> str:
        """Zero extension."""
        return self.value(f"zext {source} {value} to {kind}")

    def low(self, value: str, kind: str = "i128") -> str:
        """The lowest limb."""
        return self.value(f"trunc {kind} {value} to i64")

    def high(self, value: str) -> str:
        """The upper limb of an i128."""
        return self.low(self.op("lshr", value, "64", "i128"))

    def join(self, limbs: Sequence[str]) -> str:
        """One wide integer of several limbs."""
        kind = f"i{64 * len(limbs)}"
        result = self.widen(limbs[0], kind)
        for index, limb in enumerate(limbs[1:], 1):
            shifted = self.op("shl", self.widen(limb, kind), str(64 * index), kind)
            result = self.op("or", result, shifted, kind)
        return result

    def split(self, value: str, count: int) -> Limbs:
        """The `count` limbs of a wide integer."""
        kind = f"i{64 * count}"
        limbs = [self.low(value, kind)]
        for index in range(1, count):
            limbs.append(self.low(self.op("lshr", value, str(64 * index), kind), kind))
        return tuple(limbs)

    def multiply(self, a: str, b: str) -> str:
        """The full product of two limbs, an i128."""
        return self.op("mul", self.widen(a), self.widen(b), "i128")

    def any_set(self, limbs: Sequence[str]) -> str:
        """The disjunction of limbs: 0 if and only if all are 0."""
        result = limbs[0]
        for limb in limbs[1:]:
            result = self.op("or", result, limb)
        return result

    def leading_zeros(self, limb: str) -> str:
        """Leading zero bits of a limb that is not 0."""
        return self.value(f"call i64 @llvm.ctlz.i64(i64 {limb}, i1 true)")

    def shift_left(self, limbs: Sequence[str], bits: str) -> Limbs:
        """`limbs` << `bits` (0 to 63), one limb longer."""
        padded = ["0", *limbs, "0"]
        return tuple(
            self.value(f"call i64 @llvm.fshl.i64(i64 {upper}, i64 {lower}, i64 {bits})")
            for lower, upper in pairwise(padded)
        )

    def shift_right(self, limbs: Sequence[str], bits: str) -> Limbs:
        """`limbs` >> `bits` (0 to 63)."""
        padded = [*limbs, "0"]
        return tuple(
            self.value(f"call i64 @llvm.fshr.i64(i64 {upper}, i64 {lower}, i64 {bits})")
            for lower, upper in pairwise(padded)
        )

    # --- memory -------------------------------------------------------------------------------

    def address(self, pointer: str, offset: str) -> str:
        """`pointer` + `offset` bytes."""
        return self.value(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    def load(self, pointer: str, offset: int = 0, kind: str = "i64", align: int = 8) -> str:
        """A load at a constant byte offset."""
        place = self.address(pointer, str(offset)) if offset else pointer
        return self.value(f"load {kind}, ptr {place}, align {align}")

    def store(self, value: str, pointer: str, offset: int = 0, kind: str = "i64", align: int = 8) -> None:
        """A store at a constant byte offset."""
        place = self.address(pointer, str(offset)) if offset else pointer
        self.do(f"store {kind} {value}, ptr {place}, align {align}")

    def load_limbs(self, pointer: str, count: int = 4) -> Limbs:
        """`count` limbs from memory."""
        return tuple(self.load(pointer, 8 * index) for index in range(count))

    def store_limbs(self, limbs: Sequence[str], pointer: str) -> None:
        """Limbs to memory."""
        for index, limb in enumerate(limbs):
            self.store(limb, pointer, 8 * index)


def function(signature: str, body: str, linkage: str = "hidden") -> str:
    """A definition: `signature` is all between linkage and attributes, `body` all but the entry label."""
    return f"define {linkage} {signature} {FUNCTION_ATTRIBUTES} {{\nentry:\n{body}}}\n"
