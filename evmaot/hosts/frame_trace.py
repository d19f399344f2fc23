"""Frame traces: what each message of a transaction started with and ended with, natively and on EELS.

Job: the events that both sides are reduced to, the executor's side of them (`NativeRecorder`), and the first
difference between two traces.  Invariants: an event holds what must be equal and nothing else, in plain
values, so that comparing is `==`; which kind of halt ended a frame is told but not compared, because a section
with several faults may report another one first.  May import: `evmaot.execution`, `evmaot.abi`, `evmaot.evm`.
EELS's side: `hosts.frame_trace_eels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evmaot.abi.status import Status
from evmaot.execution.hashing import keccak256
from evmaot.execution.journal import Journal
from evmaot.execution.protocol import FrameEnd, FrameStart

MAX_FRAMES = 20_000
"""Frames that are recorded; what comes later is not compared, and the answer says so."""


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """The start or the end of a frame."""

    is_start: bool
    depth: int
    values: Mapping[str, Any]
    """What must be equal, by name; bytes, ints, bools, texts, and mappings, sets and tuples of them."""
    reason: str = ""
    """How the frame ended in the words of the side that ran it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Which frame: what it is told apart by."""

    number: int
    """In the order in which frames start; the outermost is 0."""
    path: tuple[int, ...]
    """Which child of which child of the outermost frame, from 0; empty for that one."""
    values: Mapping[str, Any]
    """Of its start."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same."""

    what: str
    native: str
    eels: str


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """The first frame that differs."""

    frame: Frame
    """The frame whose code did it: where a child starts differently, its caller."""
    moment: str
    differences: tuple[Difference, ...]
    callers: tuple[Frame, ...]
    """From the outermost frame to the caller of `frame`."""


@dataclass(slots=True)
class Trace:
    """Events of one side, in their order."""

    events: list[FrameEvent] = field(default_factory=list)
    is_complete: bool = True
    """False: there were more than `MAX_FRAMES`."""
    failure: str = ""
    """What ended the run before its time: an exception."""

    def add(self, event: FrameEvent) -> None:
        """Take an event, up to the limit."""
        if len(self.events) < 2 * MAX_FRAMES:
            self.events.append(event)
        else:
            self.is_complete = False


def start_values(
    *, creates: bool, sender: int, recipient: int, code: bytes, precompile: int | None, gas: int, value: int,
    input: bytes, is_static: bool,
) -> dict[str, Any]:  # fmt: skip
    """What a frame starts with."""
    return {
        "kind": "create" if creates else "call",
        "sender": sender,
        "recipient": recipient,
        "code": keccak256(code) if code else b"",
        "code size": len(code),
        "precompile": precompile,
        "gas": gas,
        "value": value,
        "input": input,
        "static": is_static,
    }


class NativeRecorder:
    """Records an executor's messages: give it to `hosts.eels.enable` as `observer`."""

    def __init__(self, *, clears_empty: bool) -> None:
        """`clears_empty`: the fork has no empty accounts (EIP-161)."""
        self.trace = Trace()
        self._clears_empty = clears_empty
        self._open: list[tuple[int, int, frozenset[int]]] = []
        """Of each running frame: refund counter, number of logs, and destroyed accounts at its start."""

    def entered(self, start: FrameStart, journal: Journal) -> None:
        """A message starts."""
        self._open.append((journal.refund[0], len(journal.logs), frozenset(journal.destroyed)))
        values = start_values(**{name: value for name, value in start._asdict().items() if name != "depth"})
        self.trace.add(FrameEvent(True, start.depth, {**values, **self._world(journal)}))

    def ended(self, end: FrameEnd, journal: Journal) -> None:
        """A message ends."""
        refund, log_count, destroyed = self._open.pop()
        succeeded = end.failure is None and end.status.succeeded
        reverted = end.failure is None and end.status is Status.REVERT
        values: dict[str, Any] = {
            "status": "success" if succeeded else "revert" if reverted else "halt",
            "gas left": end.gas_left,
            "output": end.output,
        }
        if succeeded:
            values["refund"] = journal.refund[0] - refund
            values["logs"] = tuple(tuple(log) for log in journal.logs[log_count:])
            values["destroyed"] = frozenset(journal.destroyed) - destroyed
            values.update(self._world(journal))
        reason = end.failure.value if end.failure is not None else end.status.name
        self.trace.add(FrameEvent(False, end.depth, values, reason))

    def _world(self, journal: Journal) -> dict[str, Any]:
        """The state as it differs from the one before the transaction's message."""
        changes = journal.changes()
        warm_addresses, warm_slots = journal.warmed()
        accounts = {
            address: None
            if account is None or (self._clears_empty and account.is_empty)
            else (account.nonce, account.balance, account.code)
            for address, account in changes.accounts.items()
        }
        transient = {
            address: kept
            for address, slots in changes.transient.items()
            if (kept := {key: value for key, value in slots.items() if value})
        }
        return {
            "accounts": accounts, "storage": {address: dict(slots) for address, slots in changes.storage.items()},
            "transient storage": transient, "warm addresses": warm_addresses, "warm slots": warm_slots,
        }  # fmt: skip


class Comparison:
    """Compares a second trace with a first one, event by event, until something differs."""

    def __init__(self, first: Trace) -> None:
        self._first = first
        self._position = 0
        self._stack: list[Frame] = []
        self._children: list[int] = []
        self.frames = 0
        """Frames that were the same so far, or are running."""

    def next(self, event: FrameEvent | None) -> FrameDifference | None:
        """Take the second trace's next event, None at its end."""
        known = self._first.events[self._position] if self._position < len(self._first.events) else None
        self._position += 1
        if known is None or event is None:
            if known is event or not self._first.is_complete:
                return None
            return self._at_the_end(known, event)
        if known.is_start != event.is_start:
            return self._elsewhere(known, event)
        differences = tuple(differences_of(known.values, event.values))
        if event.is_start:
            if not differences or not self._stack:
                self._enter(event)
            return self._found("the start of a child", differences) if differences else None
        if differences:
            moment = f"its end (native: {known.reason}, EELS: {event.reason})"
            return self._found(moment, differences)
        self._stack.pop()
        self._children.pop()
        return None

    def _enter(self, event: FrameEvent) -> None:
        path: tuple[int, ...] = ()
        if self._stack:
            path = (*self._stack[-1].path, self._children[-1])
            self._children[-1] += 1
        self._stack.append(Frame(self.frames, path, event.values))
        self._children.append(0)
        self.frames += 1

    def _found(self, moment: str, differences: Sequence[Difference]) -> FrameDifference:
        if len(self._stack) == 1 and moment == "the start of a child" and self.frames == 1 and self._position == 1:
            moment = "its start"
        return FrameDifference(self._stack[-1], moment, tuple(differences), tuple(self._stack[:-1]))

    def _elsewhere(self, native: FrameEvent, eels: FrameEvent) -> FrameDifference:
        difference = Difference("what it does next", _doing(native), _doing(eels))
        return self._found("what follows", (difference,))

    def _at_the_end(self, native: FrameEvent | None, eels: FrameEvent | None) -> FrameDifference:
        failure = self._first.failure or "nothing"
        said = Difference(
            "what it does next", _doing(native) if native else failure, _doing(eels) if eels else "nothing"
        )
        if not self._stack:
            frame = Frame(0, (), (native or eels or FrameEvent(True, 0, {})).values)
            return FrameDifference(frame, "the transaction's message", (said,), ())
        return self._found("what follows", (said,))


def _doing(event: FrameEvent) -> str:
    if not event.is_start:
        return f"ends: {event.reason}, gas left {event.values['gas left']}"
    values = event.values
    target = values["recipient"] if values["precompile"] is None else values["precompile"]
    return f"{values['kind']} of 0x{target:040x} with gas {values['gas']}"


def differences_of(native: Mapping[str, Any], eels: Mapping[str, Any]) -> list[Difference]:
    """What differs between two events; of collections only the entries that do."""
    found = []
    for name in {**native, **eels}:
        mine, theirs = native.get(name), eels.get(name)
        if mine != theirs:
            found += _entries(name, mine, theirs)
    return found


def _entries(name: str, mine: Any, theirs: Any) -> list[Difference]:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        rows = []
        for key in sorted({*mine, *theirs}):
            one, other = mine.get(key, _UNCHANGED), theirs.get(key, _UNCHANGED)
            if isinstance(one, Mapping) or isinstance(other, Mapping):
                one, other = ({} if side == _UNCHANGED else side for side in (one, other))
            if one != other:
                rows += _entries(f"{name} 0x{key:x}", one, other)
        return rows
    if isinstance(mine, frozenset) and isinstance(theirs, frozenset):
        return [Difference(name, f"more: {text_of(mine - theirs)}", f"more: {text_of(theirs - mine)}")]
    return [Difference(name, text_of(mine), text_of(theirs))]


_UNCHANGED = "unchanged"
_MAX_TEXT = 400


def text_of(value: Any) -> str:
    """A value for people, cut where it is long."""
    text = _text(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value) if -(1 << 63) < value < 1 << 63 else f"0x{value:x}"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, frozenset):
        return ", ".join(sorted(_hexadecimal(item) for item in value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{_hexadecimal(key)}: {_text(item)}" for key, item in value.items()) or "none"
    return f"({', '.join(_hexadecimal(item) for item in value)})"


def _hexadecimal(value: Any) -> str:
    return f"0x{value:x}" if isinstance(value, int) and not isinstance(value, bool) else _text(value)
