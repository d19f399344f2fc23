"""Tracing differences: a wrong lowering is found in the frame that it runs in, and sound code has no difference."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.codegen.emit import lowerings
from evmaot.codegen.emit.lowerings.arithmetic import binary
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant
from evmaot.codegen.ir.program import Block, Instruction
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.execution.programs import JitPrograms
from evmaot.hosts.frame_trace import Comparison, FrameEvent, Trace, text_of
from evmaot.hosts.frame_trace_eels import CaseTrace, trace_case
from evmaot.hosts.state_tests import CaseKey, StateTest
from tests.support.assembly import assemble, call, deploying, store_bytes
from tests.support.state_cases import make, solved

INNER, OTHER = 0x1111, 0x2222
EVERY_FORK = (
    "Frontier", "Homestead", "EIP150", "EIP158", "Byzantium", "ConstantinopleFix", "Istanbul", "Berlin", "London",
    "Merge", "Shanghai", "Cancun", "Prague", "Osaka",
)  # fmt: skip


def trace(test: StateTest, fork: str = "Osaka") -> CaseTrace:
    return trace_case(test, CaseKey(test.id, fork, 0), JitPrograms(CompileOptions(Tier.FAST)), "fast")


def world(inner: bytes, fork: str = "Osaka") -> StateTest:
    """The transaction's code calls OTHER, which stores, and by another one INNER: paths (0,) and (1, 0)."""
    middle = call("CALL", INNER, gas=500_000)
    outer = call("CALL", OTHER) + call("CALL", 0x3333, gas=600_000)
    others = {OTHER: assemble(1, 1, "SSTORE"), 0x3333: middle, INNER: inner}
    return solved(make("t", (fork,), code=outer, others=others, gasLimit=["0x0f4240"]))


def broken(monkeypatch: pytest.MonkeyPatch, mnemonic: str, lowering: Lowering) -> None:
    monkeypatch.setattr(lowerings, "LOWERINGS", {**lowerings.LOWERINGS, mnemonic: lowering})


def found(result: CaseTrace) -> tuple[tuple[int, ...], dict[str, tuple[str, str]]]:
    assert result.difference is not None
    rows = {row.what: (row.native, row.eels) for row in result.difference.differences}
    return result.difference.frame.path, rows


@pytest.mark.parametrize("fork", EVERY_FORK)
def test_sound_code_has_no_difference(fork: str) -> None:
    init_code = deploying(assemble(OTHER, "SELFDESTRUCT"))
    created = store_bytes(init_code) + assemble(len(init_code), 0, 0, "CREATE")
    inner = (
        assemble("CALLER", 3, "SSTORE", 0, 3, "SSTORE", 5, 32, 0, "LOG1")
        + call("CALL", 2, input=(0, 32), output=(0, 32))
        + call("CALLCODE", OTHER)
        + call("CALL", 0x4444)
        + created
        + assemble(4, "SSTORE", 0, 0, 0, 0, 0, 4, "SLOAD", 50_000, "CALL", "INVALID")
    )
    result = trace(world(inner, fork), fork)
    assert result.difference is None and result.native_problem == result.interpreter_problem == ""
    assert result.frames >= 8 and result.is_complete


def test_a_wrong_result_is_found_in_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    test = world(assemble("CALLER", 5, "ADD", 7, "SSTORE"))
    broken(monkeypatch, "ADD", binary("sub"))
    result = trace(test)
    path, rows = found(result)
    assert path == (1, 0)
    assert rows == {f"storage 0x{INNER:x} 0x7": (text_of((5 - 0x3333) % 2**256), text_of(0x3333 + 5))}
    assert result.difference is not None and [caller.path for caller in result.difference.callers] == [(), (1,)]
    assert result.difference.frame.values["recipient"] == INNER and "state root" in result.native_problem


def test_wrong_gas_is_found_in_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = lowerings.LOWERINGS["CALLER"]

    def dearer(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
        emitter.charge(1)
        sound(emitter, instruction, block)

    test = world(assemble("CALLER", 7, "SSTORE"))
    broken(monkeypatch, "CALLER", dearer)
    path, rows = found(trace(test))
    assert path == (1, 0) and set(rows) == {"gas left"}
    assert int(rows["gas left"][0]) == int(rows["gas left"][1]) - 1


def test_a_wrong_call_is_its_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = assemble(0, 0, 0, 0, 0, "CALLER", 1, "ADD", 50_000, "CALL")
    test = world(inner)
    broken(monkeypatch, "ADD", binary("xor"))
    test.content["pre"][f"0x{0x3333:040x}"]["code"] = "0x" + call("CALL", INNER).hex()
    result = trace(test)
    path, rows = found(result)
    assert path == (1, 0) and rows["recipient"] == (str(0x3333 ^ 1), str(0x3334))
    assert result.difference is not None and result.difference.moment == "the start of a child"


def test_a_call_that_is_not_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = assemble("CALLER", "ISZERO", len(assemble("CALLER", "ISZERO", 0, "JUMPI")) + 39, "JUMPI")
    inner = inner + call("CALL", OTHER)
    inner = inner.ljust(len(assemble("CALLER", "ISZERO", 0, "JUMPI")) + 39, b"\x00") + assemble("JUMPDEST")
    test = world(inner)

    def always(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        emitter.stack.drop()
        emitter.stack.push(Constant(1))

    broken(monkeypatch, "ISZERO", always)
    path, rows = found(trace(test))
    assert path == (1, 0)
    native, eels = rows["what it does next"]
    assert native.startswith("ends: STOP") and eels.startswith(f"call of 0x{OTHER:040x}")


def test_code_that_does_not_compile_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from evmaot.errors import CompileError

    def refuses(*_: Any) -> None:
        raise CompileError("no_reason", "it does not want to")

    test = world(assemble("CALLER", 7, "SSTORE"))
    broken(monkeypatch, "CALLER", refuses)
    path, rows = found(trace(test))
    assert path == (1, 0) and "it does not want to" in rows["what it does next"][0]


# --- comparing ------------------------------------------------------------------------------------

START = {"kind": "call", "recipient": 1, "precompile": None, "gas": 5, "warm addresses": frozenset((1, 2))}
END = {"status": "success", "gas left": 3, "output": b"", "accounts": {7: (1, 2, b"")}}


def events(**changed: Any) -> list[FrameEvent]:
    start = {name: changed.get(name, value) for name, value in START.items()}
    end = {name: changed.get(name, value) for name, value in END.items()}
    return [FrameEvent(True, 0, start), FrameEvent(False, 0, end, "STOP")]


@pytest.mark.parametrize(
    ("name", "value", "native", "eels"),
    [
        ("gas", 6, "5", "6"),
        ("warm addresses", frozenset((2, 3)), "more: 0x1", "more: 0x3"),
        ("status", "halt", "success", "halt"),
        ("output", b"\x01", "0x", "0x01"),
        ("accounts", {7: None}, "(0x1, 0x2, 0x)", "none"),
        ("accounts", {}, "(0x1, 0x2, 0x)", "unchanged"),
    ],
)
def test_what_differs_is_named(name: str, value: Any, native: str, eels: str) -> None:
    comparison = Comparison(Trace(events()))
    differences = [found for event in events(**{name: value}) if (found := comparison.next(event))]
    (row,) = differences[0].differences
    assert (row.what.split()[0], row.native, row.eels) == (name.split()[0], native, eels)


def test_a_deleted_account_is_not_an_unchanged_one() -> None:
    comparison = Comparison(Trace(events(accounts={7: None})))
    differences = [found for event in events(accounts={}) if (found := comparison.next(event))]
    assert [(row.native, row.eels) for row in differences[0].differences] == [("none", "unchanged")]


def test_what_comes_after_the_limit_is_not_compared() -> None:
    first = Trace(events()[:1], is_complete=False)
    comparison = Comparison(first)
    assert all(comparison.next(event) is None for event in events(gas_left=9))


def test_a_trace_that_goes_on_is_a_difference() -> None:
    comparison = Comparison(Trace(events()))
    assert [comparison.next(event) for event in events()] == [None, None]
    assert comparison.next(events()[0]) is not None


def test_long_values_are_cut() -> None:
    assert len(text_of(bytes(10_000))) < 500 and "20002 characters" in text_of(bytes(10_000))
