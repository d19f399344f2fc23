"""Gas as the EIPs state it: repricings, EXP, memory and copies, access lists.  Numbers are from the EIPs' texts."""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS
from tests.support.assembler import asm
from tests.support.native import SELF, SENDER, Call, gas_used, run_native, world_of

REPRICED = [
    # code, operands' gas, {first fork: price}; EIP-150, 1884, 2929 (warm account or slot)
    ("0 BALANCE POP", 5, {"frontier": 20, "tangerine_whistle": 400, "istanbul": 700, "berlin": 100}),
    ("0 EXTCODESIZE POP", 5, {"frontier": 20, "tangerine_whistle": 700, "berlin": 100}),
    ("0 0 0 0 EXTCODECOPY", 12, {"frontier": 20, "tangerine_whistle": 700, "berlin": 100}),
    ("0 SLOAD POP", 5, {"frontier": 50, "tangerine_whistle": 200, "istanbul": 800, "berlin": 100}),
    ("0 EXTCODEHASH POP", 5, {"constantinople": 400, "istanbul": 700, "berlin": 100}),
    (f"0 0 0 0 0 {SENDER} 0 CALL POP", 23, {"frontier": 40, "tangerine_whistle": 700, "berlin": 100}),
    (f"0 0 0 0 0 {SENDER} 0 CALLCODE POP", 23, {"frontier": 40, "tangerine_whistle": 700, "berlin": 100}),
    (f"0 0 0 0 {SENDER} 0 DELEGATECALL POP", 20, {"homestead": 40, "tangerine_whistle": 700, "berlin": 100}),
    (f"0 0 0 0 {SENDER} 0 STATICCALL POP", 20, {"byzantium": 700, "berlin": 100}),
    (f"{SENDER} SELFDESTRUCT", 3, {"frontier": 0, "tangerine_whistle": 5000}),
]


def price_in(prices: dict[str, int], fork: str) -> int | None:
    price = None
    for name in FORKS:
        price = prices.get(name, price)
        if name == fork:
            break
    return price


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize(("text", "around", "prices"), REPRICED, ids=lambda item: str(item)[:24])
def test_a_repriced_opcode(text: str, around: int, prices: dict[str, int], fork: str, tier: str) -> None:
    price = price_in(prices, fork)
    if price is not None:
        warm = {"warm_addresses": frozenset((0, SELF, SENDER)), "warm_slots": frozenset(((SELF, 0),))}
        assert gas_used(asm(text), fork, tier, **warm) == around + price


COLD = [
    # code, operands' gas, warm, cold (EIP-2929)
    ("0xBEEF BALANCE POP", 5, 100, 2600),
    ("0xBEEF EXTCODESIZE POP", 5, 100, 2600),
    ("0xBEEF EXTCODEHASH POP", 5, 100, 2600),
    ("0 0 0 0xBEEF EXTCODECOPY", 12, 100, 2600),
    ("0 0 0 0 0 0xBEEF 0 CALL POP", 23, 100, 2600),
    ("0 0 0 0 0 0xBEEF 0 CALLCODE POP", 23, 100, 2600),
    ("0 0 0 0 0xBEEF 0 DELEGATECALL POP", 20, 100, 2600),
    ("0 0 0 0 0xBEEF 0 STATICCALL POP", 20, 100, 2600),
    ("7 SLOAD POP", 5, 100, 2100),
    ("0 7 SSTORE", 6, 100, 2200),
    ("1 7 SSTORE", 6, 20000, 22100),
]


@pytest.mark.parametrize("fork", ["berlin", "london", "osaka"])
@pytest.mark.parametrize(("text", "around", "warm", "cold"), COLD, ids=lambda item: str(item)[:24])
def test_eip_2929_cold_and_warm(text: str, around: int, warm: int, cold: int, fork: str, tier: str) -> None:
    code = asm(text)
    assert gas_used(code, fork, tier) == around + cold
    known = {"warm_addresses": frozenset((0xBEEF, SELF)), "warm_slots": frozenset(((SELF, 7),))}
    assert gas_used(code, fork, tier, **known) == around + warm
    if "SSTORE" not in text:
        assert gas_used(code + code, fork, tier) == 2 * around + cold + warm, "the first access warms"


def test_eip_2929_selfdestruct_to_a_cold_beneficiary(tier: str) -> None:
    code = asm(f"{SENDER} SELFDESTRUCT")
    assert gas_used(code, "berlin", tier) == 3 + 5000
    assert gas_used(code, "berlin", tier, warm_addresses=frozenset((SELF,))) == 3 + 5000 + 2600


def test_eip_2929_what_a_reverted_child_warmed_is_cold(tier: str) -> None:
    """The child is the same code: with call data it reads the slot and reverts."""
    text = f"CALLDATASIZE @child JUMPI 0 0 1 0 0 {SELF} 50000 CALL POP GAS 7 SLOAD POP GAS SWAP1 SUB 0 MSTORE"
    code = asm(f"{text} 32 0 RETURN child: 7 SLOAD 0 0 REVERT")
    ended = run_native(Call(world_of(code)), "osaka", tier)
    assert int.from_bytes(ended.output, "big") == 2 + 3 + 2100 + 2


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("exponent", "size"), [(0, 0), (1, 1), (255, 1), (256, 2), (65535, 2), (1 << 248, 32)])
def test_eip_160_exp_by_the_length_of_its_exponent(exponent: int, size: int, known: bool, tier: str) -> None:
    if known:
        code, around = asm(f"{exponent} 3 EXP"), 6
    else:
        code, around = asm("0 CALLDATALOAD 3 EXP"), 9
    given = exponent.to_bytes(32, "big")
    assert gas_used(code, "tangerine_whistle", tier, input=given) == around + 10 + 10 * size
    assert gas_used(code, "spurious_dragon", tier, input=given) == around + 10 + 50 * size


@pytest.mark.parametrize(("words", "gas"), [(1, 3), (2, 6), (22, 66), (23, 70), (32, 98), (724, 3195), (1024, 5120)])
def test_memory_costs_3_a_word_and_a_square(words: int, gas: int, tier: str) -> None:
    """Yellow Paper, appendix H: 3 a + a^2 / 512."""
    assert gas_used(asm(f"0 {32 * words - 32} MSTORE"), "osaka", tier) == 9 + gas
    assert gas_used(asm(f"{32 * words - 31} MLOAD"), "osaka", tier) == 6 + 3 * (words + 1) + (words + 1) ** 2 // 512
    assert gas_used(asm(f"0 {32 * words - 1} MSTORE8"), "osaka", tier) == 9 + gas


@pytest.mark.parametrize(("size", "words"), [(0, 0), (1, 1), (32, 1), (33, 2), (64, 2)])
def test_copies_hashes_and_logs_cost_by_size(size: int, words: int, tier: str) -> None:
    memory = 3 * words
    copy = f"{size} 0 0"
    for text, gas in (
        (f"{copy} CALLDATACOPY", 9 + 3 + 3 * words),
        (f"{copy} CODECOPY", 9 + 3 + 3 * words),
        (f"{copy} MCOPY", 9 + 3 + 3 * words),
        (f"{copy} {SELF} EXTCODECOPY", 12 + 100 + 3 * words),
        (f"{size} 0 KECCAK256", 6 + 30 + 6 * words),
        (f"{size} 0 LOG0", 6 + 375 + 8 * size),
        (f"1 2 3 4 {size} 0 LOG4", 18 + 5 * 375 + 8 * size),
        (f"{size} 0 RETURN", 6),
    ):
        assert gas_used(asm(text), "osaka", tier) == gas + memory, text


def test_eip_3860_init_code_costs_2_a_word_and_has_a_limit(tier: str) -> None:
    """A create of zero bytes of code: the init code is all STOPs."""
    for size in (0, 32, 33, 49152):
        words = (size + 31) // 32
        memory = 3 * words + words * words // 512
        base = 9 + 32000 + memory
        assert gas_used(asm(f"{size} 0 0 CREATE"), "paris", tier) == base
        assert gas_used(asm(f"{size} 0 0 CREATE"), "shanghai", tier) == base + 2 * words
        assert gas_used(asm(f"0 {size} 0 0 CREATE2"), "shanghai", tier) == base + 3 + 2 * words + 6 * words
    too_long = Call(world_of(asm("49153 0 0 CREATE")))
    assert run_native(too_long, "paris", tier).outcome == "success"
    assert run_native(too_long, "shanghai", tier).outcome == "halt"
