"""Opcodes that are expensive to expand: right inline, as helpers, and where one changes to the other."""

from __future__ import annotations

from collections import Counter

import pytest

from evmaot.codegen.driver import plan, reachable_opcodes
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import fork_named
from evmaot.evm.instruction_set import restrict
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.assembler import asm
from tests.support.native import run_code

FORK = "osaka"
NAMES = ("MUL", "SIGNEXTEND", "BYTE", "SHL", "SHR", "SAR")
WORDS = (3, (1 << 255) + 0xF17, 31, 256, (1 << 200) - 7, 9)
REPEATS = 96
"""More of each than a short program may have inline."""


def repeated(name: str) -> bytes:
    """Fold the opcode over call data, and add a word each time so that nothing becomes 0 for good."""
    step = f"{name} 32 CALLDATALOAD ADD"
    folds = " ".join(f"{32 * (index % len(WORDS))} CALLDATALOAD {step}" for index in range(REPEATS))
    return asm(f"0 CALLDATALOAD {folds} 0 MSTORE 32 0 RETURN")


def calls(code: bytes, tier: Tier) -> Counter[str]:
    program = plan(code, restrict(fork_named(FORK), reachable_opcodes(code)), CompileOptions(tier))
    lines = module_text(program, "symbol").splitlines()
    return Counter(name for name in NAMES for line in lines if f" call void @evmaot_{name.lower()}(" in line)


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("name", NAMES)
def test_results_are_right_before_and_behind_the_end_of_the_budget(name: str, tier: Tier) -> None:
    code = repeated(name)
    ended = run_code(code, FORK, tier.value, input=b"".join(word.to_bytes(32, "big") for word in WORDS))
    expected = WORDS[0]
    for index in range(REPEATS):
        expected = PURE_FUNCTIONS[name](WORDS[index % len(WORDS)], expected)
        expected = (expected + WORDS[1]) % (1 << 256)
    assert ended.outcome == "success"
    assert int.from_bytes(ended.output, "big") == expected
    assert 0 < calls(code, tier)[name] < REPEATS


def test_constant_counts_never_use_the_budget_up() -> None:
    code = asm("0 CALLDATALOAD " + "7 SHL 7 SAR 3 SHR 2 BYTE 1 SIGNEXTEND " * 100 + "0 MSTORE 32 0 RETURN")
    assert not calls(code, Tier.OPTIMISED)


@pytest.mark.parametrize("tier", list(Tier))
def test_many_variable_exponents_cost_and_give_what_few_do(tier: Tier) -> None:
    count = 12
    code = asm("0 CALLDATALOAD " + "DUP1 32 CALLDATALOAD EXP ADD " * count + "0 MSTORE 32 0 RETURN")
    base, exponent = 7, 0x1234
    ended = run_code(code, FORK, tier.value, input=b"".join(word.to_bytes(32, "big") for word in (exponent, base)))
    expected = exponent
    exponent_bytes = 0
    for _ in range(count):
        exponent_bytes += (expected.bit_length() + 7) // 8
        expected = (expected + pow(base, expected, 1 << 256)) % (1 << 256)
    assert int.from_bytes(ended.output, "big") == expected
    static = 6 + count * (3 + 6 + 10 + 3) + 3 + 6 + 6
    assert 10_000_000 - ended.gas_left == static + 50 * exponent_bytes


def test_variable_charges_beyond_a_few_are_opaque_to_loop_strength_reduction() -> None:
    """A chain of them in a loop took LLVM minutes: it reasons about sums of gas."""
    code = asm("0 CALLDATALOAD JUMP loop: " + "DUP2 DUP2 EXP " * 100)
    program = plan(code, restrict(fork_named(FORK), reachable_opcodes(code)), CompileOptions(Tier.OPTIMISED))
    text = module_text(program, "symbol")
    assert text.count("call i256 @llvm.ctlz.i256") == 8
    assert text.count("call i64 @evmaot_exponent_gas") == 92
