"""The first differing frame of a state test, for terminals and as data.

Job: `say_trace` and `trace_document`.  May import: `evmaot.hosts.frame_trace`, `evmaot.cli.output`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evmaot.cli.output import Output, counted
from evmaot.hosts.frame_trace import MAX_FRAMES, Frame, text_of

if TYPE_CHECKING:
    from evmaot.hosts.frame_trace_eels import CaseTrace

_SHOWN = ("kind", "sender", "recipient", "code", "code size", "precompile", "gas", "value", "static", "input")
_ADDRESSES = frozenset(("sender", "recipient", "precompile"))


def trace_document(trace: CaseTrace) -> dict[str, Any]:
    """The same as data, all values as text or numbers."""
    difference = trace.difference
    place = {"test": trace.test, "fork": trace.fork_name, "index": trace.index, "mode": trace.mode}
    return {
        **place,
        "frames": trace.frames,
        "is_complete": trace.is_complete,
        "native_problem": trace.native_problem,
        "interpreter_problem": trace.interpreter_problem,
        "difference": None
        if difference is None
        else {
            "frame": _frame_data(difference.frame),
            "moment": difference.moment,
            "differences": [asdict(row) for row in difference.differences],
            "callers": [_frame_data(frame) for frame in difference.callers],
        },
    }


def _frame_data(frame: Frame) -> dict[str, Any]:
    values = frame.values
    return {
        "number": frame.number,
        "path": list(frame.path),
        "kind": values["kind"],
        **{name: _value(frame, name) for name in ("sender", "recipient", "precompile", "input")},
        "code_hash": text_of(values["code"]) if values["code"] else None,
        "code_size_bytes": values["code size"],
        "gas": values["gas"],
        "value": hex(values["value"]),
        "is_static": values["static"],
    }


def _value(frame: Frame, name: str) -> Any:
    value = frame.values.get(name)
    if value is not None and name in _ADDRESSES:
        return f"0x{value:040x}"
    return value if value is None else text_of(value)


def say_trace(output: Output, trace: CaseTrace) -> None:
    """Words for a person, on stderr."""
    output.say(output.styled(f"{trace.test} {trace.fork_name} {trace.index} ({trace.mode})", "bold"))
    difference = trace.difference
    if difference is None:
        output.say(f"  {counted(trace.frames, 'frame')} compared with EELS's interpreter, no difference")
        if not trace.is_complete and trace.frames:
            output.say(f"  only the first {MAX_FRAMES} frames were recorded")
        for side, problem in (("native", trace.native_problem), ("interpreter", trace.interpreter_problem)):
            if problem:
                output.say(f"  {side}: {problem}")
        return
    frame = difference.frame
    path = "/".join(map(str, frame.path)) or "outermost"
    output.say(f"  first difference: frame {frame.number} (path {path}), at {difference.moment}")
    for row in difference.differences:
        output.say(f"    {row.what}:")
        output.say(f"      native {row.native}")
        output.say(f"      EELS   {row.eels}")
    output.say("  the frame")
    for name in _SHOWN:
        output.say(f"    {f'{name}:'.ljust(12)}{_value(frame, name) or 'none'}")
    if difference.callers:
        output.say("  called by, outermost first")
        for caller in difference.callers:
            code = str(_value(caller, "code"))
            output.say(f"    frame {caller.number}: {_value(caller, 'recipient')} code {code}")
