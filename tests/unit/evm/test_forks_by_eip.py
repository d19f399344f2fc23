"""The rules of each EIP, by its number, as far as the tables hold them.

Numbers here are copied from the EIPs' texts, not from the table.
"""

from __future__ import annotations

import pytest

from evmaot.evm.forks import FORKS, Fork, fork_named
from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.storage_status import storage_status

NEW_OPCODES = [
    # mnemonic, EIP, last fork without, first fork with, static gas
    ("DELEGATECALL", 7, "frontier", "homestead", 40),
    ("REVERT", 140, "spurious_dragon", "byzantium", 0),
    ("RETURNDATASIZE", 211, "spurious_dragon", "byzantium", 2),
    ("RETURNDATACOPY", 211, "spurious_dragon", "byzantium", 3),
    ("STATICCALL", 214, "spurious_dragon", "byzantium", 700),
    ("SHL", 145, "byzantium", "constantinople", 3),
    ("SHR", 145, "byzantium", "constantinople", 3),
    ("SAR", 145, "byzantium", "constantinople", 3),
    ("CREATE2", 1014, "byzantium", "constantinople", 32000),
    ("EXTCODEHASH", 1052, "byzantium", "constantinople", 400),
    ("CHAINID", 1344, "petersburg", "istanbul", 2),
    ("SELFBALANCE", 1884, "petersburg", "istanbul", 5),
    ("BASEFEE", 3198, "berlin", "london", 2),
    ("PUSH0", 3855, "paris", "shanghai", 2),
    ("TLOAD", 1153, "shanghai", "cancun", 100),
    ("TSTORE", 1153, "shanghai", "cancun", 100),
    ("MCOPY", 5656, "shanghai", "cancun", 3),
    ("BLOBHASH", 4844, "shanghai", "cancun", 3),
    ("BLOBBASEFEE", 7516, "shanghai", "cancun", 2),
    ("CLZ", 7939, "prague", "osaka", 5),
]


def gas(fork: str, mnemonic: str) -> int | None:
    return fork_named(fork).opcode_gas[BY_MNEMONIC[mnemonic].value]


@pytest.mark.parametrize(("mnemonic", "eip", "before", "since", "price"), NEW_OPCODES, ids=lambda item: str(item))
def test_a_new_opcode_is_undefined_before_its_fork(
    mnemonic: str, eip: int, before: str, since: str, price: int
) -> None:
    assert FORKS[since].parent == before
    assert eip in FORKS[since].eips
    assert gas(since, mnemonic) == price
    names = list(FORKS)
    for position, name in enumerate(names):
        assert FORKS[name].prices(mnemonic) == (position >= names.index(since)), name


def test_an_opcode_once_defined_stays_defined() -> None:
    for fork in FORKS.values():
        if fork.parent is not None:
            inherited = FORKS[fork.parent].opcode_gas
            assert all(now is not None for now, was in zip(fork.opcode_gas, inherited, strict=True) if was is not None)


def test_every_new_opcode_is_in_the_list_above() -> None:
    listed = {mnemonic for mnemonic, *_ in NEW_OPCODES}
    since_frontier = {
        mnemonic for mnemonic in BY_MNEMONIC if gas("osaka", mnemonic) is not None and gas("frontier", mnemonic) is None
    }
    assert since_frontier == listed


def test_invalid_is_undefined_in_every_fork() -> None:
    """EIP-141 reserves 0xfe for ever."""
    assert not any(fork.prices("INVALID") for fork in FORKS.values())


def test_eip_2_a_create_that_cannot_pay_fails_from_homestead() -> None:
    assert not FORKS["frontier"].parameters.unpaid_code_deposit_fails
    assert FORKS["homestead"].parameters.unpaid_code_deposit_fails


def test_eip_150_reprices_access_to_state() -> None:
    raised = {
        "EXTCODESIZE": (20, 700), "EXTCODECOPY": (20, 700), "BALANCE": (20, 400), "SLOAD": (50, 200),
        "CALL": (40, 700), "DELEGATECALL": (40, 700), "CALLCODE": (40, 700), "SELFDESTRUCT": (0, 5000),
    }  # fmt: skip
    for mnemonic, (before, after) in raised.items():
        assert (gas("homestead", mnemonic), gas("tangerine_whistle", mnemonic)) == (before, after)
    assert FORKS["tangerine_whistle"].parameters.selfdestruct_new_account == 25000
    assert not FORKS["homestead"].parameters.keeps_one_64th
    assert FORKS["tangerine_whistle"].parameters.keeps_one_64th


def test_eip_160_raises_the_price_of_exp() -> None:
    assert FORKS["tangerine_whistle"].parameters.exp_byte == 10
    assert FORKS["spurious_dragon"].parameters.exp_byte == 50


def test_eip_161_clears_empty_accounts() -> None:
    before, after = FORKS["tangerine_whistle"].parameters, FORKS["spurious_dragon"].parameters
    assert (before.created_nonce, after.created_nonce) == (0, 1)
    assert (before.new_account_needs_value, after.new_account_needs_value) == (False, True)
    assert (before.empty_accounts_are_cleared, after.empty_accounts_are_cleared) == (False, True)


def test_eip_170_limits_the_size_of_code() -> None:
    assert FORKS["tangerine_whistle"].parameters.max_code_size_bytes is None
    assert FORKS["spurious_dragon"].parameters.max_code_size_bytes == 0x6000


def test_eip_1716_takes_eip_1283_back() -> None:
    """Petersburg's SSTORE is Byzantium's; nothing else of Constantinople changes."""
    petersburg, constantinople = FORKS["petersburg"], FORKS["constantinople"]
    assert petersburg.parameters.storage_schedule == FORKS["byzantium"].parameters.storage_schedule
    assert constantinople.parameters.storage_schedule != petersburg.parameters.storage_schedule
    assert petersburg.opcode_gas == constantinople.opcode_gas


def test_eip_1884_reprices_what_depends_on_the_trie() -> None:
    raised = {"SLOAD": (200, 800), "BALANCE": (400, 700), "EXTCODEHASH": (400, 700)}
    for mnemonic, (before, after) in raised.items():
        assert (gas("petersburg", mnemonic), gas("istanbul", mnemonic)) == (before, after)


def test_eip_2200_sentry_is_the_stipend() -> None:
    assert FORKS["petersburg"].parameters.sstore_sentry == 0
    assert FORKS["constantinople"].parameters.sstore_sentry == 0
    assert FORKS["istanbul"].parameters.sstore_sentry == 2300


def test_eip_2929_splits_prices_into_warm_and_cold() -> None:
    parameters = FORKS["berlin"].parameters
    warm, cold_account, cold_slot = 100, 2600, 2100
    for mnemonic in ("BALANCE", "EXTCODESIZE", "EXTCODECOPY", "EXTCODEHASH", "CALL", "CALLCODE", "DELEGATECALL",
                     "STATICCALL"):  # fmt: skip
        assert gas("berlin", mnemonic) == warm
    assert parameters.cold_account == cold_account - warm
    assert gas("berlin", "SLOAD") == warm
    assert parameters.cold_sload == cold_slot - warm
    assert parameters.cold_sstore == cold_slot
    assert parameters.cold_selfdestruct == cold_account
    assert not FORKS["istanbul"].parameters.tracks_access
    assert parameters.tracks_access


def test_eip_3529_lowers_refunds() -> None:
    assert FORKS["berlin"].parameters.selfdestruct_refund == 24000
    assert FORKS["london"].parameters.selfdestruct_refund == 0


def test_eip_3541_rejects_code_that_begins_with_ef() -> None:
    assert not FORKS["berlin"].parameters.rejects_ef_code
    assert FORKS["london"].parameters.rejects_ef_code


def test_eip_3860_meters_and_limits_init_code() -> None:
    before, after = FORKS["paris"].parameters, FORKS["shanghai"].parameters
    assert (before.initcode_word, before.max_initcode_size_bytes) == (0, None)
    assert (after.initcode_word, after.max_initcode_size_bytes) == (2, 0xC000)


def test_eip_6780_selfdestruct_deletes_only_in_the_creating_transaction() -> None:
    assert not FORKS["shanghai"].parameters.selfdestruct_only_if_created
    assert FORKS["cancun"].parameters.selfdestruct_only_if_created


def test_eip_7702_calls_follow_delegations() -> None:
    assert not FORKS["cancun"].parameters.delegations
    assert FORKS["prague"].parameters.delegations


SEQUENCES = [
    # (original, values written), and (gas, refund) by EIP-1283, EIP-2200 and EIP-3529 (there without the cold 2100)
    (0, (0, 0), (412, 0), (1612, 0), (212, 0)),
    (0, (0, 1), (20212, 0), (20812, 0), (20112, 0)),
    (0, (1, 0), (20212, 19800), (20812, 19200), (20112, 19900)),
    (0, (1, 2), (20212, 0), (20812, 0), (20112, 0)),
    (0, (1, 1), (20212, 0), (20812, 0), (20112, 0)),
    (1, (0, 0), (5212, 15000), (5812, 15000), (3012, 4800)),
    (1, (0, 1), (5212, 4800), (5812, 4200), (3012, 2800)),
    (1, (0, 2), (5212, 0), (5812, 0), (3012, 0)),
    (1, (2, 0), (5212, 15000), (5812, 15000), (3012, 4800)),
    (1, (2, 3), (5212, 0), (5812, 0), (3012, 0)),
    (1, (2, 1), (5212, 4800), (5812, 4200), (3012, 2800)),
    (1, (2, 2), (5212, 0), (5812, 0), (3012, 0)),
    (1, (1, 0), (5212, 15000), (5812, 15000), (3012, 4800)),
    (1, (1, 2), (5212, 0), (5812, 0), (3012, 0)),
    (1, (1, 1), (412, 0), (1612, 0), (212, 0)),
    (0, (1, 0, 1), (40218, 19800), (40818, 19200), (40118, 19900)),
    (1, (0, 1, 0), (10218, 19800), (10818, 19200), (5918, 7600)),
]


def charge(fork: Fork, original: int, values: tuple[int, ...]) -> tuple[int, int]:
    """Gas and refund of code that writes these values to one warm slot."""
    total_gas = total_refund = 0
    current = original
    for value in values:
        paid, refunded = fork.parameters.storage_schedule[storage_status(original, current, value)]
        total_gas += 2 * 3 + paid
        total_refund += refunded
        current = value
    return total_gas, total_refund


@pytest.mark.parametrize(("original", "values", "eip1283", "eip2200", "eip3529"), SEQUENCES)
def test_sstore_charges_what_the_tables_of_its_eips_say(
    original: int, values: tuple[int, ...], eip1283: tuple[int, int], eip2200: tuple[int, int], eip3529: tuple[int, int]
) -> None:
    assert charge(FORKS["constantinople"], original, values) == eip1283
    assert charge(FORKS["istanbul"], original, values) == eip2200
    assert charge(FORKS["london"], original, values) == eip3529
