"""All 609 single-frame vectors in both tiers, every frame native: there is no interpreter to fall back to."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from evmaot.abi.status import CallKind, Status
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import fork_named
from evmaot.execution.executor import Executor
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import Account, Environment, Message
from tests.support.fixtures import FIXTURES_MISSING, find_fixtures
from tests.support.vmtests import RULES, VECTORS, Outcome, State, Vector, VectorAccount, block_hash, differences, load

FIXTURES = find_fixtures()
FOUND = load(FIXTURES) if FIXTURES else []
FORK = fork_named(RULES)


@cache
def executor(tier: Tier, cache_dir: Path) -> Executor:
    """One executor per tier and process; compiled images are shared by all processes of the run."""
    return Executor(JitPrograms(CompileOptions(tier=tier), cache=cache_dir))


def state_before(vector: Vector) -> MemoryState:
    return MemoryState(
        FORK,
        {address: Account(account.nonce, account.balance, account.code) for address, account in vector.pre.items()},
        {address: account.storage for address, account in vector.pre.items()},
        block_hash=block_hash,
    )


def state_after(state: MemoryState) -> State:
    return {
        address: VectorAccount(account.nonce, account.balance, account.code, state.storages.get(address, {}))
        for address, account in state.accounts.items()
    }


def run(vector: Vector, tier: Tier, cache_dir: Path) -> Outcome:
    """One vector on the compiler, the executor and the in-memory state."""
    environment = Environment(
        origin=vector.origin,
        gas_price=vector.gas_price,
        coinbase=vector.block["Coinbase"],
        number=vector.block["Number"],
        timestamp=vector.block["Timestamp"],
        gas_limit=vector.block["GasLimit"],
        prevrandao=vector.block["Difficulty"],
    )
    message = Message(
        CallKind.CALL,
        sender=vector.caller,
        recipient=vector.address,
        gas=vector.gas,
        code=vector.code,
        code_address=vector.address,
        input=vector.data,
        value=vector.value,
        transfers_value=False,
    )
    state = state_before(vector)
    result = executor(tier, cache_dir).execute(message, environment, state, FORK)
    assert result.native_frames == (1 if vector.code else 0)
    if result.status.halted:
        assert result.gas_left == 0
        return Outcome(halted=True)
    assert result.status in (Status.STOP, Status.RETURN, Status.SELFDESTRUCT), "Frontier has no REVERT"
    state.commit(result.changes)
    state.end_transaction(result.changes)
    logs = tuple((log.address, log.topics, log.data) for log in result.logs)
    return Outcome(False, result.gas_left, result.output, logs, state_after(state))


def test_the_vectors_are_all_there() -> None:
    if FIXTURES is None:
        pytest.skip(FIXTURES_MISSING)
    assert len(FOUND) == VECTORS
    assert len({vector.name for vector in FOUND}) == VECTORS


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
@pytest.mark.parametrize("vector", FOUND, ids=lambda vector: vector.name)
def test_a_vector(vector: Vector, tier: Tier, shared_cache_dir: Path) -> None:
    assert differences(vector, run(vector, tier, shared_cache_dir)) == []
