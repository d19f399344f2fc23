"""State tests of the true Constantinople (EIP-1283), which EELS lacks: py-evm hosts the transaction.

`ConstantinopleRunner().observe(test, key)` is what `hosts.state_test_eels.EelsRunner` is for the other
forks: py-evm checks the transaction, buys gas, pays fees and deletes accounts; the depth-0 message runs on
evmaot's executor, and a frame that is not native raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import rlp
from eth.chains.base import ChainContext
from eth.consensus import ConsensusContext
from eth.constants import CREATE_CONTRACT_ADDRESS, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.db.chain import ChainDB
from eth.exceptions import OutOfGas, Revert
from eth.rlp.headers import BlockHeader
from eth.rlp.logs import Log as LogSedes
from eth.vm.forks.constantinople import ConstantinopleVM
from eth.vm.forks.constantinople.computation import ConstantinopleComputation
from eth.vm.forks.constantinople.state import ConstantinopleState
from eth_keys import keys
from eth_utils import ValidationError
from rlp.sedes import CountableList

from evmaot.abi.status import CallKind, Status
from evmaot.evm.forks import FORKS
from evmaot.execution.executor import Executor
from evmaot.execution.hashing import keccak256
from evmaot.execution.precompiles import precompile_addresses, run_precompile
from evmaot.execution.protocol import (
    Account,
    Changes,
    Environment,
    Message,
    MessageResult,
    PrecompileCall,
    PrecompileResult,
)
from evmaot.hosts.state_test_eels import Observed, Rejected
from evmaot.hosts.state_tests import CaseKey, StateTest

FORK = FORKS["constantinople"]


def _number(text: str) -> int:
    digits = text.removeprefix("0x:bigint ").removeprefix("0x")
    return int(digits, 16) if digits else 0


def _data(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _address(number: int) -> bytes:
    return number.to_bytes(20, "big")


class PyEvmState:
    """py-evm's state as the executor reads it."""

    def __init__(self, state: Any, with_storage: frozenset[int]) -> None:
        self.state = state
        self.precompiles = precompile_addresses(FORK.name)
        self._with_storage = with_storage
        """py-evm cannot tell whether an account has storage; the test's pre-state can."""

    def account(self, address: int) -> Account | None:
        name, state = _address(address), self.state
        if not state.account_exists(name):
            return None
        return Account(state.get_nonce(name), state.get_balance(name), state.get_code(name))

    def storage(self, address: int, key: int) -> int:
        return int(self.state.get_storage(_address(address), key))

    def has_storage(self, address: int) -> bool:
        return address in self._with_storage

    def block_hash(self, number: int) -> int:
        return int.from_bytes(self.state.get_ancestor_hash(number), "big")

    def precompile(self, call: PrecompileCall) -> PrecompileResult:
        return run_precompile(FORK, call)

    def commit(self, changes: Changes) -> None:
        state = self.state
        for number, account in changes.accounts.items():
            name = _address(number)
            if account is None:
                state.delete_account(name)
                continue
            state.set_balance(name, account.balance)
            state.set_nonce(name, account.nonce)
            state.set_code(name, account.code)
        for number, slots in changes.storage.items():
            for key, value in slots.items():
                state.set_storage(_address(number), key, value)


class NativeComputation(ConstantinopleComputation):
    """py-evm's computation whose depth-0 messages run on the executor."""

    executor: ClassVar[Executor]
    with_storage: ClassVar[frozenset[int]] = frozenset()
    native_frames: ClassVar[int] = 0

    @classmethod
    def apply_message(cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None) -> Any:
        return cls._run(state, message, transaction_context)

    @classmethod
    def apply_create_message(
        cls, state: Any, message: Any, transaction_context: Any, parent_computation: Any = None
    ) -> Any:
        return cls._run(state, message, transaction_context)

    @classmethod
    def _run(cls, state: Any, message: Any, transaction_context: Any) -> Any:
        reader = PyEvmState(state, cls.with_storage)
        result = cls.executor.execute(
            _message(message, transaction_context), _environment(state, transaction_context), reader, FORK
        )
        NativeComputation.native_frames += result.native_frames
        reader.commit(result.changes)
        computation = cls(state, message, transaction_context)
        _fill(computation, result)
        return computation


class NativeState(ConstantinopleState):
    computation_class = NativeComputation


class NativeVM(ConstantinopleVM):
    _state_class = NativeState


def _message(message: Any, context: Any) -> Message:
    return Message(
        kind=CallKind.CREATE if message.is_create else CallKind.CALL,
        sender=int.from_bytes(message.sender, "big"),
        recipient=int.from_bytes(message.storage_address, "big"),
        gas=message.gas,
        code=bytes(message.code),
        code_address=int.from_bytes(message.code_address, "big") if not message.is_create else 0,
        input=bytes(message.data),
        value=message.value,
    )


def _environment(state: Any, context: Any) -> Environment:
    return Environment(
        origin=int.from_bytes(context.origin, "big"),
        gas_price=context.gas_price,
        coinbase=int.from_bytes(state.coinbase, "big"),
        number=state.block_number,
        timestamp=state.timestamp,
        gas_limit=state.gas_limit,
        prevrandao=state.difficulty,
    )


def _fill(computation: Any, result: MessageResult) -> None:
    """Our result as py-evm's finished computation."""
    changes = result.changes
    meter = computation._gas_meter
    meter.gas_remaining = result.gas_left
    # py-evm adds the refund of SELFDESTRUCT itself, by the number of accounts.
    meter.gas_refunded = result.refund - FORK.parameters.selfdestruct_refund * len(changes.destroyed)
    computation._log_entries = [
        (index, _address(log.address), log.topics, log.data) for index, log in enumerate(result.logs)
    ]
    computation.accounts_to_delete = [_address(address) for address in changes.destroyed]
    computation.beneficiaries = [_address(address) for address in changes.touched]
    computation.output = result.output
    if not result.succeeded:
        computation.error = Revert(result.output) if result.status is Status.REVERT else OutOfGas(result.status.name)


class ConstantinopleRunner:
    """Runs cases; the programs are those of the executor."""

    def __init__(self, executor: Executor) -> None:
        NativeComputation.executor = executor

    @property
    def native_frames(self) -> int:
        """Frames so far."""
        return NativeComputation.native_frames

    def observe(self, test: StateTest, key: CaseKey) -> Observed:
        """Process a case's transaction."""
        content = test.content
        vm, root = _new_vm(content["env"], content["pre"])
        NativeComputation.with_storage = frozenset(
            _number(address) for address, account in content["pre"].items() if account.get("storage")
        )
        indexes = content["post"][key.fork_name][key.index]["indexes"]
        logs: Any = ()
        rejection: str | None = None
        try:
            _refuse_typed(content["transaction"], indexes)
            transaction = _transaction(vm, content["transaction"], indexes)
            if vm.state.get_code(transaction.sender):
                # EIP-3607 holds for all forks; py-evm checks it from Berlin on.
                raise Rejected("InvalidSenderError")
            receipt, _ = vm.apply_transaction(vm.get_header(), transaction)
            logs = receipt.logs
            vm.state.persist()
            root = vm.state.state_root
        except Rejected as error:
            rejection = error.reason
        except ValidationError as error:
            rejection = next((name for word, name in _REASONS if word in str(error).lower()), str(error))
        return Observed(
            "0x" + root.hex(), "0x" + keccak256(rlp.encode(logs, sedes=CountableList(LogSedes))).hex(), rejection
        )


_REASONS = (
    ("afford", "InsufficientBalanceError"),
    ("insufficient balance", "InsufficientBalanceError"),
    ("insufficient gas", "InsufficientTransactionGasError"),
    ("intrinsic", "InsufficientTransactionGasError"),
)
"""EELS's name for a rejection by a word of py-evm's message."""


def _refuse_typed(template: Mapping[str, Any], indexes: Mapping[str, int]) -> None:
    """EIP-2718 came later: any other than the first form is unknown."""
    lists = template.get("accessLists")
    if "maxFeePerGas" in template or (lists is not None and lists[indexes["data"]] is not None):
        raise Rejected("TransactionTypeNotSupported")


def _new_vm(env: Mapping[str, Any], pre: Mapping[str, Any]) -> tuple[Any, bytes]:
    """A VM on a test's block and state, and the root of that state."""
    header = BlockHeader(
        difficulty=_number(env["currentDifficulty"]),
        block_number=_number(env["currentNumber"]),
        gas_limit=_number(env["currentGasLimit"]),
        timestamp=_number(env["currentTimestamp"]),
        coinbase=_address(_number(env["currentCoinbase"])),
        parent_hash=_number(env.get("previousHash", "0x0")).to_bytes(32, "big") or ZERO_HASH32,
    )
    chaindb = ChainDB(AtomicDB())
    previous = (header.parent_hash,) if header.block_number else ()
    vm = NativeVM(header, chaindb, ChainContext(1), ConsensusContext(chaindb.db))
    vm._state = NativeVM.build_state(chaindb.db, header, vm.chain_context, previous)
    state: Any = vm.state
    for text, account in pre.items():
        address = _address(_number(text))
        for slot, value in account.get("storage", {}).items():
            state.set_storage(address, _number(slot), _number(value))
        state.set_nonce(address, _number(account.get("nonce", "0x0")))
        state.set_code(address, _data(account.get("code", "0x")))
        state.set_balance(address, _number(account.get("balance", "0x0")))
    state.persist()
    return vm, bytes(state.state_root)


def _transaction(vm: Any, template: Mapping[str, Any], indexes: Mapping[str, int]) -> Any:
    to = _address(_number(template["to"])) if template.get("to") else CREATE_CONTRACT_ADDRESS
    unsigned = vm.create_unsigned_transaction(
        nonce=_number(template["nonce"]),
        gas_price=_number(template["gasPrice"]),
        gas=_number(template["gasLimit"][indexes["gas"]]),
        to=to,
        value=_number(template["value"][indexes["value"]]),
        data=_data(template["data"][indexes["data"]]),
    )
    return unsigned.as_signed_transaction(keys.PrivateKey(_data(template["secretKey"])), chain_id=1)
