"""Rules of calls, creates and SELFDESTRUCT by EIP: gas for the child, new accounts, delegations, deletion."""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS
from tests.support.assembler import asm
from tests.support.native import SELF, SENDER, Call, Contract, Ended, run_native, world_of

OTHER = 0xA001
NOBODY = 0xDEAD
EMPTY = 0xE0
DELEGATED = 0xDE1E
RICH = 10**18
DELEGATION = Contract(b"\xef\x01\x00" + OTHER.to_bytes(20, "big"))
WARM = frozenset((SELF, SENDER, OTHER, NOBODY, EMPTY, DELEGATED))


def run(text: str, fork: str, tier: str, other: bytes = b"", gas: int = 1_000_000, value: int = 0) -> Ended:
    """Run code with another contract, an empty account and a delegation around."""
    world = {**world_of(asm(text)), OTHER: Contract(other, balance=5), EMPTY: Contract(nonce=0)}
    if FORKS[fork].parameters.delegations:
        world[DELEGATED] = DELEGATION
    return run_native(Call(world, gas=gas, warm_addresses=WARM, value=value), fork, tier)


def word(ended: Ended) -> int:
    assert ended.outcome == "success", ended.reason
    return int.from_bytes(ended.output[:32], "big")


TELL_GAS = asm("GAS 0 MSTORE 32 0 RETURN")


def test_eip_150_a_child_gets_all_but_one_64th(tier: str) -> None:
    ended = run(f"32 0 0 0 0 {OTHER} GAS CALL 32 0 RETURN", "tangerine_whistle", tier, TELL_GAS, gas=100_000)
    # 7 pushes and GAS, memory of one word, the call
    left = 100_000 - 6 * 3 - 2 - 3 - 700
    assert word(ended) == left - left // 64 - 2


def test_eip_150_before_it_the_child_gets_what_was_asked_or_nothing(tier: str) -> None:
    assert word(run(f"32 0 0 0 0 {OTHER} 50000 CALL 32 0 RETURN", "homestead", tier, TELL_GAS)) == 50_000 - 2
    assert run(f"32 0 0 0 0 {OTHER} GAS CALL 32 0 RETURN", "homestead", tier, TELL_GAS).outcome == "halt"


def test_value_gives_a_stipend(tier: str) -> None:
    assert word(run(f"32 0 0 0 1 {OTHER} 1000 CALL 32 0 RETURN", "osaka", tier, TELL_GAS)) == 3300 - 2
    assert word(run(f"32 0 0 0 0 {OTHER} 1000 CALL 32 0 RETURN", "osaka", tier, TELL_GAS)) == 1000 - 2


@pytest.mark.parametrize("fork", ["frontier", "tangerine_whistle", "spurious_dragon", "osaka"])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("target", [NOBODY, EMPTY, OTHER])
def test_eip_161_who_is_new(target: int, value: int, fork: str, tier: str) -> None:
    """Before: an account that does not exist; since: a dead one that gets value."""
    used = 1_000_000 - run(f"0 0 0 0 {value} {target} 0 CALL", fork, tier).gas_left
    old = fork in ("frontier", "tangerine_whistle")
    new = target == NOBODY if old else target != OTHER and value == 1
    price = {"frontier": 40, "tangerine_whistle": 700, "spurious_dragon": 700, "osaka": 100}[fork]
    assert used == 7 * 3 + price + (9000 - 2300 if value else 0) + (25000 if new else 0)


@pytest.mark.parametrize("kind", ["CALLCODE", "DELEGATECALL"])
def test_eip_7_delegatecall_keeps_sender_and_value(kind: str, tier: str) -> None:
    callee = asm("CALLER 0 MSTORE CALLVALUE 32 MSTORE ADDRESS 64 MSTORE 96 0 RETURN")
    value = "0 " if kind == "CALLCODE" else ""
    ended = run(f"96 0 0 0 {value}{OTHER} 50000 {kind} POP 96 0 RETURN", "homestead", tier, callee, value=3)
    found = [int.from_bytes(ended.output[at : at + 32], "big") for at in (0, 32, 64)]
    assert found == ([SENDER, 3, SELF] if kind == "DELEGATECALL" else [SELF, 0, SELF])


def test_eip_214_children_of_a_static_call_are_static(tier: str) -> None:
    writes = asm("1 0 SSTORE")
    for mnemonic, succeeds in (("STATICCALL", 0), ("DELEGATECALL", 1)):
        text = f"0 0 0 0 {OTHER} 90000 {mnemonic} 0 MSTORE 32 0 RETURN"
        assert word(run(text, "byzantium", tier, writes)) == succeeds
    deep = asm(f"0 0 0 0 0 {SENDER} 100 CALL POP 0 0 0 CREATE 0 MSTORE 32 0 RETURN")
    assert word(run(f"32 0 0 0 {OTHER} 90000 STATICCALL 0 MSTORE 32 0 RETURN", "byzantium", tier, deep)) == 0


def test_eip_3541_no_new_code_starts_with_ef(tier: str) -> None:
    init = "PUSH10=0x60ef60005360016000f3 0 MSTORE 10 22 0 CREATE 0 MSTORE 32 0 RETURN"
    assert word(run(init, "berlin", tier)) != 0
    assert word(run(init, "london", tier)) == 0


def test_eip_170_code_is_at_most_24576_bytes(tier: str) -> None:
    for size, allowed in ((24576, True), (24577, False)):
        init = asm(f"{size} 0 RETURN")
        text = f"PUSH{len(init)}=0x{init.hex()} 0 MSTORE {len(init)} {32 - len(init)} 0 CREATE 0 MSTORE 32 0 RETURN"
        assert (word(run(text, "osaka", tier, gas=20_000_000)) != 0) == allowed
        assert word(run(text, "tangerine_whistle", tier, gas=20_000_000)) != 0


def test_eip_2_a_create_that_cannot_pay_for_its_code(tier: str) -> None:
    """32 bytes of code cost 6400: Frontier leaves an account without code, Homestead fails."""
    init = "PUSH5=0x60206000f3 0 MSTORE 5 27 0 CREATE 0 MSTORE 32 0 RETURN"
    inner = asm(init)
    text = f"32 0 0 0 0 {OTHER} 35000 CALL POP 32 0 RETURN"
    assert word(run(text, "frontier", tier, inner)) != 0
    assert word(run(text, "homestead", tier, inner)) == 0


@pytest.mark.parametrize("fork", ["shanghai", "cancun"])
def test_eip_6780_an_old_contract_stays(fork: str, tier: str) -> None:
    ended = run(f"{OTHER} SELFDESTRUCT", fork, tier)
    assert ended.destroyed == (frozenset((SELF,)) if fork == "shanghai" else frozenset())
    assert (ended.world[SELF].balance, ended.world[OTHER].balance) == (0, RICH + 5)


@pytest.mark.parametrize(("fork", "balance"), [("shanghai", 0), ("cancun", RICH)])
def test_eip_6780_an_old_contract_that_gives_to_itself_burns_nothing(fork: str, balance: int, tier: str) -> None:
    assert run("ADDRESS SELFDESTRUCT", fork, tier).world[SELF].balance == balance


def test_eip_6780_a_contract_of_this_transaction_goes(tier: str) -> None:
    """Its init code destroys it."""
    ended = run("PUSH2=0x33ff 0 MSTORE 2 30 1 CREATE 0 MSTORE 32 0 RETURN", "cancun", tier)
    assert ended.destroyed == frozenset((word(ended),))
    assert ended.world[SELF].balance == RICH


@pytest.mark.parametrize(("fork", "refund"), [("berlin", 24000), ("london", 0)])
def test_eip_3529_no_refund_for_selfdestruct(fork: str, refund: int, tier: str) -> None:
    assert run(f"{OTHER} SELFDESTRUCT", fork, tier).refund == refund


@pytest.mark.parametrize(
    ("fork", "extra"), [("tangerine_whistle", 25000), ("spurious_dragon", 25000), ("homestead", 0)]
)
def test_selfdestruct_to_a_new_account(fork: str, extra: int, tier: str) -> None:
    price = 0 if fork == "homestead" else 5000
    assert 1_000_000 - run(f"{NOBODY} SELFDESTRUCT", fork, tier).gas_left == 3 + price + extra


def test_eip_7702_a_call_of_a_delegated_account_pays_for_both(tier: str) -> None:
    callee = asm("ADDRESS 0 MSTORE 32 0 RETURN")
    text = f"32 0 0 0 0 {DELEGATED} 50000 CALL POP 32 0 RETURN"
    warm = run(text, "prague", tier, callee)
    assert word(warm) == DELEGATED, "the delegate's code runs on the account that delegates"
    direct = run(text.replace(str(DELEGATED), str(OTHER)), "prague", tier, callee)
    assert direct.gas_left - warm.gas_left == 100
    cold = run_native(
        Call(
            {**world_of(asm(text)), OTHER: Contract(callee), DELEGATED: DELEGATION},
            gas=1_000_000,
            warm_addresses=WARM - {OTHER},
        ),
        "prague",
        tier,
    )  # fmt: skip
    assert warm.gas_left - cold.gas_left == 2500


def test_eip_7702_code_of_a_delegated_account_is_the_designator(tier: str) -> None:
    text = f"{DELEGATED} EXTCODESIZE 0 MSTORE 23 0 32 {DELEGATED} EXTCODECOPY 55 0 RETURN"
    ended = run(text, "prague", tier, asm("STOP"))
    assert (word(ended), ended.output[32:]) == (23, b"\xef\x01\x00" + OTHER.to_bytes(20, "big"))


@pytest.mark.parametrize("kind", ["CALL", "CREATE"])
def test_a_value_that_is_not_there_fails_the_message_alone(kind: str, tier: str) -> None:
    operands = f"0 0 0 0 PUSH32={RICH + 1} {SENDER} 0 CALL" if kind == "CALL" else f"0 0 PUSH32={RICH + 1} CREATE"
    assert word(run(f"{operands} 0 MSTORE 32 0 RETURN", "osaka", tier)) == 0
