"""The state of dicts, and its precompiles."""

from __future__ import annotations

import hashlib
import importlib

import pytest

from evmaot.abi.status import Status
from evmaot.errors import HostError
from evmaot.evm.forks import FORKS
from evmaot.execution import precompiles
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.precompiles import EELS_PACKAGES, precompile_addresses
from evmaot.execution.protocol import Account, Changes, PrecompileCall, PrecompileResult

A, B = 0xA, 0xB
NOTHING: frozenset[int] = frozenset()


def call_of(address: int, data: bytes, gas: int) -> PrecompileCall:
    return PrecompileCall(address, data, gas, 1, address, 0, False, 1)


def test_commit_takes_over_and_clears() -> None:
    state = MemoryState(FORKS["osaka"], {A: Account(1, 5), B: Account(0, 5)}, {A: {1: 1, 2: 2, 3: 0}})
    assert state.storages == {A: {1: 1, 2: 2}}
    state.commit(Changes({A: Account(2, 6), B: None}, {A: {1: 0, 4: 4}}, {}, NOTHING, NOTHING, NOTHING))
    assert state.accounts == {A: Account(2, 6)} and state.storages == {A: {2: 2, 4: 4}}
    assert (state.storage(A, 1), state.storage(A, 4), state.storage(B, 1)) == (0, 4, 0)


def test_destroyed_accounts_live_until_the_transaction_ends() -> None:
    state = MemoryState(FORKS["osaka"], {A: Account(1, 5), B: Account()}, {A: {1: 1}})
    changes = Changes({}, {}, {}, NOTHING, frozenset((A,)), frozenset((B,)))
    state.commit(changes)
    assert A in state.accounts and B in state.accounts
    state.end_transaction(changes)
    assert not state.accounts and not state.has_storage(A)


@pytest.mark.parametrize("fork", list(FORKS))
def test_precompiles_are_those_of_eels(fork: str) -> None:
    mapping = importlib.import_module(f"ethereum.forks.{EELS_PACKAGES[fork]}.vm.precompiled_contracts.mapping")
    assert precompile_addresses(fork) == {int.from_bytes(key, "big") for key in mapping.PRE_COMPILED_CONTRACTS}


@pytest.mark.parametrize("size", [0, 1, 32, 33, 1000])
@pytest.mark.parametrize("address", [2, 3, 4])
def test_hashes_are_those_of_eels(address: int, size: int) -> None:
    fork = FORKS["osaka"]
    data = bytes(range(256)) * 4
    for gas in (10**6, 600 + 120 * 32, 59, 15):
        call = call_of(address, data[:size], gas)
        assert precompiles.run_precompile(fork, call) == precompiles._by_eels(fork, call)


def test_other_precompiles_run_by_eels() -> None:
    modexp = (1).to_bytes(32, "big") * 3 + b"\x03\x05\x07"
    result = precompiles.run_precompile(FORKS["osaka"], call_of(5, modexp, 1000))
    assert result == PrecompileResult(Status.RETURN, 500, bytes([3**5 % 7]))
    assert precompiles.run_precompile(FORKS["osaka"], call_of(5, modexp, 499)).status.halted


def test_without_eels_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> None:
        raise ImportError(package)

    monkeypatch.setattr(precompiles, "eels_precompiles", missing)
    assert precompiles.run_precompile(FORKS["osaka"], call_of(2, b"", 100)).output == hashlib.sha256(b"").digest()
    with pytest.raises(HostError) as caught:
        precompiles.run_precompile(FORKS["osaka"], call_of(6, b"", 100))
    assert caught.value.reference == "precompile_missing" and "evmaot[eels]" in (caught.value.hint or "")
