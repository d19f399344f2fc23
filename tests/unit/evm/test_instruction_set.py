"""Restricted rules: what a code can tell apart, and nothing else, is in the digest."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from evmaot.errors import CompilerBug
from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.instruction_set import opcode_bitmap, opcodes_of_bitmap, restrict
from evmaot.evm.opcodes import BY_MNEMONIC, OPCODES
from tests.support.fixtures import REPOSITORY

ALL = frozenset(range(256))


def opcodes(*mnemonics: str) -> frozenset[int]:
    return frozenset(BY_MNEMONIC[mnemonic].value for mnemonic in mnemonics)


def test_forks_that_a_code_cannot_tell_apart_have_equal_rules() -> None:
    """ADD and PUSH1 never changed, so one artifact serves all forks."""
    digests = {restrict(fork, opcodes("PUSH1", "ADD", "STOP")).digest for fork in FORKS.values()}
    assert len(digests) == 1


def test_all_forks_differ_on_all_opcodes_where_their_rules_differ() -> None:
    """Paris changed the meaning of a value that the host supplies (EIP-4399), not what is compiled."""
    by_digest: dict[str, list[str]] = {}
    for fork in FORKS.values():
        by_digest.setdefault(restrict(fork, ALL).digest, []).append(fork.name)
    assert [names for names in by_digest.values() if len(names) > 1] == [["london", "paris"]]


@pytest.mark.parametrize(
    ("mnemonic", "before", "after"),
    [
        ("PUSH0", "paris", "shanghai"),
        ("SLOAD", "istanbul", "berlin"),
        ("SSTORE", "constantinople", "petersburg"),
        ("SSTORE", "berlin", "london"),
        ("EXP", "tangerine_whistle", "spurious_dragon"),
        ("CALL", "cancun", "prague"),
        ("CREATE", "paris", "shanghai"),
        ("CLZ", "prague", "osaka"),
        ("SELFDESTRUCT", "homestead", "tangerine_whistle"),
    ],
)
def test_a_rule_that_changed_changes_the_digest(mnemonic: str, before: str, after: str) -> None:
    assert restrict(FORKS[before], opcodes(mnemonic)).digest != restrict(FORKS[after], opcodes(mnemonic)).digest


@pytest.mark.parametrize("mnemonic", [row.mnemonic for row in OPCODES if row and row.parameters])
def test_every_consulted_parameter_is_in_the_digest(mnemonic: str) -> None:
    """Changing any parameter that a row names changes the digest of a code with that opcode."""
    fork = FORKS["osaka"]
    digest = restrict(fork, opcodes(mnemonic)).digest
    for name in BY_MNEMONIC[mnemonic].parameters:
        other: dict[str, Any] = {name: 987654321}
        changed = replace(fork, name="changed", parameters=replace(fork.parameters, **other))
        assert restrict(changed, opcodes(mnemonic)).digest != digest, name


def test_executor_parameters_are_not_in_the_digest() -> None:
    """What only the executor consults must not split artifacts."""
    fork = FORKS["osaka"]
    parameters = replace(
        fork.parameters, code_deposit_byte=1, rejects_ef_code=False, selfdestruct_refund=5, max_code_size_bytes=1
    )
    assert restrict(replace(fork, parameters=parameters), ALL).digest == restrict(fork, ALL).digest


def test_rules_refuse_what_their_digest_does_not_cover() -> None:
    rules = restrict(FORKS["osaka"], opcodes("ADD"))
    assert rules.gas(0x01) == 3
    with pytest.raises(CompilerBug, match="opcode 0x02"):
        rules.gas(0x02)
    with pytest.raises(CompilerBug, match="exp_byte"):
        rules["exp_byte"]


def test_an_undefined_opcode_is_covered_without_parameters() -> None:
    """An opcode that the fork does not price consults nothing."""
    rules = restrict(FORKS["frontier"], opcodes("CREATE2") | {0x0C})
    assert rules.gas(BY_MNEMONIC["CREATE2"].value) is None
    assert rules.gas(0x0C) is None
    assert rules.parameters == {}


@pytest.mark.parametrize("fork", FORKS.values(), ids=lambda fork: fork.name)
def test_rules_give_the_prices_of_their_fork(fork: Fork) -> None:
    rules = restrict(fork, ALL)
    assert [rules.gas(value) for value in range(256)] == list(fork.opcode_gas)


def test_the_digest_is_the_same_in_another_process() -> None:
    """Hash randomisation must not reach it: the digest names artifacts on disk."""
    script = (
        "import json; from evmaot.evm.forks import FORKS; from evmaot.evm.instruction_set import restrict;"
        "print(json.dumps([restrict(f, frozenset(range(256))).digest for f in FORKS.values()]))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
            cwd=REPOSITORY,
        )  # fmt: skip
        assert json.loads(done.stdout) == [restrict(fork, ALL).digest for fork in FORKS.values()]


@pytest.mark.parametrize("values", [set(), {0}, {255}, {0x5F, 0x60, 0xFF}, set(range(256))])
def test_a_bitmap_names_its_opcodes(values: set[int]) -> None:
    bitmap = opcode_bitmap(values)
    assert len(bitmap) == 64
    assert opcodes_of_bitmap(bitmap) == values


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64])
def test_a_bitmap_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"64 hex digits|invalid literal"):
        opcodes_of_bitmap(text)
