"""Precompiled contracts for states that have no EVM of their own behind them.

Job: which fork has which, and how to run them: identity, SHA-256 and RIPEMD-160 here, all others by
EELS's functions where EELS is installed.  Invariant: gas and result are those of the fork's EELS package.
May import: `evmaot.evm.forks`, execution.protocol, errors; EELS lazily.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from evmaot.abi.status import Status
from evmaot.errors import HostError
from evmaot.evm.forks import FORKS
from evmaot.execution.protocol import PrecompileCall, PrecompileResult

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork

ADDED_BY_FORK: Mapping[str, tuple[int, ...]] = {
    "frontier": (1, 2, 3, 4),
    "byzantium": (5, 6, 7, 8),  # EIP-198, EIP-196, EIP-197
    "istanbul": (9,),  # EIP-152
    "cancun": (0x0A,),  # EIP-4844
    "prague": (0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11),  # EIP-2537
    "osaka": (0x100,),  # EIP-7951
}
"""Addresses that came with a fork, and stay."""

EELS_PACKAGES: Mapping[str, str] = {
    name: {"petersburg": "constantinople"}.get(name, name) for name in FORKS
}  # fmt: skip
"""EELS's package with a fork's precompiles.  Its `constantinople` is Petersburg; both have the same precompiles."""

_OUT_OF_GAS = PrecompileResult(Status.OUT_OF_GAS)


@cache
def precompile_addresses(fork_name: str) -> frozenset[int]:
    """Addresses of a fork's precompiled contracts."""
    found: set[int] = set()
    name: str | None = fork_name
    while name is not None:
        found.update(ADDED_BY_FORK.get(name, ()))
        name = FORKS[name].parent
    return frozenset(found)


def run_precompile(fork: Fork, call: PrecompileCall) -> PrecompileResult:
    """Run a precompiled contract of a fork.  Raises HostError `precompile_missing` where nothing can."""
    if call.address == 4:
        return _hashing(call, 15, 3, lambda data: data)
    if call.address == 2:
        return _hashing(call, 60, 12, lambda data: hashlib.sha256(data).digest())
    if call.address == 3 and "ripemd160" in hashlib.algorithms_available:
        return _hashing(call, 600, 120, _ripemd160)
    return _by_eels(fork, call)


def _ripemd160(data: bytes) -> bytes:
    return bytes(12) + hashlib.new("ripemd160", data).digest()


def _hashing(call: PrecompileCall, base_gas: int, word_gas: int, function: Any) -> PrecompileResult:
    """Yellow Paper appendix E: a price, and a price per word of input."""
    gas_left = call.gas - base_gas - word_gas * ((len(call.input) + 31) // 32)
    return PrecompileResult(Status.RETURN, gas_left, function(call.input)) if gas_left >= 0 else _OUT_OF_GAS


def _by_eels(fork: Fork, call: PrecompileCall) -> PrecompileResult:
    try:
        eels = eels_precompiles(EELS_PACKAGES[fork.name])
    except ImportError as error:
        raise HostError(
            "precompile_missing",
            f"nothing here can run the precompiled contract at 0x{call.address:x}",
            context={"address": call.address, "fork": fork.name},
            cause=str(error),
            hint="pip install 'evmaot[eels]'",
        ) from error
    return run_eels_precompile(eels, call, SimpleNamespace(data=eels.to_bytes(call.input), gas=call.gas))


@cache
def eels_precompiles(package: str) -> SimpleNamespace:
    """What is needed of an EELS fork to run its precompiles.  Raises ImportError without EELS."""
    base = f"ethereum.forks.{package}"
    return eels_precompiles_of(base)


def eels_precompiles_of(base: str) -> SimpleNamespace:
    """The same for any module path of a fork (EELS's tools clone forks under temporary names)."""
    mapping = importlib.import_module(f"{base}.vm.precompiled_contracts.mapping")
    vm = importlib.import_module(f"{base}.vm")
    exceptions = importlib.import_module(f"{base}.vm.exceptions")
    numeric = importlib.import_module("ethereum_types.numeric")
    types = importlib.import_module("ethereum_types.bytes")
    return SimpleNamespace(
        functions={int.from_bytes(address, "big"): body for address, body in mapping.PRE_COMPILED_CONTRACTS.items()},
        evm_type=vm.Evm,
        evm_fields=tuple(field.name for field in dataclasses.fields(vm.Evm)),
        halt=exceptions.ExceptionalHalt,
        to_gas=numeric.Uint,
        to_bytes=types.Bytes,
    )


def run_eels_precompile(eels: SimpleNamespace, call: PrecompileCall, message: Any) -> PrecompileResult:
    """Run EELS's function on an Evm made for it; `message` is EELS's or has at least its `data`."""
    values = {
        "pc": eels.to_gas(0), "stack": [], "memory": bytearray(), "code": b"", "gas_left": eels.to_gas(call.gas),
        "valid_jump_destinations": set(), "logs": (), "refund_counter": 0, "running": True, "message": message,
        "output": b"", "accounts_to_delete": set(), "touched_accounts": set(), "return_data": b"", "error": None,
        "accessed_addresses": set(), "accessed_storage_keys": set(),
    }  # fmt: skip
    evm = eels.evm_type(**{name: values[name] for name in eels.evm_fields})
    try:
        eels.functions[call.address](evm)
    except eels.halt:
        return _OUT_OF_GAS
    return PrecompileResult(Status.RETURN, int(evm.gas_left), bytes(evm.output))
