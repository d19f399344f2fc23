"""Creates and SELFDESTRUCT on every fork: addresses, nonces, collisions, deposit, destruction."""

from __future__ import annotations

from typing import Any

import pytest

from evmaot.abi.status import CallKind, Status
from evmaot.evm.forks import FORKS
from evmaot.execution.executor import MAX_NONCE
from evmaot.execution.hashing import create2_address, create_address
from evmaot.execution.protocol import Account, Failure, MessageResult
from tests.support.assembly import assemble, call, deploying, return_word, store_bytes
from tests.support.worlds import GAS, OTHER, TARGET, World

FORK_NAMES = tuple(FORKS)
BEFORE_EIP_161 = ("frontier", "homestead", "tangerine_whistle")
NEW = 0x4E3
RUNTIME = assemble(1, 2, "ADD")


def create_message(world: World, init_code: bytes, **values: Any) -> MessageResult:
    message = world.message(kind=CallKind.CREATE, recipient=NEW, code=init_code, **values)
    return world.run(message)


def creator(init_code: bytes, kind: str = "CREATE", *, value: int = 0, salt: int = 0) -> bytes:
    """A contract that creates, and returns the word that it got."""
    operands = [*([salt] if kind == "CREATE2" else []), len(init_code), 0, value]
    return store_bytes(init_code) + assemble(*operands, kind) + return_word()


# --- create messages ------------------------------------------------------------------------------


@pytest.mark.parametrize("fork", FORK_NAMES)
def test_a_create_message_deploys_what_its_init_code_returns(fork: str) -> None:
    world = World(fork)
    result = create_message(world, deploying(RUNTIME), value=3)
    assert result.succeeded and result.output == RUNTIME
    nonce = 0 if fork in BEFORE_EIP_161 else 1
    assert world.state.accounts[NEW] == Account(nonce, 3, RUNTIME, None)
    assert result.changes.created == {NEW}


@pytest.mark.parametrize("fork", FORK_NAMES)
@pytest.mark.parametrize("obstacle", ["nonce", "code", "storage"])
def test_a_create_at_a_taken_address_loses_all_gas(fork: str, obstacle: str) -> None:
    world = World(fork)
    world.put(NEW, nonce=int(obstacle == "nonce"), balance=1, code=b"\x01" if obstacle == "code" else b"")
    if obstacle == "storage":
        world.state.storages[NEW] = {0: 1}
    result = create_message(world, deploying(RUNTIME))
    assert result.failure is Failure.COLLISION and result.gas_left == 0 and not result.succeeded


def test_a_balance_is_no_collision() -> None:
    world = World()
    world.put(NEW, balance=5)
    assert create_message(world, deploying(RUNTIME), value=1).succeeded
    assert world.state.accounts[NEW].balance == 6


# --- code deposit ---------------------------------------------------------------------------------


def gas_for(fork: str, init_code: bytes) -> int:
    """Gas that the init code itself takes."""
    world = World(fork)
    result = create_message(world, init_code)
    return GAS - result.gas_left - FORKS[fork].parameters.code_deposit_byte * len(RUNTIME)


@pytest.mark.parametrize("fork", FORK_NAMES)
def test_an_unpaid_deposit_fails_the_create_or_in_frontier_leaves_no_code(fork: str) -> None:
    init_code = deploying(RUNTIME)
    enough = gas_for(fork, init_code) + 200 * len(RUNTIME)
    assert create_message(World(fork), init_code, gas=enough).gas_left == 0
    world = World(fork)
    result = create_message(world, init_code, gas=enough - 1)
    if fork == "frontier":
        assert result.succeeded and result.output == b"" and result.gas_left == 200 * len(RUNTIME) - 1
        assert world.state.accounts[NEW] == Account()
    else:
        assert result.failure is Failure.CODE_DEPOSIT and result.gas_left == 0
        assert NEW not in world.state.accounts


@pytest.mark.parametrize(
    ("fork", "limited"), [("tangerine_whistle", False), ("spurious_dragon", True), ("osaka", True)]
)
@pytest.mark.parametrize("size", [24576, 24577])
def test_eip_170_limits_the_size_of_code(fork: str, limited: bool, size: int) -> None:
    result = create_message(World(fork), assemble(size, 0, "RETURN"), gas=10_000_000)
    assert result.failure is (Failure.CODE_SIZE if limited and size > 24576 else None)


@pytest.mark.parametrize(("fork", "rejects"), [("berlin", False), ("london", True), ("osaka", True)])
def test_eip_3541_rejects_code_that_starts_with_ef(fork: str, rejects: bool) -> None:
    result = create_message(World(fork), assemble(0xEF, 0, "MSTORE8", 1, 0, "RETURN"))
    assert result.failure is (Failure.CODE_PREFIX if rejects else None)


# --- CREATE and CREATE2 ---------------------------------------------------------------------------


@pytest.mark.parametrize("fork", FORK_NAMES)
def test_create_pushes_the_address_and_counts_the_nonce(fork: str) -> None:
    world = World(fork)
    world.put(TARGET, nonce=7, code=creator(deploying(RUNTIME)))
    address = create_address(TARGET, 7)
    assert int.from_bytes(world.run().output, "big") == address
    assert world.state.accounts[TARGET].nonce == 8 and world.state.accounts[address].code == RUNTIME


@pytest.mark.parametrize("fork", FORK_NAMES[FORK_NAMES.index("constantinople") :])
def test_create2_address_depends_on_salt_and_init_code(fork: str) -> None:
    init_code = deploying(RUNTIME)
    world = World(fork)
    world.put(TARGET, nonce=7, code=creator(init_code, "CREATE2", salt=0x5A17))
    address = create2_address(TARGET, 0x5A17, init_code)
    assert int.from_bytes(world.run().output, "big") == address
    assert world.state.accounts[TARGET].nonce == 8 and world.state.accounts[address].code == RUNTIME


@pytest.mark.parametrize(("nonce", "balance"), [(MAX_NONCE, 10), (1, 4)])
def test_a_create_that_cannot_begin_changes_no_nonce(nonce: int, balance: int) -> None:
    world = World()
    world.put(TARGET, nonce=nonce, balance=balance, code=creator(deploying(RUNTIME), value=5))
    result = world.run()
    assert result.output == bytes(32) and result.changes.accounts == {} and result.gas_left > GAS - 40_000


def test_a_colliding_create_counts_the_nonce_and_stays_warm() -> None:
    address = create_address(TARGET, 1)
    world = World()
    world.put(TARGET, nonce=1, code=creator(deploying(RUNTIME)))
    world.put(address, nonce=1)
    result = world.run(warm_addresses=(TARGET,))
    assert result.output == bytes(32) and world.state.accounts[TARGET].nonce == 2
    assert result.warm_addresses == {address} and result.gas_left < GAS // 60


@pytest.mark.parametrize("init_code", [assemble(0, 0, "REVERT"), assemble("INVALID")])
def test_a_failed_create_counts_the_nonce_and_undoes_the_rest(init_code: bytes) -> None:
    world = World()
    world.put(TARGET, nonce=1, balance=5, code=creator(init_code, value=5))
    result = world.run()
    assert result.output == bytes(32)
    assert result.changes.accounts == {TARGET: Account(2, 5, world.state.accounts[TARGET].code, None)}


@pytest.mark.parametrize(
    ("init_code", "size"), [(deploying(RUNTIME), 0), (assemble(32, 0, "REVERT"), 32), (assemble("INVALID"), 0)]
)
def test_return_data_after_a_create_is_that_of_a_revert_alone(init_code: bytes, size: int) -> None:
    code = store_bytes(init_code) + assemble(len(init_code), 0, 0, "CREATE", "POP", "RETURNDATASIZE") + return_word()
    assert int.from_bytes(World(codes={TARGET: code}).run().output, "big") == size


def test_an_empty_init_code_makes_an_account_without_code() -> None:
    world = World()
    world.put(TARGET, nonce=1, code=assemble(0, 0, 0, "CREATE") + return_word())
    world.run()
    assert world.state.accounts[create_address(TARGET, 1)] == Account(1)


# --- SELFDESTRUCT ---------------------------------------------------------------------------------


def destroying(beneficiary: int) -> bytes:
    return assemble(beneficiary, "SELFDESTRUCT")


@pytest.mark.parametrize("fork", FORK_NAMES)
def test_selfdestruct_moves_the_balance_and_marks_by_fork(fork: str) -> None:
    world = World(fork)
    world.put(TARGET, nonce=1, balance=9, code=destroying(OTHER))
    result = world.run()
    assert result.status is Status.SELFDESTRUCT
    assert world.state.accounts[OTHER].balance == 9 and world.state.accounts[TARGET].balance == 0
    parameters = FORKS[fork].parameters
    assert result.changes.destroyed == (set() if parameters.selfdestruct_only_if_created else {TARGET})
    assert result.refund == (0 if result.changes.destroyed == set() else parameters.selfdestruct_refund)


@pytest.mark.parametrize(("fork", "burns"), [("shanghai", True), ("cancun", False)])
def test_selfdestruct_to_itself_burns_only_what_is_destroyed(fork: str, burns: bool) -> None:
    world = World(fork)
    world.put(TARGET, nonce=1, balance=9, code=destroying(TARGET))
    world.run()
    assert world.state.accounts[TARGET].balance == (0 if burns else 9)


def test_from_cancun_on_a_contract_is_destroyed_in_the_message_that_created_it() -> None:
    init_code = destroying(OTHER)
    world = World("cancun")
    world.put(TARGET, nonce=1, balance=9, code=creator(init_code, value=4))
    result = world.run()
    assert result.changes.destroyed == {create_address(TARGET, 1)}
    assert world.state.accounts[OTHER].balance == 4


def test_the_refund_of_selfdestruct_is_given_once_per_account() -> None:
    world = World("istanbul", codes={TARGET: call("CALL", OTHER) + call("CALL", OTHER)})
    world.put(OTHER, nonce=1, code=destroying(TARGET))
    assert world.run().refund == 24000


def test_a_reverted_selfdestruct_did_not_happen() -> None:
    middle = 0x3A
    world = World(
        "istanbul",
        codes={TARGET: call("CALL", middle, gas=200_000), middle: call("CALL", OTHER) + assemble(0, 0, "REVERT")},
    )
    world.put(OTHER, nonce=1, balance=3, code=destroying(TARGET))
    result = world.run()
    assert result.changes.destroyed == frozenset() and result.refund == 0 and result.changes.accounts == {}


@pytest.mark.parametrize(("fork", "exists"), [("tangerine_whistle", True), ("spurious_dragon", False)])
def test_a_beneficiary_without_gift_comes_to_be_only_before_eip_161(fork: str, exists: bool) -> None:
    world = World(fork)
    world.put(TARGET, nonce=1, code=destroying(OTHER))
    world.run()
    assert (OTHER in world.state.accounts) is exists


def test_an_empty_beneficiary_is_touched() -> None:
    world = World("byzantium")
    world.put(TARGET, nonce=1, code=destroying(OTHER))
    world.put(OTHER)
    assert world.run().changes.touched == {OTHER}
