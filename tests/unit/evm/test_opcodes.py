"""The opcode table is complete, consistent, and names only what exists."""

from __future__ import annotations

import dataclasses

import pytest

from evmaot.abi.layout import STACK_LIMIT
from evmaot.evm.forks import FORKS, ForkParameters
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES, Opcode, Trait

ROWS = [row for row in OPCODES if row is not None]


def test_a_row_is_at_its_value() -> None:
    assert len(OPCODES) == 256
    assert all(row is None or row.value == value for value, row in enumerate(OPCODES))


def test_mnemonics_are_unique() -> None:
    assert len(BY_MNEMONIC) == len(ROWS)
    assert all(BY_MNEMONIC[row.mnemonic] is row for row in ROWS)


def test_only_invalid_is_priced_by_no_fork() -> None:
    unpriced = [row.mnemonic for row in ROWS if not any(fork.prices(row.mnemonic) for fork in FORKS.values())]
    assert unpriced == ["INVALID"]


def test_only_pushes_have_immediate_data() -> None:
    assert {row.mnemonic: row.immediate_size for row in ROWS if row.immediate_size} == {
        f"PUSH{n}": n for n in range(1, 33)
    }


def test_terminators_are_those_of_the_yellow_paper() -> None:
    terminators = {row.mnemonic for row in ROWS if row.has(Trait.TERMINATOR)}
    assert terminators == {"STOP", "JUMP", "RETURN", "REVERT", "INVALID", "SELFDESTRUCT"}


def test_only_calls_and_creates_suspend() -> None:
    suspending = {row.mnemonic for row in ROWS if row.has(Trait.SUSPENDS)}
    assert suspending == {"CALL", "CALLCODE", "DELEGATECALL", "STATICCALL", "CREATE", "CREATE2"}


def test_gas_is_visible_to_gas_sstore_and_what_suspends() -> None:
    """GAS pushes it, SSTORE compares it with the stipend (EIP-2200), a child gets a share of it (EIP-150)."""
    observing = {row.mnemonic for row in ROWS if row.has(Trait.OBSERVES_GAS)}
    assert observing == {"GAS", "SSTORE"} | {row.mnemonic for row in ROWS if row.has(Trait.SUSPENDS)}


def test_state_changes_are_those_that_eip_214_forbids() -> None:
    """CALL is not in the list: only with value it is forbidden."""
    forbidden = {"CREATE", "CREATE2", "LOG0", "LOG1", "LOG2", "LOG3", "LOG4", "SSTORE", "SELFDESTRUCT", "TSTORE"}
    assert {row.mnemonic for row in ROWS if row.has(Trait.CHANGES_STATE)} == forbidden


def test_jumps_are_jump_and_jumpi() -> None:
    assert {row.mnemonic for row in ROWS if row.has(Trait.JUMP)} == {"JUMP", "JUMPI"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_consulted_parameters_exist(row: Opcode) -> None:
    assert set(row.parameters) <= {field.name for field in dataclasses.fields(ForkParameters)}
    assert len(set(row.parameters)) == len(row.parameters)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_stack_effects_are_small(row: Opcode) -> None:
    """Every opcode pushes at most one word more than it needs: a section's growth is bounded by its length."""
    assert 0 <= row.inputs <= 17
    assert row.outputs - row.inputs <= 1
    assert row.inputs < STACK_LIMIT


def test_dup_and_swap_count_the_words_they_need() -> None:
    for n in range(1, 17):
        assert (BY_MNEMONIC[f"DUP{n}"].inputs, BY_MNEMONIC[f"DUP{n}"].outputs) == (n, n + 1)
        assert (BY_MNEMONIC[f"SWAP{n}"].inputs, BY_MNEMONIC[f"SWAP{n}"].outputs) == (n + 1, n + 1)
