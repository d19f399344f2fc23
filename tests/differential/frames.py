"""What both sides say of each frame and of the message: plain values that are compared by ``==``.

Job: the terms of the comparison.  A `FrameEnd` is one call or create, with the deposit of its code.  Frames are
listed in the order in which they end, so the first that differs is the innermost faulty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LogEntry = tuple[int, tuple[int, ...], bytes]


class FrameEnd(NamedTuple):
    """One frame when it has ended."""

    depth: int
    recipient: int
    sender: int
    value: int
    is_static: bool
    code: bytes
    """What ran; empty for a precompiled contract and an account without code."""
    gas: int
    """Gas that the frame began with."""
    outcome: str
    """``success``, ``revert`` or ``halt``."""
    gas_left: int = 0
    output: bytes = b""
    """Empty after a halt: nobody can see it."""
    refund: int = 0
    """Of this frame and its children; 0 unless it succeeded, like the fields below."""
    logs: tuple[LogEntry, ...] = ()
    storage: Mapping[int, int] = {}
    """All of the recipient's slots that are not 0."""
    warm_addresses: frozenset[int] = frozenset()
    warm_slots: frozenset[tuple[int, int]] = frozenset()


class AccountEnd(NamedTuple):
    """An account after the message."""

    nonce: int
    balance: int
    code: bytes
    storage: Mapping[int, int]


class MessageEnd(NamedTuple):
    """A whole message when it has ended."""

    frames: tuple[FrameEnd, ...]
    changed: Mapping[int, AccountEnd | None]
    """Accounts that may differ from what they were; None: there is none."""
    destroyed: frozenset[int] = frozenset()
    warm_addresses: frozenset[int] = frozenset()
    """Also of a message that reverts: EELS keeps what its outermost frame made warm."""
    warm_slots: frozenset[tuple[int, int]] = frozenset()
    reason: str = ""
    """How the EVM itself calls the end; not compared, but for jumps."""
    opcodes: tuple[int, ...] = ()
    """Opcodes that EELS executed in frames that did not halt, once for each frame."""


def frame_differences(expected: FrameEnd, found: FrameEnd) -> Iterator[str]:
    """Each field of two frames that differs, in words."""
    for name, right, wrong in zip(FrameEnd._fields, expected, found, strict=True):
        if right != wrong:
            yield f"{name}: EELS {show(right)}, native {show(wrong)}"


def show(value: Any) -> str:
    """A value short enough for a line."""
    if isinstance(value, bytes):
        text = f"0x{value.hex()}"
    elif isinstance(value, frozenset):
        text = repr(sorted(value))
    else:
        text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"
