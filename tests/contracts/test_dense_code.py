"""Code that repeats one thing so often that LLVM would take quadratic time: what breaks it up changes no result."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from evmaot.codegen.driver import plan, reachable_opcodes
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.emit.region import MAX_CHARGES_IN_A_ROW, MAX_LOCAL_DYNAMIC_JUMPS
from evmaot.codegen.emit.writer import MAX_WORDS_IN_A_ROW
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import fork_named
from evmaot.evm.instruction_set import restrict
from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import Call, world_of

FORK = "osaka"
BARRIER = "fence syncscope"
FORGET = 'asm "", "=r,0"'

GAS_READS = asm("(GAS )*260 " + "ADD " * 259 + "0 MSTORE 32 0 RETURN")
LONG_STACK = asm(
    "0 CALLDATALOAD (DUP1 GAS ADD)*280 @next 32 CALLDATALOAD ADD JUMP next: " + "ADD " * 280 + "0 MSTORE 32 0 RETURN"
)
WORDS_BELOW = asm("(CALLER GAS XOR)*300 0 CALLDATALOAD @next ADD JUMP next: (SUB )*299 0 MSTORE 32 0 RETURN")
HOPS = 300
HOP_BYTES = 9


def hop_pc(index: int) -> int:
    return 4 + HOP_BYTES * index


def hops() -> bytes:
    """Counts on top of the stack how often it jumped; where each block goes is a word of its own in the input."""
    blocks = b"".join(
        bytes([0x5B, 0x60, 1, 0x01, 0x61, *(32 * index).to_bytes(2, "big"), 0x35, 0x56]) for index in range(HOPS)
    )
    end = asm("JUMPDEST 0 MSTORE 32 0 RETURN")
    return bytes([0x5F, 0x60, 4, 0x56]) + blocks + end


def tour(seed: int, last: int) -> bytes:
    """Input that leads through all blocks in a random order, then to a pc."""
    order = [0, *random.Random(seed).sample(range(1, HOPS), HOPS - 1)]
    targets = {here: hop_pc(following) for here, following in pairwise(order)}
    return b"".join(targets.get(index, last).to_bytes(32, "big") for index in range(HOPS))


def text_of(code: bytes, tier: Tier) -> str:
    return module_text(plan(code, restrict(fork_named(FORK), reachable_opcodes(code)), CompileOptions(tier)), "symbol")


def assert_same_with_less_gas(call: Call, tier: str) -> None:
    right = assert_same(call, FORK, (tier,))
    assert right.outcome == "success"
    used = call.gas - right.gas_left
    for gas in (used, used - 1, *(used * part // 16 for part in range(1, 16))):
        assert_same(replace(call, gas=gas), FORK, (tier,))


@pytest.mark.parametrize("code", [GAS_READS, LONG_STACK, WORDS_BELOW], ids=["gas reads", "long stack", "words below"])
def test_long_runs_end_as_on_eels_with_any_gas(code: bytes, tier: str) -> None:
    assert_same_with_less_gas(Call(world_of(code), gas=100_000), tier)


@pytest.mark.parametrize("seed", range(3))
def test_many_computed_jumps_end_as_on_eels_with_any_gas(seed: int, tier: str) -> None:
    assert_same_with_less_gas(Call(world_of(hops()), gas=100_000, input=tour(seed, hop_pc(HOPS))), tier)


@pytest.mark.parametrize("last", [hop_pc(3) + 1, 0, 3, 1 << 64, (1 << 256) - 1, 4 + HOP_BYTES * (HOPS + 2)])
def test_one_of_many_computed_jumps_to_no_destination_halts(last: int, tier: str) -> None:
    right = assert_same(Call(world_of(hops()), gas=100_000, input=tour(1, last)), FORK, (tier,))
    assert right.outcome == "halt"


@pytest.mark.parametrize("tier", list(Tier))
def test_a_barrier_stands_in_every_long_run_of_stack_words(tier: Tier) -> None:
    accesses = 0
    for line in text_of(LONG_STACK, tier).splitlines():
        if line.endswith(":") or BARRIER in line:
            accesses = 0
        accesses += "align 32" in line and "i256" in line
        assert accesses <= MAX_WORDS_IN_A_ROW
    assert BARRIER in text_of(LONG_STACK, tier)


def test_gas_is_forgotten_once_in_so_many_charges_of_a_chain() -> None:
    assert text_of(GAS_READS, Tier.OPTIMISED).count(FORGET) == 260 // MAX_CHARGES_IN_A_ROW
    assert FORGET not in text_of(asm("GAS POP " * (MAX_CHARGES_IN_A_ROW - 2)), Tier.OPTIMISED)


def test_a_region_of_many_computed_jumps_is_no_loop() -> None:
    regions = text_of(hops(), Tier.OPTIMISED).split("define internal ")[1:]
    crowded = [text for text in regions if text.count("label %dynamic") > MAX_LOCAL_DYNAMIC_JUMPS]
    assert crowded
    assert not any("label %foreign" in text for text in crowded)


@pytest.mark.parametrize("tier", list(Tier))
def test_ordinary_runs_are_left_alone(tier: Tier) -> None:
    text = text_of(
        asm("0 CALLDATALOAD JUMP " + "a: 0 CALLDATALOAD (DUP1 )*20 (GAS )*4 32 CALLDATALOAD JUMP " * 1), tier
    )
    assert BARRIER not in text
    assert FORGET not in text
