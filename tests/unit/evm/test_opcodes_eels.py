"""Every opcode in every fork against EELS: existence, static gas, and stack effect.

The prices are measured by executing EELS's own instruction in a frame whose operands are all zero
and whose touched account and slot are warm, so nothing but the static price is charged.
"""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS, Fork, fork_named
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES
from tests.support.eels import EELS_PACKAGE, Machine, opcodes_of

EVERY_FORK = list(EELS_PACKAGE)
OPERANDS = 40
"""Words on the stack, more than any opcode needs."""


def test_only_true_constantinople_is_without_an_eels_package() -> None:
    assert {fork_named(name).name for name in EELS_PACKAGE} == set(FORKS) - {"constantinople"}


def expected_gas(fork: Fork, opcode: int) -> int | None:
    price = fork.opcode_gas[opcode]
    if opcode == BY_MNEMONIC["SSTORE"].value and price is not None:
        price += fork.parameters.storage_schedule[0][0]  # 0 -> 0 -> 0
    return price


@pytest.mark.parametrize("name", EVERY_FORK)
def test_opcodes_that_exist_are_those_of_eels(name: str) -> None:
    fork = fork_named(name)
    ours = {value: row.mnemonic for value, row in enumerate(OPCODES) if row and fork.opcode_gas[value] is not None}
    theirs = opcodes_of(EELS_PACKAGE[name])
    if "PREVRANDAO" in theirs.values():
        assert theirs[0x44] == "PREVRANDAO"
    else:
        assert theirs.pop(0x44) == "DIFFICULTY"  # the row carries the newer name (EIP-4399)
        theirs[0x44] = "PREVRANDAO"
    assert ours == theirs


@pytest.mark.parametrize("name", EVERY_FORK)
def test_static_gas_is_what_eels_charges(name: str) -> None:
    fork, package = fork_named(name), EELS_PACKAGE[name]
    machine = Machine(package)
    ours: dict[str, int | None] = {}
    theirs: dict[str, int | None] = {}
    for value, mnemonic in opcodes_of(package).items():
        ours[mnemonic] = expected_gas(fork, value)
        theirs[mnemonic] = machine.frame([0] * OPERANDS, memory_bytes=32).execute(mnemonic).gas
    assert ours == theirs


@pytest.mark.parametrize("name", EVERY_FORK)
def test_stack_effect_is_that_of_eels(name: str) -> None:
    """Inputs are the least height without underflow; outputs follow from the change in height."""
    package = EELS_PACKAGE[name]
    machine = Machine(package)
    ours: dict[str, tuple[int, int]] = {}
    theirs: dict[str, tuple[int, int]] = {}
    underflow = machine.eels.exceptions.StackUnderflowError
    for value, mnemonic in opcodes_of(package).items():
        row = OPCODES[value]
        assert row is not None
        ours[mnemonic] = (row.inputs, row.outputs)
        for height in range(OPERANDS):
            measured = machine.frame([0] * height).execute(mnemonic)
            if not isinstance(measured.error, underflow):
                theirs[mnemonic] = (height, height + measured.height_change)
                break
    assert ours == theirs
