"""IR text of contract code: the writer of the builtins plus values of the virtual stack.

Job: turn values into operands.  Text, because templates cost 0.33 us an instruction against 10.5
for an object builder.  May import: `builtins.writer`, `emit.values`.
"""

from __future__ import annotations

from evmaot.codegen.builtins.writer import Writer
from evmaot.codegen.emit.values import Constant, Flag, Narrow, Value, Word

NARROW_LIMIT = (1 << 62) - 1
"""Saturated offsets and sizes: no code can pay for memory near it, and sums of two stay below 2^64."""


MAX_WORDS_IN_A_ROW = 32
"""Stack words loaded or stored in one block before a barrier: both of LLVM's schedulers take time quadratic in
the accesses that they may reorder, and a block can have a thousand.  Ordinary code never gets there."""


class ValueWriter(Writer):
    """Lines of one region."""

    def __init__(self) -> None:
        super().__init__()
        self._words_in_block = 0

    def start(self, label: str) -> None:
        """Begin a block."""
        super().start(label)
        self._words_in_block = 0

    def load_word(self, pointer: str) -> str:
        """A word of the native stack."""
        self._count_word()
        return self.value(f"load i256, ptr {pointer}, align 32")

    def store_word(self, word: str, pointer: str) -> None:
        """Store a word on the native stack."""
        self._count_word()
        self.do(f"store i256 {word}, ptr {pointer}, align 32")

    def _count_word(self) -> None:
        self._words_in_block += 1
        if self._words_in_block % MAX_WORDS_IN_A_ROW == 0:
            # No instruction of the machine: it only keeps LLVM from moving accesses across.
            self.do('fence syncscope("singlethread") seq_cst')

    def word(self, value: Value, *, keep: bool = True) -> str:
        """The i256 operand of a value.  `keep`: later code may use what is emitted here."""
        if value.word_name is not None:
            return value.word_name
        if isinstance(value, Flag):
            name = self.value(f"zext i1 {value.bit_name} to i256")
        else:
            assert isinstance(value, Narrow)
            name = self.value(f"zext i64 {value.narrow_name} to i256")
        if keep:
            value.word_name = name
        return name

    def saturated(self, value: Value) -> str:
        """The i64 operand of an offset or size: the number itself, or NARROW_LIMIT where it is wider."""
        if isinstance(value, Constant):
            return str(min(value.number, NARROW_LIMIT))
        if isinstance(value, Narrow):
            return value.narrow_name
        if isinstance(value, Flag):
            return self.value(f"zext i1 {value.bit_name} to i64")
        assert isinstance(value, Word)
        wide = self.value(f"icmp ugt i256 {value.word_name}, {NARROW_LIMIT}")
        low = self.value(f"trunc i256 {value.word_name} to i64")
        return self.value(f"select i1 {wide}, i64 {NARROW_LIMIT}, i64 {low}")

    def truth(self, value: Value) -> str:
        """The i1 operand: whether a word is not zero."""
        if isinstance(value, Flag):
            return value.bit_name
        if isinstance(value, Constant):
            return "true" if value.number else "false"
        if isinstance(value, Narrow):
            return self.value(f"icmp ne i64 {value.narrow_name}, 0")
        return self.value(f"icmp ne i256 {value.word_name}, 0")
