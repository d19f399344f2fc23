"""One message on EELS, the executable specification, in the terms of `tests/support/native.py`."""

from __future__ import annotations

import dataclasses
import importlib
from functools import cache
from typing import Any

from ethereum_types.bytes import Bytes
from ethereum_types.numeric import U64, U256, Uint

from tests.support.eels import EELS_PACKAGE, address, eels_modules, key
from tests.support.native import (
    BLOCK_NUMBER,
    BOTH_TIERS,
    ENVIRONMENT,
    OLDEST_BLOCK,
    SENDER,
    Call,
    Contract,
    Ended,
    block_hash,
    comparable,
    run_native,
)

EELS_FORKS = tuple(fork for fork in EELS_PACKAGE if fork not in ("dao_fork", "bpo1", "bpo2") and "glacier" not in fork)
"""Forks of evmaot that EELS has: all but the true Constantinople."""
_BLOCK_HASHES = tuple(key(block_hash(number)) for number in range(OLDEST_BLOCK, BLOCK_NUMBER))


@cache
def _interpreter(package: str) -> Any:
    return importlib.import_module(f"ethereum.forks.{package}.vm.interpreter")


def _number(data: Any) -> int:
    return int.from_bytes(data, "big")


def _state(eels: Any, call: Call) -> Any:
    state = eels.state.State()
    for number, contract in call.world.items():
        account = eels.types.Account(
            nonce=Uint(contract.nonce), balance=U256(contract.balance), code=Bytes(contract.code)
        )
        eels.state.set_account(state, address(number), account)
        for slot, value in contract.storage.items():
            eels.state.set_storage(state, address(number), key(slot), U256(value))
    return state


def environment_values(state: Any, transient: Any) -> dict[str, Any]:
    """What EELS's block and transaction environments of `ENVIRONMENT` are made of."""
    return {
        "chain_id": U64(ENVIRONMENT.chain_id), "state": state, "block_gas_limit": Uint(ENVIRONMENT.gas_limit),
        "block_hashes": list(_BLOCK_HASHES), "coinbase": address(ENVIRONMENT.coinbase),
        "number": Uint(ENVIRONMENT.number), "time": U256(ENVIRONMENT.timestamp),
        "difficulty": Uint(ENVIRONMENT.prevrandao), "prev_randao": key(ENVIRONMENT.prevrandao),
        "base_fee_per_gas": Uint(ENVIRONMENT.base_fee), "excess_blob_gas": U64(0),
        "parent_beacon_block_root": key(8),
        "origin": address(ENVIRONMENT.origin), "gas_price": Uint(ENVIRONMENT.gas_price), "gas": Uint(0),
        "index_in_block": Uint(0), "tx_hash": key(6), "access_list_addresses": set(),
        "access_list_storage_keys": set(), "transient_storage": transient,
        "blob_versioned_hashes": tuple(key(number) for number in ENVIRONMENT.blob_hashes), "authorizations": (),
    }  # fmt: skip


def make(eels: Any, name: str, values: dict[str, Any]) -> Any:
    """One of EELS's records, of those values that the fork's record has."""
    kind = getattr(eels.vm, name)
    return kind(**{row.name: values[row.name] for row in dataclasses.fields(kind)})


def _message(eels: Any, state: Any, call: Call) -> Any:
    transient = getattr(eels.state, "TransientStorage", None)
    target = address(call.target)
    values: dict[str, Any] = environment_values(state, transient() if transient else None) | {
        "gas": Uint(call.gas), "caller": address(SENDER), "target": target, "current_target": target,
        "value": U256(call.value), "data": Bytes(call.input), "code_address": target,
        "code": Bytes(call.world[call.target].code), "depth": Uint(0), "should_transfer_value": True,
        "is_static": call.is_static,
        "accessed_addresses": {address(number) for number in call.warm_addresses},
        "accessed_storage_keys": {(address(number), key(slot)) for number, slot in call.warm_slots},
        "disable_precompiles": False, "parent_evm": None,
    }  # fmt: skip
    values["block_env"] = make(eels, "BlockEnvironment", values)
    values["tx_env"] = make(eels, "TransactionEnvironment", values)
    return make(eels, "Message", values)


def _world(eels: Any, state: Any) -> dict[int, Contract]:
    found: dict[int, Contract] = {}
    for place, account in state._main_trie._data.items():
        if account is None:
            continue
        trie = state._storage_tries.get(place)
        slots = {_number(slot): int(value) for slot, value in trie._data.items()} if trie else {}
        found[_number(place)] = Contract(bytes(account.code), int(account.nonce), int(account.balance), slots)
    return found


def run_eels(call: Call, fork: str) -> Ended:
    """Run a call on EELS."""
    package = EELS_PACKAGE[fork]
    eels = eels_modules(package)
    state = _state(eels, call)
    message = _message(eels, state, call)
    warms = hasattr(message, "accessed_addresses")
    if hasattr(message, "disable_precompiles"):  # EIP-7702, as `process_message_call` does
        delegation = importlib.import_module(f"ethereum.forks.{package}.vm.eoa_delegation")
        delegate = delegation.get_delegated_code_address(message.code)
        if delegate is not None:
            message.disable_precompiles = True
            message.code = eels.state.get_account(state, delegate).code
            message.code_address = delegate
    evm = _interpreter(package).process_message(message)
    failed = evm.error is not None
    revert = getattr(eels.exceptions, "Revert", None)  # EIP-140
    outcome = "success" if not failed else "revert" if revert and isinstance(evm.error, revert) else "halt"
    return Ended(
        outcome,
        int(evm.gas_left),
        b"" if outcome == "halt" else bytes(evm.output),  # Frontier keeps it; nobody can see it
        0 if failed else int(evm.refund_counter),
        () if failed else tuple(
            (_number(log.address), tuple(_number(topic) for topic in log.topics), bytes(log.data)) for log in evm.logs
        ),
        _world(eels, state),
        frozenset() if failed else frozenset(_number(place) for place in evm.accounts_to_delete),
        frozenset(_number(place) for place in evm.accessed_addresses) if warms else frozenset(),
        frozenset((_number(place), _number(slot)) for place, slot in evm.accessed_storage_keys)
        if warms
        else frozenset(),
        type(evm.error).__name__,
    )  # fmt: skip


def assert_same(call: Call, fork: str, tiers: tuple[str, ...] = BOTH_TIERS) -> Ended:
    """Run it on both; what EELS says."""
    right = run_eels(call, fork)
    for tier in tiers:
        found = run_native(call, fork, tier)
        assert comparable(found, fork) == comparable(right, fork), (tier, found.reason, right.reason)
        # Control flow is what the compiler works out: it must not be wrong about a jump in a frame that
        # fails anyway.  Other halts may come early, because gas and stack are checked for a whole section.
        assert (found.reason == "BAD_JUMP_DESTINATION") == (right.reason == "InvalidJumpDestError")
    return right
