"""EELS's side: messages on the executable specification, with a note of how each frame ends.

Job: `EelsSide.run` gives a message's `MessageEnd`.  Invariants: every instruction, price and rule is EELS's own.
What is replaced is what nobody can see in a result: the trace events, which are made for each instruction and
thrown away, and the search for jump destinations, whose answer EELS computes for each frame and here once for each
code.  A world is read into EELS's state once; after each message it is rolled back.
"""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from typing import Any

from ethereum_types.bytes import Bytes
from ethereum_types.numeric import U256, Uint

from tests.differential.frames import AccountEnd, FrameEnd, MessageEnd
from tests.support.eels import EELS_PACKAGE, address, eels_modules, key
from tests.support.eels_message import environment_values, make
from tests.support.native import SENDER, Call


def _number(data: Any) -> int:
    return int.from_bytes(data, "big")


def _nothing(*_arguments: object) -> None:
    """A trace that nobody reads."""


class EelsWorld:
    """A world in EELS's state."""

    def __init__(self, side: EelsSide, call: Call) -> None:
        eels = side.eels
        self.state = eels.state.State()
        for number, contract in call.world.items():
            account = eels.types.Account(
                nonce=Uint(contract.nonce), balance=U256(contract.balance), code=Bytes(contract.code)
            )
            eels.state.set_account(self.state, address(number), account)
            for slot, value in contract.storage.items():
                eels.state.set_storage(self.state, address(number), key(slot), U256(value))
        transient = getattr(eels.state, "TransientStorage", None)
        self.transient = transient() if transient else None
        self.snapshot = (self.state,) if self.transient is None else (self.state, self.transient)
        self.accounts = dict(self.state._main_trie._data)
        self.storages = {place: dict(trie._data) for place, trie in self.state._storage_tries.items()}
        values = environment_values(self.state, self.transient)
        self.block, self.transaction = (
            make(eels, "BlockEnvironment", values), make(eels, "TransactionEnvironment", values)
        )  # fmt: skip


class EelsSide:
    """EELS's interpreter of one fork, patched for speed and to take notes."""

    def __init__(self, fork: str) -> None:
        self.package = EELS_PACKAGE[fork]
        self.eels = eels_modules(self.package)
        self.ends: list[FrameEnd] = []
        self.executed: list[int] = []
        self._opcodes: list[Any] = []
        self._originals: list[tuple[Any, str, Any]] = []
        self._fields = set(self.eels.vm.Message.__dataclass_fields__)
        self._warms = "accessed_addresses" in self._fields
        self._revert = getattr(self.eels.exceptions, "Revert", None)
        base = f"ethereum.forks.{self.package}"
        self._interpreter: Any = importlib.import_module(f"{base}.vm.interpreter")
        self._delegation: Any = (
            importlib.import_module(f"{base}.vm.eoa_delegation") if "disable_precompiles" in self._fields else None
        )
        self._interpret = self._interpreter.process_message
        self._interpret_create = self._interpreter.process_create_message
        self._patch(base)

    def _patch(self, base: str) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{base}.") and hasattr(module, "evm_trace"):
                for attribute, value in (("evm_trace", _nothing), ("GasAndRefund", int), ("OpEnd", _nothing)):
                    if hasattr(module, attribute):
                        self._replace(module, attribute, value)
        interpreter = self._interpreter
        find = lru_cache(512)(interpreter.get_valid_jump_destinations)
        self._replace(interpreter, "get_valid_jump_destinations", find)
        self._replace(interpreter, "OpStart", self._opcodes.append)
        self._replace(interpreter, "process_message", self._process_message)
        self._replace(interpreter, "process_create_message", self._process_create_message)

    def _replace(self, module: Any, name: str, value: Any) -> None:
        self._originals.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def restore(self) -> None:
        """Take the patches back, newest first."""
        while self._originals:
            module, name, value = self._originals.pop()
            setattr(module, name, value)

    def _process_message(self, message: Any) -> Any:
        """One frame: a list of its own takes its opcodes, so that a child's are the child's."""
        interpreter, outside = self._interpreter, self._opcodes
        opcodes: list[Any] = []
        self._opcodes = opcodes
        interpreter.OpStart = opcodes.append
        try:
            evm = self._interpret(message)
        finally:
            self._opcodes = outside
            interpreter.OpStart = outside.append
        if self._outcome(evm) != "halt":
            self.executed.extend({op.value for op in opcodes})
        if message.target:
            self.ends.append(self._end(message, evm))
        return evm

    def _process_create_message(self, message: Any) -> Any:
        """A create: its frame ends after the deposit of its code."""
        evm = self._interpret_create(message)
        self.ends.append(self._end(message, evm))
        return evm

    def _outcome(self, evm: Any) -> str:
        if evm.error is None:
            return "success"
        return "revert" if self._revert and isinstance(evm.error, self._revert) else "halt"

    def _end(self, message: Any, evm: Any) -> FrameEnd:
        outcome = self._outcome(evm)
        end = FrameEnd(
            int(message.depth), _number(message.current_target), _number(message.caller), int(message.value),
            bool(getattr(message, "is_static", False)), self._code(message), int(message.gas), outcome,
            0 if outcome == "halt" else int(evm.gas_left), b"" if outcome == "halt" else bytes(evm.output),
        )  # fmt: skip
        if outcome != "success":
            return end
        trie = message.block_env.state._storage_tries.get(message.current_target)
        warm_addresses, warm_slots = self._warm(evm)
        return end._replace(
            refund=int(evm.refund_counter),
            logs=tuple(
                (_number(log.address), tuple(map(_number, log.topics)), bytes(log.data)) for log in evm.logs
            ),
            storage={_number(slot): int(value) for slot, value in trie._data.items()} if trie else {},
            warm_addresses=warm_addresses,
            warm_slots=warm_slots,
        )  # fmt: skip

    def _code(self, message: Any) -> bytes:
        if message.code_address in self._interpreter.PRE_COMPILED_CONTRACTS:
            return b""
        return bytes(message.code)

    def _warm(self, evm: Any) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
        if not self._warms:
            return frozenset(), frozenset()
        addresses = frozenset(map(_number, evm.accessed_addresses))
        return addresses, frozenset((_number(place), _number(slot)) for place, slot in evm.accessed_storage_keys)

    def _message(self, world: EelsWorld, call: Call) -> Any:
        target = address(call.target)
        values: dict[str, Any] = {
            "block_env": world.block, "tx_env": world.transaction, "caller": address(SENDER), "target": target,
            "current_target": target, "gas": Uint(call.gas), "value": U256(call.value), "data": Bytes(call.input),
            "code_address": target, "code": Bytes(call.world[call.target].code), "depth": Uint(0),
            "should_transfer_value": True, "is_static": call.is_static, "disable_precompiles": False,
            "parent_evm": None, "accessed_addresses": set(map(address, call.warm_addresses)),
            "accessed_storage_keys": {(address(number), key(slot)) for number, slot in call.warm_slots},
        }  # fmt: skip
        message = self.eels.vm.Message(**{name: value for name, value in values.items() if name in self._fields})
        if self._delegation is not None:  # EIP-7702, as `process_message_call` does
            delegate = self._delegation.get_delegated_code_address(message.code)
            if delegate is not None:
                message.disable_precompiles = True
                message.code = self.eels.state.get_account(world.state, delegate).code
                message.code_address = delegate
        return message

    def run(self, call: Call, world: EelsWorld | None = None) -> MessageEnd:
        """How the message ends."""
        if world is None:
            world = EelsWorld(self, call)
        self.ends = []
        self.executed = []
        message = self._message(world, call)
        self.eels.state.begin_transaction(*world.snapshot)
        try:
            evm = self._process_message(message)
            warm_addresses, warm_slots = frozenset[int](), frozenset[tuple[int, int]]()
            if self.ends[-1].outcome != "halt":
                warm_addresses, warm_slots = self._warm(evm)
            return MessageEnd(
                tuple(self.ends),
                _changed(world),
                frozenset() if evm.error else frozenset(map(_number, evm.accounts_to_delete)),
                warm_addresses,
                warm_slots,
                type(evm.error).__name__,
                tuple(self.executed),
            )
        finally:
            self.eels.state.rollback_transaction(*world.snapshot)


def _changed(world: EelsWorld) -> dict[int, AccountEnd | None]:
    """Accounts that are not the objects that they were: EELS replaces, it never changes one."""
    state = world.state
    now, before = state._main_trie._data, world.accounts
    places = {place for place, account in now.items() if before.get(place) is not account}
    places |= before.keys() - now.keys()
    places |= {place for place, trie in state._storage_tries.items() if world.storages.get(place, {}) != trie._data}
    places |= world.storages.keys() - state._storage_tries.keys()
    found: dict[int, AccountEnd | None] = {}
    for place in places:
        account = now.get(place)
        trie = state._storage_tries.get(place)
        found[_number(place)] = account and AccountEnd(
            int(account.nonce), int(account.balance), bytes(account.code),
            {_number(slot): int(value) for slot, value in trie._data.items()} if trie else {},
        )  # fmt: skip
    return found
