"""One instruction at a time on EELS, the executable specification: an independent source of prices.

`Machine(fork).frame(...)` makes a frame of that fork, `.execute(mnemonic)` runs EELS's own
implementation of one instruction in it and measures gas, refund and stack.  Nothing here reads
evmaot's tables, so a test that compares the two compares independent sources.

EELS has no true Constantinople: its `constantinople` is Petersburg (EIP-1283 never in force).
"""

from __future__ import annotations

import dataclasses
import importlib
from functools import cache
from types import SimpleNamespace
from typing import Any

from ethereum_types.bytes import Bytes, Bytes20, Bytes32
from ethereum_types.numeric import U64, U256, Uint

EELS_PACKAGE = {
    "frontier": "frontier",
    "homestead": "homestead",
    "dao_fork": "dao_fork",
    "tangerine_whistle": "tangerine_whistle",
    "spurious_dragon": "spurious_dragon",
    "byzantium": "byzantium",
    "petersburg": "constantinople",
    "istanbul": "istanbul",
    "muir_glacier": "muir_glacier",
    "berlin": "berlin",
    "london": "london",
    "arrow_glacier": "arrow_glacier",
    "gray_glacier": "gray_glacier",
    "paris": "paris",
    "shanghai": "shanghai",
    "cancun": "cancun",
    "prague": "prague",
    "osaka": "osaka",
    "bpo1": "bpo1",
    "bpo2": "bpo2",
}
"""EELS's package by the name that evmaot gives the fork (or knows as an alias)."""

EELS_MNEMONIC = {"SHA3": "KECCAK256", "KECCAK": "KECCAK256"}
"""Names that differ.  Both DIFFICULTY and PREVRANDAO exist in EELS, by fork."""

SELF = 0xC0DE
"""Address of the account whose code runs."""
NOBODY = 0xDEAD
"""An address without account."""
EMPTY = 0xE0
"""An account that exists and is empty (EIP-161)."""
RICH = 0x7000
"""An account with a balance and no code."""
BURNER = 0xB0
"""An account whose code (an undefined opcode) burns all gas it is given."""
DELEGATED = 0xDE1E
"""An account whose code is an EIP-7702 delegation to RICH."""


@cache
def eels_modules(package: str) -> SimpleNamespace:
    """The modules of one fork that frames need."""
    base = f"ethereum.forks.{package}"
    names = {
        "vm": "vm", "instructions": "vm.instructions", "gas": "vm.gas", "state": "state",
        "types": "fork_types", "exceptions": "vm.exceptions", "runtime": "vm.runtime",
    }  # fmt: skip
    return SimpleNamespace(**{short: importlib.import_module(f"{base}.{name}") for short, name in names.items()})


def opcodes_of(package: str) -> dict[int, str]:
    """The opcodes of EELS's own enum: name by value, with evmaot's spelling."""
    found: dict[int, str] = {}
    for member in eels_modules(package).instructions.Ops:
        name = EELS_MNEMONIC.get(member.name, member.name)
        found[int.from_bytes(member.value, "big") if isinstance(member.value, bytes) else int(member.value)] = name
    return found


def address(number: int) -> Bytes20:
    """An address as EELS has them."""
    return Bytes20(number.to_bytes(20, "big"))


def key(number: int) -> Bytes32:
    """A storage key as EELS has them."""
    return Bytes32(number.to_bytes(32, "big"))


@dataclasses.dataclass
class Measured:
    """What one instruction did.  Gas in units, `error` is the exception it raised or None."""

    gas: int
    refund: int
    height_change: int
    error: Exception | None


class Machine:
    """A state with the accounts above, on the rules of one EELS fork, and frames on it."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.eels = eels_modules(package)
        self.state = self.eels.state.State()
        self._values: dict[str, Any] = {}
        # Address 0 exists so that an instruction on zero operands touches a plain account.
        for number in (0, RICH, SELF):
            self.add_account(number, balance=10**18)
        self.add_account(EMPTY)
        self.add_account(BURNER, nonce=1, code=b"\xfe")
        self.add_account(DELEGATED, nonce=1, code=b"\xef\x01\x00" + address(RICH))

    def add_account(self, number: int, *, nonce: int = 0, balance: int = 0, code: bytes = b"") -> None:
        """Put an account into the state."""
        state, account = self.eels.state, self.eels.types.Account
        state.set_account(
            self.state, address(number), account(nonce=Uint(nonce), balance=U256(balance), code=Bytes(code))
        )

    def set_storage(self, slot: int, value: int, *, of: int = SELF) -> None:
        """Write a slot behind the EVM's back."""
        self.eels.state.set_storage(self.state, address(of), key(slot), U256(value))

    def begin_transaction(self) -> None:
        """From here on, what the storage holds is the original value (EIP-1283)."""
        begin = self.eels.state.begin_transaction
        transient = self._transient()
        begin(self.state) if transient is None else begin(self.state, transient)

    def _transient(self) -> Any:
        if "transient" not in self._values:
            kind = getattr(self.eels.state, "TransientStorage", None)
            self._values["transient"] = kind() if kind else None
        return self._values["transient"]

    def _make(self, name: str, values: dict[str, Any]) -> Any:
        kind = getattr(self.eels.vm, name)
        return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})

    def frame(
        self,
        stack: list[int],
        *,
        gas: int = 10**9,
        warm_addresses: tuple[int, ...] = (0, SELF),
        warm_slots: tuple[int, ...] = (0,),
        memory_bytes: int = 0,
        code: bytes = b"\x5b",
        static: bool = False,
    ) -> Frame:
        """A frame with that stack (top first), as the transaction's message to SELF."""
        shared: dict[str, Any] = {
            "chain_id": U64(1), "state": self.state, "block_gas_limit": Uint(30_000_000),
            "block_hashes": [key(7)] * 256, "coinbase": address(0xC01), "number": Uint(1000),
            "time": U256(5), "difficulty": Uint(1), "base_fee_per_gas": Uint(7), "prev_randao": key(9),
            "excess_blob_gas": U64(0), "parent_beacon_block_root": key(8),
            "origin": address(RICH), "gas_price": Uint(10), "gas": Uint(gas), "index_in_block": Uint(0),
            "tx_hash": key(6), "access_list_addresses": set(), "access_list_storage_keys": set(),
            "transient_storage": self._transient(), "blob_versioned_hashes": (), "authorizations": (),
            "caller": address(RICH), "target": address(SELF), "current_target": address(SELF),
            "value": U256(0), "data": Bytes(b"\x11" * 64), "code_address": address(SELF), "code": Bytes(code),
            "depth": Uint(0), "should_transfer_value": True, "is_static": static,
            "accessed_addresses": {address(number) for number in warm_addresses},
            "accessed_storage_keys": {(address(SELF), key(slot)) for slot in warm_slots},
            "disable_precompiles": False, "parent_evm": None,
            "pc": Uint(0), "stack": [U256(word) for word in reversed(stack)], "memory": bytearray(memory_bytes),
            "gas_left": Uint(gas), "valid_jump_destinations": {Uint(0)}, "logs": (), "refund_counter": 0,
            "running": True, "output": b"", "accounts_to_delete": set(), "touched_accounts": set(),
            "return_data": b"\x22" * 64, "error": None,
        }  # fmt: skip
        if not self.state._snapshots:
            self.begin_transaction()
        shared["block_env"] = self._make("BlockEnvironment", shared)
        shared["tx_env"] = self._make("TransactionEnvironment", shared)
        shared["message"] = self._make("Message", shared)
        return Frame(self, self._make("Evm", shared))


class Frame:
    """One EELS frame."""

    def __init__(self, machine: Machine, evm: Any) -> None:
        self.machine = machine
        self.evm = evm

    def execute(self, mnemonic: str) -> Measured:
        """Run EELS's implementation of one instruction, and measure it."""
        evm, eels = self.evm, self.machine.eels
        operation = next(op for op in eels.instructions.Ops if EELS_MNEMONIC.get(op.name, op.name) == mnemonic)
        gas, refund, height = int(evm.gas_left), evm.refund_counter, len(evm.stack)
        halt = eels.exceptions.ExceptionalHalt
        revert = getattr(eels.exceptions, "Revert", halt)  # EIP-140
        error: Exception | None = None
        try:
            eels.instructions.op_implementation[operation](evm)
        except (halt, revert) as raised:
            error = raised
        return Measured(gas - int(evm.gas_left), evm.refund_counter - refund, len(evm.stack) - height, error)

    @property
    def top(self) -> int:
        """The word on top of the stack."""
        return int(self.evm.stack[-1])
