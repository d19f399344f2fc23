"""The parameters of every fork against EELS, measured by executing its instructions.

True Constantinople is absent from EELS: `test_forks.py` checks it against the text of EIP-1283.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest

from evmaot.abi.status import StorageStatus
from evmaot.evm.forks import Fork, fork_named
from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.eels import (
    BURNER,
    DELEGATED,
    EELS_PACKAGE,
    EMPTY,
    NOBODY,
    RICH,
    SELF,
    Machine,
    Measured,
    address,
)
from tests.support.storage_status import storage_status

MEMORY = 1 << 16
"""Bytes of memory that a frame already has, so that no instruction pays for growth."""
CALLS = ("CALL", "CALLCODE", "DELEGATECALL", "STATICCALL")
LOTS = 10**9


@pytest.fixture(params=list(EELS_PACKAGE))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fork(name: str) -> Fork:
    return fork_named(name)


@pytest.fixture
def machine(name: str) -> Machine:
    return Machine(EELS_PACKAGE[name])


def price(fork: Fork, mnemonic: str) -> int:
    gas = fork.opcode_gas[BY_MNEMONIC[mnemonic].value]
    assert gas is not None
    return gas


def surcharge(machine: Machine, fork: Fork, mnemonic: str, *stack: int) -> int:
    """Gas above the static price, memory being there already and everything else warm."""
    measured = machine.frame(list(stack), memory_bytes=MEMORY).execute(mnemonic)
    assert measured.error is None, measured.error
    return measured.gas - price(fork, mnemonic)


@pytest.mark.parametrize(("exponent", "size_bytes"), [(0, 0), (1, 1), (255, 1), (256, 2), (2**255, 32)])
def test_exp_pays_per_byte_of_the_exponent(machine: Machine, fork: Fork, exponent: int, size_bytes: int) -> None:
    assert surcharge(machine, fork, "EXP", 2, exponent) == size_bytes * fork.parameters.exp_byte


@pytest.mark.parametrize(("size_bytes", "words"), [(0, 0), (1, 1), (32, 1), (33, 2), (1024, 32)])
def test_keccak_pays_per_word(machine: Machine, fork: Fork, size_bytes: int, words: int) -> None:
    assert surcharge(machine, fork, "KECCAK256", 0, size_bytes) == words * fork.parameters.keccak_word


@pytest.mark.parametrize(("size_bytes", "words"), [(0, 0), (1, 1), (32, 1), (33, 2), (64, 2)])
def test_copies_pay_per_word(machine: Machine, fork: Fork, size_bytes: int, words: int) -> None:
    expected = words * fork.parameters.copy_word
    for mnemonic in ("CALLDATACOPY", "CODECOPY", "RETURNDATACOPY", "MCOPY"):
        if fork.prices(mnemonic):
            assert surcharge(machine, fork, mnemonic, 0, 0, size_bytes) == expected, mnemonic
    assert surcharge(machine, fork, "EXTCODECOPY", 0, 0, 0, size_bytes) == expected


@pytest.mark.parametrize("size_bytes", [0, 1, 33])
def test_logs_pay_per_byte(machine: Machine, fork: Fork, size_bytes: int) -> None:
    for topics in range(5):
        expected = size_bytes * fork.parameters.log_byte
        assert surcharge(machine, fork, f"LOG{topics}", 0, size_bytes, *([0] * topics)) == expected


def test_a_cold_slot_costs_its_surcharge(machine: Machine, fork: Fork) -> None:
    assert surcharge(machine, fork, "SLOAD", 1) == fork.parameters.cold_sload
    noop = fork.parameters.storage_schedule[StorageStatus.ASSIGNED][0]
    assert surcharge(machine, fork, "SSTORE", 1, 0) == noop + fork.parameters.cold_sstore
    assert surcharge(machine, fork, "SSTORE", 0, 0) == noop


def test_a_cold_account_costs_its_surcharge(machine: Machine, fork: Fork) -> None:
    for mnemonic in ("BALANCE", "EXTCODESIZE", "EXTCODEHASH"):
        if fork.prices(mnemonic):
            assert surcharge(machine, fork, mnemonic, RICH) == fork.parameters.cold_account, mnemonic
    assert surcharge(machine, fork, "EXTCODECOPY", RICH, 0, 0, 0) == fork.parameters.cold_account
    for mnemonic in CALLS:
        if fork.prices(mnemonic):
            assert surcharge(machine, fork, mnemonic, 0, RICH, 0, 0, 0, 0, 0) == fork.parameters.cold_account, mnemonic


def test_a_cold_beneficiary_costs_its_surcharge(machine: Machine, fork: Fork) -> None:
    assert surcharge(machine, fork, "SELFDESTRUCT", RICH) == fork.parameters.cold_selfdestruct


def test_an_access_warms_what_it_touched(machine: Machine, fork: Fork) -> None:
    for mnemonic, operands in (("BALANCE", [RICH]), ("SLOAD", [5])):
        frame = machine.frame(operands * 2)
        first = frame.execute(mnemonic).gas
        frame.execute("POP")
        second = frame.execute(mnemonic).gas
        assert second == price(fork, mnemonic)
        assert (first != second) == fork.parameters.tracks_access


def test_value_costs_and_hands_over_a_stipend(machine: Machine, fork: Fork) -> None:
    rules = fork.parameters
    for mnemonic in ("CALL", "CALLCODE"):
        kept = call(machine, mnemonic, BURNER, value=1)
        returned = call(machine, mnemonic, 0, value=1)
        assert kept.gas == price(fork, mnemonic) + rules.call_value, "the callee burns its stipend"
        assert returned.gas == kept.gas - rules.call_stipend, "the callee returns its stipend"


def call(machine: Machine, mnemonic: str, to: int, *, value: int = 0, gas: int = 0, has: int = LOTS) -> Measured:
    operands = [gas, to, value, 0, 0, 0, 0] if mnemonic in ("CALL", "CALLCODE") else [gas, to, 0, 0, 0, 0]
    return machine.frame(operands, gas=has, warm_addresses=(0, SELF, to)).execute(mnemonic)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("to", [NOBODY, EMPTY, RICH])
def test_a_call_pays_for_a_new_account(machine: Machine, fork: Fork, to: int, value: int) -> None:
    rules = fork.parameters
    is_new = (to != RICH and value > 0) if rules.new_account_needs_value else to == NOBODY
    paid = rules.call_value - rules.call_stipend if value else 0
    expected = price(fork, "CALL") + paid + (rules.new_account if is_new else 0)
    assert call(machine, "CALL", to, value=value).gas == expected
    assert call(machine, "CALLCODE", to, value=value).gas == price(fork, "CALLCODE") + paid


@pytest.mark.parametrize("balance", [0, 1])
@pytest.mark.parametrize("to", [NOBODY, EMPTY, RICH])
def test_selfdestruct_pays_for_a_new_account(machine: Machine, fork: Fork, to: int, balance: int) -> None:
    rules = fork.parameters
    machine.add_account(SELF, balance=balance)
    is_new = (to != RICH and balance > 0) if rules.new_account_needs_value else to == NOBODY
    measured = machine.frame([to], warm_addresses=(to,)).execute("SELFDESTRUCT")
    assert measured.gas == price(fork, "SELFDESTRUCT") + (rules.selfdestruct_new_account if is_new else 0)


def test_selfdestruct_refunds(machine: Machine, fork: Fork) -> None:
    assert machine.frame([RICH], warm_addresses=(RICH,)).execute("SELFDESTRUCT").refund == (
        fork.parameters.selfdestruct_refund
    )


def test_selfdestruct_deletes_only_what_was_created_here(machine: Machine, fork: Fork) -> None:
    old = machine.frame([RICH])
    old.execute("SELFDESTRUCT")
    assert (address(SELF) not in old.evm.accounts_to_delete) == fork.parameters.selfdestruct_only_if_created
    new = machine.frame([RICH])
    if hasattr(machine.state, "created_accounts"):
        machine.state.created_accounts.add(address(SELF))
    new.execute("SELFDESTRUCT")
    assert address(SELF) in new.evm.accounts_to_delete


def test_a_frame_keeps_one_64th_of_its_gas(machine: Machine, fork: Fork) -> None:
    """The callee is asked to take everything, and burns what it gets."""
    has = 100_000
    asked = call(machine, "CALL", BURNER, gas=2**255, has=has)
    created = create(machine, b"\xfe", has=has)
    if fork.parameters.keeps_one_64th:
        assert asked.error is None
        assert has - asked.gas == (has - price(fork, "CALL")) // 64
        assert has - created.gas == (has - price(fork, "CREATE") - fork.parameters.initcode_word) // 64
    else:
        assert isinstance(asked.error, machine.eels.exceptions.OutOfGasError)
        assert created.gas == has


@dataclass
class Created:
    """Outcome of a create: gas used by all of it, and the address, 0 on failure."""

    gas: int
    address: int
    error: Exception | None


def create(machine: Machine, init_code: bytes, *, has: int = LOTS, mnemonic: str = "CREATE") -> Created:
    frame = machine.frame([0, 0, len(init_code), 0], gas=has, memory_bytes=MEMORY)
    frame.evm.memory[: len(init_code)] = init_code
    measured = frame.execute(mnemonic)
    return Created(measured.gas, 0 if measured.error else frame.top, measured.error)


def returning(size_bytes: int, first: int = 0) -> bytes:
    """Init code that returns that many bytes: `first`, then zeros."""
    store_first = [0x60, first, 0x60, 0, 0x53]  # MSTORE8
    return bytes([*store_first, 0x62, *size_bytes.to_bytes(3, "big"), 0x60, 0, 0xF3])  # RETURN


INIT_GAS = 15 + 3
"""Five times 3 gas for `returning`, and its first word of memory."""


@pytest.mark.parametrize("words", [0, 1, 2, 1536])
def test_init_code_pays_per_word(machine: Machine, fork: Fork, words: int) -> None:
    size_bytes = max(32 * words - 5, 0)
    init_code = bytes(size_bytes)  # STOP
    expected = words * fork.parameters.initcode_word
    assert create(machine, init_code).gas == price(fork, "CREATE") + expected
    if fork.prices("CREATE2"):
        expected += words * fork.parameters.keccak_word  # EIP-1014
        assert create(machine, init_code, mnemonic="CREATE2").gas == price(fork, "CREATE2") + expected


def test_init_code_has_a_limit(machine: Machine, fork: Fork) -> None:
    limit = fork.parameters.max_initcode_size_bytes
    for mnemonic in ("CREATE", "CREATE2"):
        if fork.prices(mnemonic):
            assert create(machine, bytes(49152), mnemonic=mnemonic).error is None
            longer = create(machine, bytes(49153), mnemonic=mnemonic)
            assert isinstance(longer.error, machine.eels.exceptions.OutOfGasError) == (limit == 49152)


def test_deployed_code_pays_per_byte(machine: Machine, fork: Fork) -> None:
    fixed = price(fork, "CREATE") + fork.parameters.initcode_word + INIT_GAS
    assert create(machine, returning(10)).gas == fixed + 10 * fork.parameters.code_deposit_byte


def test_a_create_that_cannot_pay_for_its_code(machine: Machine, fork: Fork) -> None:
    """Enough for the init code, not for 32 bytes of code (EIP-2)."""
    created = create(machine, returning(32), has=price(fork, "CREATE") + INIT_GAS + 1000)
    assert (created.address == 0) == fork.parameters.unpaid_code_deposit_fails
    if created.address:
        assert machine.eels.state.get_account(machine.state, address(created.address)).code == b""


def test_a_new_contract_has_its_nonce(machine: Machine, fork: Fork) -> None:
    created = create(machine, returning(1))
    assert created.address
    account = machine.eels.state.get_account(machine.state, address(created.address))
    assert account.nonce == fork.parameters.created_nonce


def test_deployed_code_has_a_limit(machine: Machine, fork: Fork) -> None:
    assert create(machine, returning(24576)).address
    machine.add_account(SELF, nonce=7, balance=1)
    assert (create(machine, returning(24577)).address == 0) == (fork.parameters.max_code_size_bytes == 24576)


def test_code_that_begins_with_ef(machine: Machine, fork: Fork) -> None:
    assert (create(machine, returning(1, first=0xEF)).address == 0) == fork.parameters.rejects_ef_code


def test_a_create_collides_with_storage(machine: Machine, fork: Fork) -> None:
    """EIP-7610: in force in every fork, because no such account exists on the chain."""
    empty = create(machine, returning(1))
    again = Machine(machine.package)
    again.eels.state.set_account(again.state, address(empty.address), again.eels.types.EMPTY_ACCOUNT)
    again.set_storage(1, 1, of=empty.address)
    assert (create(again, returning(1)).address == 0) == fork.parameters.create_collides_with_storage


def test_a_delegation_is_followed_and_paid_for(machine: Machine, fork: Fork) -> None:
    """EIP-7702: the access to the delegation's target is paid like any account's, cold or warm."""
    for mnemonic in CALLS:
        if not fork.prices(mnemonic):
            continue
        operands = [0, DELEGATED, 0, 0, 0, 0, 0]
        for warm in ((DELEGATED,), (DELEGATED, RICH)):
            frame = machine.frame(operands, warm_addresses=warm)
            measured = frame.execute(mnemonic)
            # The target has no code; a designator that is run as code is an undefined opcode (0xef).
            assert frame.top == int(fork.parameters.delegations), mnemonic
            access = fork.parameters.delegated_account
            if fork.parameters.delegations and RICH not in warm:
                access += fork.parameters.cold_account
            assert measured.gas == price(fork, mnemonic) + access, mnemonic


def test_sstore_needs_more_than_its_sentry(machine: Machine, fork: Fork) -> None:
    """EIP-2200: with 2300 gas or less SSTORE is out of gas, whatever it would cost."""
    out_of_gas = machine.eels.exceptions.OutOfGasError
    noop = fork.parameters.storage_schedule[StorageStatus.ASSIGNED][0]
    sentry = fork.parameters.sstore_sentry
    enough = max(noop, sentry + 1)
    assert machine.frame([0, 0], gas=enough).execute("SSTORE").error is None
    assert isinstance(machine.frame([0, 0], gas=enough - 1).execute("SSTORE").error, out_of_gas)


def test_the_storage_schedule_is_that_of_eels(name: str, fork: Fork) -> None:
    """Every original, current and new value of four, so every status in every form it takes."""
    seen: set[StorageStatus] = set()
    for original, current, new in product(range(4), repeat=3):
        machine = Machine(EELS_PACKAGE[name])
        machine.set_storage(0, original)
        machine.begin_transaction()
        machine.set_storage(0, current)
        measured = machine.frame([0, new]).execute("SSTORE")
        status = storage_status(original, current, new)
        seen.add(status)
        assert (measured.gas, measured.refund) == fork.parameters.storage_schedule[status], (original, current, new)
    assert seen == set(StorageStatus)


def test_rules_that_show_in_the_shape_of_a_frame(machine: Machine, fork: Fork) -> None:
    frame = machine.frame([])
    assert hasattr(frame.evm, "accessed_addresses") == fork.parameters.tracks_access
    assert hasattr(machine.eels.state, "TransientStorage") == fork.prices("TLOAD")
    assert hasattr(frame.evm, "return_data") == fork.prices("RETURNDATACOPY")
    assert hasattr(frame.evm.message, "is_static") == fork.prices("STATICCALL")


def test_touched_empty_accounts_are_cleared(machine: Machine, fork: Fork) -> None:
    """EIP-161.  EELS drops the rule from Paris on, where no empty account is left to be cleared."""
    clears = hasattr(machine.eels.state, "destroy_touched_empty_accounts")
    assert clears == (fork.parameters.empty_accounts_are_cleared and 4399 not in eips_up_to(fork))


def eips_up_to(fork: Fork) -> set[int]:
    """All EIPs in force."""
    parent = eips_up_to(fork_named(fork.parent)) if fork.parent else set()
    return parent | set(fork.eips)
