"""Values of the virtual stack while a region is emitted.

Job: what is known of a word without asking LLVM: a constant, a 1-bit flag, a 64-bit number or a
256-bit SSA name.  Invariant: a value never changes but for caching the SSA name of its 256-bit
form; values are compared by identity.  May import: nothing of evmaot.
"""

from __future__ import annotations

WORD_MASK = (1 << 256) - 1


class Value:
    """One stack word.  Exactly one of the subclasses below."""

    __slots__ = ("word_name",)

    def __init__(self, word_name: str | None = None) -> None:
        self.word_name = word_name
        """SSA name (or literal) of the i256 form, once it exists where later code can use it."""


class Constant(Value):
    """A number known at compile time."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__(str(number))
        self.number = number


class Word(Value):
    """An i256 SSA value."""

    __slots__ = ()


class Flag(Value):
    """0 or 1, as an i1 SSA value."""

    __slots__ = ("bit_name",)

    def __init__(self, bit_name: str) -> None:
        super().__init__()
        self.bit_name = bit_name


class Narrow(Value):
    """A number below 2^63, as an i64 SSA value."""

    __slots__ = ("narrow_name",)

    def __init__(self, narrow_name: str) -> None:
        super().__init__()
        self.narrow_name = narrow_name
