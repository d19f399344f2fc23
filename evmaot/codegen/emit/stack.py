"""The virtual stack of a chain: words are values, and memory is touched when it must be.

Job: track which value each stack position holds and which the native stack in memory holds, emit
loads on first use and stores at spills.  Positions are relative to the stack pointer at the chain's
start: position 0 is the first word pushed, position -1 the word found on top.  Invariant: a
position that is in neither map holds in memory what it held at the start.
May import: `emit.values`, `emit.writer`.
"""

from __future__ import annotations

from evmaot.codegen.emit.values import Constant, Value, Word
from evmaot.codegen.emit.writer import ValueWriter


class VirtualStack:
    """Stack of one chain."""

    def __init__(self, writer: ValueWriter, base: str) -> None:
        self._writer = writer
        self._base = base
        self.height = 0
        """Words above (or, negative, below) the stack pointer at the chain's start."""
        self._values: dict[int, Value] = {}
        self._in_memory: dict[int, Value] = {}

    def push(self, value: Value) -> None:
        """Put a word on top."""
        self._values[self.height] = value
        self.height += 1

    def pop(self) -> Value:
        """Take the top word."""
        self.height -= 1
        return self._at(self.height)

    def drop(self) -> None:
        """Forget the top word without loading it."""
        self.height -= 1

    def duplicate(self, depth: int) -> None:
        """DUPn."""
        self.push(self._at(self.height - depth))

    def swap(self, depth: int) -> None:
        """SWAPn."""
        top, other = self.height - 1, self.height - 1 - depth
        a, b = self._at(top), self._at(other)
        self._values[top], self._values[other] = b, a

    def _at(self, position: int) -> Value:
        value = self._values.get(position)
        if value is None:
            value = Word(self._writer.load_word(self.pointer(position)))
            self._values[position] = value
            self._in_memory[position] = value
        return value

    def pointer(self, position: int) -> str:
        """SSA name of the address of a position."""
        if position == 0:
            return self._base
        return self._writer.value(f"getelementptr i8, ptr {self._base}, i64 {32 * position}")

    def top_pointer(self) -> str:
        """SSA name of the stack pointer: the address behind the top word."""
        return self.pointer(self.height)

    def home(self, value: Value) -> str | None:
        """Address of a word in memory that holds this value, if there is one."""
        for position, held in self._in_memory.items():
            if held is value:
                return self.pointer(position)
        return None

    def carry(self, words: list[str]) -> None:
        """At a chain's start: the topmost words, top first, came as SSA values and are not in memory."""
        for index, name in enumerate(words):
            self._values[-1 - index] = Word(name)

    def carried(self, count: int, *, keep: bool) -> list[str]:
        """The i256 operands of the topmost `count` words, top first."""
        return [self._operand(self.height - 1 - index, keep) for index in range(count)]

    def _operand(self, position: int, keep: bool) -> str:
        value = self._values.get(position)
        if value is not None or keep:
            return self._writer.word(value or self._at(position), keep=keep)
        return self._writer.load_word(self.pointer(position))

    def spill(self, *, keep: bool = True, leave: int = 0, only: int | None = None) -> None:
        """Store every live word whose place in memory holds something else.

        `leave` words on top are not stored; with `only`, no words but that many on top are.
        With `keep=False` the code is on a side exit: nothing that it computes may be used later,
        and memory is unchanged for the code that goes on.
        """
        for position in sorted(self._values):
            value = self._values[position]
            if only is not None and position < self.height - only:
                continue
            if position < self.height - leave and self._in_memory.get(position) is not value:
                text = self._writer.word(value, keep=keep)
                self._writer.store_word(text, self.pointer(position))
                if keep:
                    self._in_memory[position] = value

    def written(self, position: int) -> None:
        """A helper wrote the word at this position of memory; it is loaded when it is used."""
        self._values.pop(position, None)
        self._in_memory.pop(position, None)

    def peek_constant(self, depth: int) -> int | None:
        """The number `depth` words below the top (0: the top), if it is a constant."""
        value = self._values.get(self.height - 1 - depth)
        return value.number if isinstance(value, Constant) else None
