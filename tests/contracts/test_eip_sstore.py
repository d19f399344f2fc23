"""SSTORE's gas and refund: the tables of test cases of EIP-1283, EIP-2200 and EIP-3529, and the stipend rule."""

from __future__ import annotations

import pytest

from tests.support.assembler import asm
from tests.support.native import SELF, Call, run_native, world_of

EIP_1283 = [
    # original value, values stored, gas, refund
    (0, (0, 0), 412, 0), (0, (0, 1), 20212, 0), (0, (1, 0), 20212, 19800), (0, (1, 2), 20212, 0), (0, (1, 1), 20212, 0),
    (1, (0, 0), 5212, 15000), (1, (0, 1), 5212, 4800), (1, (0, 2), 5212, 0), (1, (2, 0), 5212, 15000),
    (1, (2, 3), 5212, 0), (1, (2, 1), 5212, 4800), (1, (2, 2), 5212, 0), (1, (1, 0), 5212, 15000),
    (1, (1, 2), 5212, 0), (1, (1, 1), 412, 0), (0, (1, 0, 1), 40218, 19800), (1, (0, 1, 0), 10218, 19800),
]  # fmt: skip
EIP_2200 = [
    (0, (0, 0), 1612, 0), (0, (0, 1), 20812, 0), (0, (1, 0), 20812, 19200), (0, (1, 2), 20812, 0),
    (0, (1, 1), 20812, 0),
    (1, (0, 0), 5812, 15000), (1, (0, 1), 5812, 4200), (1, (0, 2), 5812, 0), (1, (2, 0), 5812, 15000),
    (1, (2, 3), 5812, 0), (1, (2, 1), 5812, 4200), (1, (2, 2), 5812, 0), (1, (1, 0), 5812, 15000),
    (1, (1, 2), 5812, 0), (1, (1, 1), 1612, 0), (0, (1, 0, 1), 40818, 19200), (1, (0, 1, 0), 10818, 19200),
]  # fmt: skip
EIP_3529 = [  # the slot is warm from the start
    (0, (0, 0), 212, 0), (0, (0, 1), 20112, 0), (0, (1, 0), 20112, 19900), (0, (1, 2), 20112, 0), (0, (1, 1), 20112, 0),
    (1, (0, 0), 3012, 4800), (1, (0, 1), 3012, 2800), (1, (0, 2), 3012, 0), (1, (2, 0), 3012, 4800),
    (1, (2, 3), 3012, 0), (1, (2, 1), 3012, 2800), (1, (2, 2), 3012, 0), (1, (1, 0), 3012, 4800),
    (1, (1, 2), 3012, 0), (1, (1, 1), 212, 0), (0, (1, 0, 1), 40118, 19900), (1, (0, 1, 0), 5918, 7600),
]  # fmt: skip
TABLES = {"constantinople": EIP_1283, "istanbul": EIP_2200, "london": EIP_3529, "osaka": EIP_3529}
ROWS = [(fork, *row) for fork, table in TABLES.items() for row in table]
WARM = frozenset(((SELF, 0),))


@pytest.mark.parametrize(("fork", "original", "values", "gas", "refund"), ROWS, ids=str)
def test_the_cases_of_the_eips(
    fork: str, original: int, values: tuple[int, ...], gas: int, refund: int, tier: str
) -> None:
    code = asm(" ".join(f"{value} 0 SSTORE" for value in values))
    ended = run_native(Call(world_of(code, storage={0: original}), gas=100_000, warm_slots=WARM), fork, tier)
    assert (100_000 - ended.gas_left, ended.refund) == (gas, refund)
    assert ended.world[SELF].storage.get(0, 0) == values[-1]


@pytest.mark.parametrize(("fork", "original", "values", "gas", "refund"), ROWS[-17:], ids=str)
def test_a_slot_read_first_costs_the_same(
    fork: str, original: int, values: tuple[int, ...], gas: int, refund: int, tier: str
) -> None:
    """Behind a cold SLOAD the slot's original value is known to native code, which then does not ask the host."""
    code = asm("0 SLOAD POP " + " ".join(f"{value} 0 SSTORE" for value in values))
    ended = run_native(Call(world_of(code, storage={0: original}), gas=100_000), fork, tier)
    assert (100_000 - ended.gas_left, ended.refund) == (gas + 2105, refund)
    assert ended.world[SELF].storage.get(0, 0) == values[-1]


@pytest.mark.parametrize("fork", ["frontier", "byzantium", "petersburg"])
@pytest.mark.parametrize(
    ("original", "value", "gas", "refund"),
    [(0, 0, 5000, 0), (0, 1, 20000, 0), (1, 0, 5000, 15000), (1, 1, 5000, 0), (1, 2, 5000, 0)],
)
def test_the_old_rule_looks_at_the_current_value_alone(
    original: int, value: int, gas: int, refund: int, fork: str, tier: str
) -> None:
    """EIP-1716 took EIP-1283 back before it was ever in force on the main network."""
    code = asm(f"{value} 0 SSTORE")
    ended = run_native(Call(world_of(code, storage={0: original}), gas=50_000), fork, tier)
    assert (50_000 - ended.gas_left, ended.refund) == (6 + gas, refund)


BEHIND = ["", "GAS POP", "(GAS POP)*8", "(CALLER POP)*60", "@x JUMP x:", "0 @x JUMPI x:"]


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("fork", ["istanbul", "berlin", "osaka"])
def test_eip_2200_the_stipend_is_not_enough(fork: str, behind: str, tier: str) -> None:
    """With 2300 gas left or less at the SSTORE it is out of gas; what follows has no say in that."""
    code = asm(f"5 0 SSTORE {behind}")
    for left, enough in ((2299, False), (2300, False), (2301, True), (2302, True), (2310, True)):
        call = Call(world_of(code, storage={0: 5}), gas=6 + left, warm_slots=WARM)
        assert (run_native(call, fork, tier).outcome == "success") == enough, left


def test_eip_2200_has_no_say_before_istanbul(tier: str) -> None:
    """EIP-1283 charged 200 for a write that changes nothing, whatever is left."""
    call = Call(world_of(asm("5 0 SSTORE"), storage={0: 5}), gas=206)
    assert run_native(call, "constantinople", tier).outcome == "success"


def test_what_a_reverted_child_wrote_is_gone(tier: str) -> None:
    """The child writes a slot that the parent wrote; the parent then sees its own value, and pays for no change."""
    text = f"CALLDATASIZE @child JUMPI 3 0 SSTORE 0 0 1 0 0 {SELF} 90000 CALL 0 SLOAD 0 MSTORE 32 0 RETURN"
    code = asm(f"{text} child: 9 0 SSTORE 8 1 SSTORE 0 0 REVERT")
    ended = run_native(Call(world_of(code, storage={0: 1})), "osaka", tier)
    assert int.from_bytes(ended.output, "big") == 3
    assert ended.world[SELF].storage == {0: 3}


def test_what_a_child_wrote_is_seen_by_its_parent(tier: str) -> None:
    text = f"CALLDATASIZE @child JUMPI 3 0 SSTORE 0 0 1 0 0 {SELF} 90000 CALL 0 SLOAD 0 MSTORE 32 0 RETURN"
    code = asm(f"{text} child: 0 SLOAD 6 ADD 0 SSTORE STOP")
    ended = run_native(Call(world_of(code, storage={0: 1})), "osaka", tier)
    assert int.from_bytes(ended.output, "big") == 9
    assert ended.world[SELF].storage == {0: 9}
