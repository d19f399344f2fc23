"""CALL*, CREATE* and SELFDESTRUCT helpers: gas and requests, one helper at a time."""

from __future__ import annotations

import pytest

from evmaot.abi.status import AccountFlag, CallKind, Status
from evmaot.codegen.builtins.system import CALL_RULES, CREATE_RULES, SELFDESTRUCT_RULES
from evmaot.evm.forks import FORKS
from tests.support.helper_frame import HelperFrame, from_native, numbers, to_native, to_word_array

GAS = 1_000_000
ALIVE = AccountFlag.EXISTS | AccountFlag.ALIVE
ADDRESS = 0xABCDEF


def table(names: tuple[str, ...], fork: str) -> object:
    parameters = FORKS[fork].parameters
    values = [getattr(parameters, name) for name in names]
    return numbers(*(-1 if value is None else int(value) for value in values))


def frame_answering(flags: int) -> tuple[HelperFrame, list[int]]:
    asked: list[int] = []

    def answer(_frame: int, address: int) -> int:
        asked.append(from_native(to_word_array(address)))
        return flags

    return HelperFrame(account_status=answer, selfdestruct=answer), asked


def call(
    frame: HelperFrame,
    kind: CallKind,
    fork: str,
    *,
    gas: int = GAS,
    ask: int = 0,
    value: int = 0,
    target: int = ADDRESS,
) -> int:
    """CALL with 64 bytes of input at 32 and 32 bytes of output at 160."""
    operands = [ask, target, *([value] if kind in (CallKind.CALL, CallKind.CALLCODE) else []), 32, 64, 160, 32]
    return frame.call("call", frame.push(*operands), gas, int(kind), table(CALL_RULES, fork))


MEMORY = 6 * 3
"""Gas of the six words that the ranges above need."""


@pytest.mark.parametrize("kind", [CallKind.CALL, CallKind.CALLCODE, CallKind.DELEGATECALL, CallKind.STATICCALL])
def test_a_request_is_what_the_operands_say(kind: CallKind) -> None:
    frame, asked = frame_answering(ALIVE)
    high = ADDRESS | 1 << 255
    assert call(frame, kind, "osaka", ask=5000, target=high) == GAS - MEMORY - 5000
    assert asked == [ADDRESS], "the upper 96 bits are not part of an address"
    assert frame.get("request_kind") == kind
    assert frame.get("request_gas") == 5000
    assert (frame.word("request_target"), frame.word("request_value")) == (ADDRESS, 0)
    names = ("input_offset", "input_size", "output_offset", "output_size")
    assert [frame.get(f"request_{name}") for name in names] == [32, 64, 160, 32]
    assert frame.get("memory_size") == 192


@pytest.mark.parametrize(("kind", "fork"), [(CallKind.CALL, "osaka"), (CallKind.CALLCODE, "osaka")])
def test_value_costs_and_gives_a_stipend(kind: CallKind, fork: str) -> None:
    frame, _ = frame_answering(ALIVE)
    assert call(frame, kind, fork, ask=100, value=1 << 200) == GAS - MEMORY - 9000 - 100
    assert frame.get("request_gas") == 2400
    assert frame.word("request_value") == 1 << 200


@pytest.mark.parametrize(
    ("fork", "flags", "value", "new"),
    [
        ("frontier", 0, 0, True),
        ("frontier", AccountFlag.EXISTS, 1, False),
        ("osaka", 0, 0, False),
        ("osaka", 0, 1, True),
        ("osaka", AccountFlag.EXISTS, 1, True),
        ("osaka", ALIVE, 1, False),
    ],
)
def test_a_new_account(fork: str, flags: int, value: int, new: bool) -> None:
    """EIP-161: since then a dead account that gets value, before one that does not exist."""
    frame, _ = frame_answering(flags)
    paid = GAS - call(frame, CallKind.CALL, fork, value=value)
    assert paid == MEMORY + (9000 if value else 0) + (25000 if new else 0)
    frame, _ = frame_answering(flags)
    assert GAS - call(frame, CallKind.CALLCODE, fork, value=value) == MEMORY + (9000 if value else 0)


def test_cold_accounts_and_delegations() -> None:
    for flags, extra in (
        (AccountFlag.COLD, 2500),
        (AccountFlag.DELEGATED, 100),
        (AccountFlag.DELEGATED | AccountFlag.DELEGATE_COLD, 2600),
        (AccountFlag.COLD | AccountFlag.DELEGATED | AccountFlag.DELEGATE_COLD, 5100),
    ):
        frame, _ = frame_answering(ALIVE | flags)
        assert call(frame, CallKind.STATICCALL, "prague") == GAS - MEMORY - extra


@pytest.mark.parametrize("ask", [0, 1, GAS, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, (1 << 256) - 1])
def test_eip_150_caps_what_a_child_gets(ask: int) -> None:
    frame, _ = frame_answering(ALIVE)
    have = GAS - MEMORY
    left = call(frame, CallKind.CALL, "osaka", ask=ask)
    given = min(ask, have - have // 64)
    assert (left, frame.get("request_gas")) == (have - given, given)


@pytest.mark.parametrize("ask", [0, GAS - MEMORY, GAS - MEMORY + 1, 1 << 64, (1 << 256) - 1])
def test_before_eip_150_too_large_an_ask_is_out_of_gas(ask: int) -> None:
    frame, _ = frame_answering(ALIVE)
    enough = ask <= GAS - MEMORY
    assert call(frame, CallKind.CALL, "homestead", ask=ask) == (GAS - MEMORY - ask if enough else -1)


def test_a_static_frame_sends_no_value() -> None:
    for kind, value, fails in ((CallKind.CALL, 1, True), (CallKind.CALL, 0, False), (CallKind.CALLCODE, 1, False)):
        frame, _ = frame_answering(ALIVE)
        frame.set("is_static", 1)
        assert (call(frame, kind, "osaka", value=value) == -1) == fails
        assert frame.get("status_detail") == (Status.STATIC_VIOLATION if fails else 0)


def test_a_failing_host_ends_the_frame() -> None:
    frame, _ = frame_answering(-1)
    assert call(frame, CallKind.CALL, "osaka") == -1
    assert frame.get("status_detail") == Status.HOST_ERROR


def create(frame: HelperFrame, kind: CallKind, fork: str, *, size: int = 64, gas: int = GAS) -> int:
    names = CREATE_RULES if kind is CallKind.CREATE2 else CREATE_RULES[:-1]
    rules = table(names, fork) if kind is CallKind.CREATE2 else _padded(names, fork)
    return frame.call("create", frame.push(7, 32, size, 1 << 250), gas, int(kind), rules)


def _padded(names: tuple[str, ...], fork: str) -> object:
    parameters = FORKS[fork].parameters
    values = [getattr(parameters, name) for name in names]
    return numbers(*(-1 if value is None else int(value) for value in values), 0)


@pytest.mark.parametrize("kind", [CallKind.CREATE, CallKind.CREATE2])
def test_a_create_asks_for_all_but_one_64th(kind: CallKind) -> None:
    frame = HelperFrame()
    have = GAS - 3 * 3 - 2 * 2 - (6 * 2 if kind is CallKind.CREATE2 else 0)
    assert create(frame, kind, "osaka") == have // 64
    assert frame.get("request_gas") == have - have // 64
    assert frame.get("request_kind") == kind
    assert (frame.get("request_input_offset"), frame.get("request_input_size")) == (32, 64)
    assert frame.word("request_value") == 7
    if kind is CallKind.CREATE2:
        assert frame.word("request_salt") == 1 << 250


def test_before_eip_150_a_create_takes_everything() -> None:
    frame = HelperFrame()
    assert create(frame, CallKind.CREATE, "homestead") == 0
    assert frame.get("request_gas") == GAS - 9


def test_a_static_frame_creates_nothing() -> None:
    frame = HelperFrame()
    frame.set("is_static", 1)
    assert create(frame, CallKind.CREATE, "osaka") == -1
    assert frame.get("status_detail") == Status.STATIC_VIOLATION


@pytest.mark.parametrize(
    ("fork", "flags", "gas"),
    [
        ("frontier", 0, 0),
        ("tangerine_whistle", 0, 25000),
        ("tangerine_whistle", AccountFlag.EXISTS, 0),
        ("spurious_dragon", AccountFlag.EXISTS, 0),
        ("spurious_dragon", AccountFlag.EXISTS | AccountFlag.HAS_BALANCE, 25000),
        ("spurious_dragon", ALIVE | AccountFlag.HAS_BALANCE, 0),
        ("berlin", ALIVE | AccountFlag.COLD, 2600),
        ("berlin", AccountFlag.COLD | AccountFlag.HAS_BALANCE, 27600),
    ],
)
def test_what_a_beneficiary_costs(fork: str, flags: int, gas: int) -> None:
    frame, asked = frame_answering(flags)
    left = frame.call("selfdestruct", GAS, to_native(ADDRESS | 1 << 200), table(SELFDESTRUCT_RULES, fork))
    assert (GAS - left, asked) == (gas, [ADDRESS])
