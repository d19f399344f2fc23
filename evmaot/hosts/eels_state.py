"""One EELS fork's types and state, as the executor's host.

Job: `ForkTypes` turns EELS's message into ours, and our result into EELS's `Evm`; `EelsState` reads and
writes EELS's state through the functions of the fork's own `state` module, so that other state backends
work too.  Invariant: values cross as ints and exact bytes; what comes back has EELS's types.
May import: `evmaot.execution`, `evmaot.abi`; EELS.
"""

from __future__ import annotations

import dataclasses
import importlib
from types import SimpleNamespace
from typing import Any

from evmaot.abi.status import CallKind, Status
from evmaot.evm.forks import Fork
from evmaot.execution.executor import Executor
from evmaot.execution.precompiles import eels_precompiles_of, run_eels_precompile
from evmaot.execution.protocol import (
    Account,
    Changes,
    Environment,
    Failure,
    Log,
    Message,
    MessageResult,
    PrecompileCall,
    PrecompileResult,
)

_ERRORS = {
    Status.OUT_OF_GAS: "OutOfGasError",
    Status.STACK_UNDERFLOW: "StackUnderflowError",
    Status.STACK_OVERFLOW: "StackOverflowError",
    Status.BAD_JUMP_DESTINATION: "InvalidJumpDestError",
    Status.STATIC_VIOLATION: "WriteInStaticContext",
    Status.OUT_OF_BOUNDS_READ: "OutOfBoundsRead",
}
"""EELS's exception by status, where it takes no argument."""
_FAILURES = {
    Failure.COLLISION: "AddressCollision",
    Failure.CODE_DEPOSIT: "OutOfGasError",
    Failure.CODE_SIZE: "OutOfGasError",
    Failure.CODE_PREFIX: "InvalidContractPrefix",
}
_INVALID = 0xFE
"""What InvalidOpcode reports: compiled code does not say which undefined opcode it met."""


class ForkTypes:
    """Everything of one EELS fork package that running a message needs, looked up once."""

    def __init__(self, path: str, fork: Fork) -> None:
        self.fork = fork
        self.state = importlib.import_module(f"{path}.state")
        self.interpreter = importlib.import_module(f"{path}.vm.interpreter")
        self.exceptions = importlib.import_module(f"{path}.vm.exceptions")
        self.account = importlib.import_module(f"{path}.fork_types").Account
        self.log = importlib.import_module(f"{path}.blocks").Log
        self.precompiled = eels_precompiles_of(path)
        self.precompiles = frozenset(self.precompiled.functions)
        vm = importlib.import_module(f"{path}.vm")
        self.evm = vm.Evm
        self.evm_fields = frozenset(field.name for field in dataclasses.fields(vm.Evm))
        self.message = vm.Message
        self.message_fields = tuple(field.name for field in dataclasses.fields(vm.Message))
        numeric = importlib.import_module("ethereum_types.numeric")
        types = importlib.import_module("ethereum_types.bytes")
        self.uint, self.u256 = numeric.Uint, numeric.U256
        self.bytes20, self.bytes32 = types.Bytes20, types.Bytes32
        self.trace = importlib.import_module("ethereum.trace")
        gas = importlib.import_module(f"{path}.vm.gas")
        self._blob_gas_price = getattr(gas, "calculate_blob_gas_price", None)
        self._blob_base_fee: tuple[Any, int] = (None, 0)

    def address(self, number: int) -> Any:
        """An address as EELS has them."""
        return self.bytes20(number.to_bytes(20, "big"))

    def word(self, number: int) -> Any:
        """A 32-byte string as EELS has them."""
        return self.bytes32(number.to_bytes(32, "big"))

    def reason_to_interpret(self, message: Any) -> str | None:
        """Why a message cannot run natively, None if it can."""
        if self.trace._evm_trace is not self.trace.discard_evm_trace:
            return "tracer"
        # The original values of storage are those of the outermost snapshot (EIP-2200).
        if getattr(message.block_env.state, "_snapshots", None):
            return "open_snapshot"
        return None

    def run(self, executor: Executor, message: Any) -> tuple[Any, int]:
        """Run a depth-0 message: EELS's Evm, and how many frames ran natively."""
        state = EelsState(self, message)
        result = executor.execute(self._message(message), self._environment(message), state, self.fork)
        if result.succeeded:
            state.commit(result.changes)
        return self._evm(message, result), result.native_frames

    # --- EELS to us -------------------------------------------------------------------------------

    def _message(self, message: Any) -> Message:
        from_bytes = int.from_bytes
        creates = not message.target
        code_address = message.code_address
        transient = getattr(message.tx_env, "transient_storage", None)
        return Message(
            kind=CallKind.CREATE if creates else CallKind.CALL,
            sender=from_bytes(message.caller, "big"),
            recipient=from_bytes(message.current_target, "big"),
            gas=int(message.gas),
            code=message.code,
            code_address=from_bytes(code_address, "big") if code_address is not None else 0,
            input=message.data,
            value=int(message.value),
            is_static=getattr(message, "is_static", False),
            transfers_value=getattr(message, "should_transfer_value", True),
            is_delegated=getattr(message, "disable_precompiles", False),
            warm_addresses=[from_bytes(address, "big") for address in getattr(message, "accessed_addresses", ())],
            warm_slots=[
                (from_bytes(address, "big"), from_bytes(key, "big"))
                for address, key in getattr(message, "accessed_storage_keys", ())
            ],
            transient=_transient(transient) if transient is not None else {},
        )

    def _environment(self, message: Any) -> Environment:
        block, transaction = message.block_env, message.tx_env
        from_bytes = int.from_bytes
        difficulty = getattr(block, "difficulty", None)
        return Environment(
            origin=from_bytes(transaction.origin, "big"),
            gas_price=int(transaction.gas_price),
            coinbase=from_bytes(block.coinbase, "big"),
            number=int(block.number),
            timestamp=int(block.time),
            gas_limit=int(block.block_gas_limit),
            prevrandao=int(difficulty) if difficulty is not None else from_bytes(block.prev_randao, "big"),
            chain_id=int(block.chain_id),
            base_fee=int(getattr(block, "base_fee_per_gas", 0)),
            blob_base_fee=self._blob_base_fee_of(block),
            blob_hashes=tuple(
                from_bytes(blob_hash, "big") for blob_hash in getattr(transaction, "blob_versioned_hashes", ())
            ),
        )

    def _blob_base_fee_of(self, block: Any) -> int:
        if self._blob_gas_price is None:
            return 0
        excess = block.excess_blob_gas
        known, fee = self._blob_base_fee
        if known != excess:
            fee = int(self._blob_gas_price(excess))
            self._blob_base_fee = (excess, fee)
        return fee

    # --- us to EELS -------------------------------------------------------------------------------

    def _evm(self, message: Any, result: MessageResult) -> Any:
        succeeded = result.succeeded
        changes = result.changes
        values: dict[str, Any] = {
            "pc": self.uint(0),
            "stack": [],
            "memory": bytearray(),
            "code": message.code,
            "gas_left": self.uint(result.gas_left),
            "valid_jump_destinations": set(),
            "logs": tuple([self._log(log) for log in result.logs]),
            "refund_counter": result.refund,
            "running": False,
            "message": message,
            "output": result.output,
            "accounts_to_delete": {self.address(address) for address in changes.destroyed},
            "error": None if succeeded else self._error(result),
        }
        fields = self.evm_fields
        if "return_data" in fields:
            values["return_data"] = b""
        if "touched_accounts" in fields:
            values["touched_accounts"] = {self.address(address) for address in changes.touched}
        if "accessed_addresses" in fields:
            # EELS's frame changes the message's own sets.
            message.accessed_addresses.update([self.address(address) for address in result.warm_addresses])
            message.accessed_storage_keys.update(
                [(self.address(address), self.word(key)) for address, key in result.warm_slots]
            )
            values["accessed_addresses"] = message.accessed_addresses
            values["accessed_storage_keys"] = message.accessed_storage_keys
        return self.evm(**values)

    def _log(self, log: Log) -> Any:
        return self.log(
            address=self.address(log.address), topics=tuple([self.word(topic) for topic in log.topics]), data=log.data
        )

    def _error(self, result: MessageResult) -> Exception:
        exceptions: Any = self.exceptions
        name = _FAILURES.get(result.failure) if result.failure is not None else None
        if name is None and result.status is Status.REVERT:
            name = "Revert"
        elif name is None:
            name = _ERRORS.get(result.status)
        if name is None:
            error: Exception = exceptions.InvalidOpcode(_INVALID)
        else:
            error = getattr(exceptions, name)()
        return error


class EelsState:
    """A message's view of EELS's state."""

    __slots__ = ("_message", "_state", "_types", "precompiles")

    def __init__(self, types: ForkTypes, message: Any) -> None:
        self._types = types
        self._message = message
        self._state = message.block_env.state
        self.precompiles = types.precompiles

    def account(self, address: int) -> Account | None:
        """The account, None if there is none."""
        found = self._types.state.get_account_optional(self._state, address.to_bytes(20, "big"))
        return None if found is None else Account(int(found.nonce), int(found.balance), found.code)

    def storage(self, address: int, key: int) -> int:
        """The value of a slot."""
        value = self._types.state.get_storage(self._state, address.to_bytes(20, "big"), key.to_bytes(32, "big"))
        return int(value)

    def has_storage(self, address: int) -> bool:
        """Whether any slot is set."""
        return bool(self._types.state.account_has_storage(self._state, address.to_bytes(20, "big")))

    def storage_is_empty(self, address: int) -> bool:
        """Whether every slot is 0: EELS has a trie for each account with storage."""
        return not self.has_storage(address)

    def block_hash(self, number: int) -> int:
        """Hash of one of the last 256 blocks."""
        block = self._message.block_env
        return int.from_bytes(block.block_hashes[number - int(block.number)], "big")

    def precompile(self, call: PrecompileCall) -> PrecompileResult:
        """Run EELS's own function."""
        return run_eels_precompile(self._types.precompiled, call, self._precompile_message(call))

    def _precompile_message(self, call: PrecompileCall) -> Any:
        types, outer = self._types, self._message
        values = dict(vars(outer)) if hasattr(outer, "__dict__") else _fields_of(outer, types.message_fields)
        values.update(
            caller=types.address(call.sender),
            target=types.address(call.recipient),
            current_target=types.address(call.recipient),
            gas=types.uint(call.gas),
            value=types.u256(call.value),
            data=call.input,
            code_address=types.address(call.address),
            code=b"",
            depth=types.uint(call.depth),
        )
        return SimpleNamespace(**values)

    def commit(self, changes: Changes) -> None:
        """Write a successful message's changes into EELS's state."""
        types, state = self._types, self._state
        module: Any = types.state
        for address, account in changes.accounts.items():
            if account is None:
                module.destroy_account(state, types.address(address))
                continue
            nonce, balance, code, _ = account
            module.set_account(
                state,
                types.address(address),
                types.account(nonce=types.uint(nonce), balance=types.u256(balance), code=code),
            )
        for address, slots in changes.storage.items():
            owner = types.address(address)
            for key, value in slots.items():
                module.set_storage(state, owner, types.word(key), types.u256(value))
        if changes.transient:
            storage = self._message.tx_env.transient_storage
            for address, slots in changes.transient.items():
                owner = types.address(address)
                for key, value in slots.items():
                    module.set_transient_storage(storage, owner, types.word(key), types.u256(value))
        if changes.touched and "touched_accounts" not in types.evm_fields:
            # From Paris on EELS has no touched accounts, its states have no empty ones.
            for address in changes.touched:
                module.destroy_account(state, types.address(address))


def _fields_of(message: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names}


def _transient(storage: Any) -> dict[int, dict[int, int]]:
    """EELS's transient storage as ints (EIP-1153)."""
    from_bytes = int.from_bytes
    return {
        from_bytes(address, "big"): {from_bytes(key, "big"): int(value) for key, value in trie._data.items()}
        for address, trie in storage._tries.items()
    }
