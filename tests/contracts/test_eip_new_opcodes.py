"""Every opcode that a fork added: undefined before it, its price from it on, underflow, static frames."""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS
from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.assembler import asm
from tests.support.native import gas_used, run_code

NAMES = tuple(FORKS)
NEW = [
    # mnemonic, EIP, first fork, operands (last pushed first), static gas there and what the operands add to it
    ("DELEGATECALL", 7, "homestead", "0 0 0 0 4 0", 40),  # a callee without gas takes no more
    ("REVERT", 140, "byzantium", "0 0", 0),
    ("RETURNDATASIZE", 211, "byzantium", "", 2),
    ("RETURNDATACOPY", 211, "byzantium", "0 0 0", 3),
    ("STATICCALL", 214, "byzantium", "0 0 0 0 0xE0 0", 700),
    ("SHL", 145, "constantinople", "1 2", 3),
    ("SHR", 145, "constantinople", "1 2", 3),
    ("SAR", 145, "constantinople", "1 2", 3),
    ("CREATE2", 1014, "constantinople", "0 0 0 0", 32000),
    ("EXTCODEHASH", 1052, "constantinople", "0", 400),
    ("CHAINID", 1344, "istanbul", "", 2),
    ("SELFBALANCE", 1884, "istanbul", "", 5),
    ("BASEFEE", 3198, "london", "", 2),
    ("PUSH0", 3855, "shanghai", "", 2),
    ("TLOAD", 1153, "cancun", "0", 100),
    ("TSTORE", 1153, "cancun", "1 0", 100),
    ("MCOPY", 5656, "cancun", "0 0 0", 3),
    ("BLOBHASH", 4844, "cancun", "0", 3),
    ("BLOBBASEFEE", 7516, "cancun", "", 2),
    ("CLZ", 7939, "osaka", "1", 5),
]
new_opcodes = pytest.mark.parametrize(("mnemonic", "eip", "since", "operands", "gas"), NEW, ids=lambda item: str(item))


def code_of(mnemonic: str, operands: str) -> bytes:
    return asm(f"{operands} {mnemonic}")


@new_opcodes
def test_it_is_undefined_before_its_fork(
    mnemonic: str, eip: int, since: str, operands: str, gas: int, tier: str
) -> None:
    for fork in NAMES[: NAMES.index(since)]:
        ended = run_code(code_of(mnemonic, operands), fork, tier)
        assert (ended.outcome, ended.gas_left, ended.reason) == ("halt", 0, "INVALID_OPCODE"), fork


@new_opcodes
def test_its_gas_at_its_fork(mnemonic: str, eip: int, since: str, operands: str, gas: int, tier: str) -> None:
    if mnemonic == "REVERT":
        ended = run_code(asm("0 0 REVERT"), since, tier, gas=1000)
        assert (ended.outcome, ended.gas_left) == ("revert", 1000 - 6)
        return
    assert gas_used(code_of(mnemonic, operands), since, tier) == 3 * len(operands.split()) + gas


@new_opcodes
def test_it_is_defined_from_its_fork_on(
    mnemonic: str, eip: int, since: str, operands: str, gas: int, tier: str
) -> None:
    for fork in NAMES[NAMES.index(since) :]:
        ended = run_code(code_of(mnemonic, operands), fork, tier)
        assert ended.outcome == ("revert" if mnemonic == "REVERT" else "success"), fork


@new_opcodes
def test_it_underflows(mnemonic: str, eip: int, since: str, operands: str, gas: int, tier: str) -> None:
    inputs = BY_MNEMONIC[mnemonic].inputs
    if inputs:
        ended = run_code(asm("0 " * (inputs - 1) + mnemonic), since, tier)
        assert ended.reason == "STACK_UNDERFLOW"


@pytest.mark.parametrize(
    ("operands", "mnemonic"),
    [
        ("0 0", "SSTORE"), ("0 0", "TSTORE"), ("0 0", "LOG0"), ("0 0 0 0 0 0", "LOG4"), ("0 0 0", "CREATE"),
        ("0 0 0 0", "CREATE2"), ("0", "SELFDESTRUCT"), ("0 0 0 0 1 4 0", "CALL"),
    ],
)  # fmt: skip
def test_a_static_frame_changes_nothing(operands: str, mnemonic: str, tier: str) -> None:
    """EIP-214: a violation, where the same is fine in a plain frame."""
    code = asm(f"{operands} {mnemonic}")
    assert run_code(code, "osaka", tier, is_static=True).reason == "STATIC_VIOLATION"
    assert run_code(code, "osaka", tier).outcome == "success"


@pytest.mark.parametrize("mnemonic", ["CALL", "CALLCODE"])
def test_a_static_frame_may_call(mnemonic: str, tier: str) -> None:
    """EIP-214: a CALL without value, and a CALLCODE with value, which moves nothing."""
    value = 0 if mnemonic == "CALL" else 1
    assert run_code(asm(f"0 0 0 0 {value} 4 0 {mnemonic}"), "osaka", tier, is_static=True).outcome == "success"


def test_code_may_hold_undefined_opcodes_that_are_not_reached(tier: str) -> None:
    for name in ("x0c", "x5c", "xef", "xfe"):
        assert gas_used(asm(f"@over JUMP {name} over: CALLER"), "frontier", tier) == 14
