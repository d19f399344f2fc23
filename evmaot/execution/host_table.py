"""The host functions of compiled code, answered from the journal.

Job: one closure per row of `abi.layout.HOST_TABLE`, by name; `runtime.host_table.HostTable` makes C
functions of them and keeps what they raise.  Invariants: a closure binds all it needs as locals and
does no more than its row says: each is called from native code, up to millions of times in a message.
Nothing here knows a fork: `AccessRules` says whether access is tracked and delegations are followed.
May import: `evmaot.abi`, execution.journal, runtime.frame.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

from evmaot.abi.layout import FRAME
from evmaot.abi.status import AccountFlag
from evmaot.execution.journal import ABSENT, BALANCE, CODE, EXISTS, NONCE, Journal
from evmaot.execution.protocol import delegate_of
from evmaot.runtime.buffers import address_of_bytes
from evmaot.runtime.host_table import HostFunction
from evmaot.runtime.log_buffer import encode_log

COLD = int(AccountFlag.COLD)
_EXISTS, _ALIVE = int(AccountFlag.EXISTS), int(AccountFlag.ALIVE)
_DELEGATED, _DELEGATE_COLD = int(AccountFlag.DELEGATED), int(AccountFlag.DELEGATE_COLD)
_HAS_BALANCE = int(AccountFlag.HAS_BALANCE)

# SAFETY: every pointer that these types are laid over is an argument of a host function, which the ABI
# promises to be readable (or writable) for that many bytes while the function runs; nothing is kept.
# Measured: 75 ns a read, where ctypes.string_at takes 450.
_word_at: Callable[[int], Any] = (ctypes.c_char * 32).from_address
_address_at: Callable[[int], Any] = (ctypes.c_char * 20).from_address
"""An address is the low 20 bytes of a little-endian word."""
_pointer_at: Callable[[int], Any] = ctypes.c_uint64.from_address
_LOG_RANGE = struct.Struct("<QQ")
_LOG_RANGE_OFFSET = FRAME.offset("request_input_offset")
_MEMORY_BASE_OFFSET = FRAME.offset("memory_base")
if FRAME.offset("request_input_size") != _LOG_RANGE_OFFSET + 8:
    raise AssertionError("request_input_offset and request_input_size are read as one pair")

_from_bytes = int.from_bytes


class AccessRules:
    """What the closures must know of the running message's fork."""

    __slots__ = (
        "block_number",
        "clears_empty",
        "delegations",
        "destroys_only_created",
        "selfdestruct_refund",
        "tracks_access",
    )

    def __init__(self) -> None:
        self.tracks_access = False
        """Addresses and slots are cold or warm (EIP-2929)."""
        self.delegations = False
        """EIP-7702."""
        self.clears_empty = False
        """EIP-161."""
        self.destroys_only_created = False
        """EIP-6780."""
        self.selfdestruct_refund = 0
        """In gas, once per account."""
        self.block_number = 0


def host_functions(journal: Journal, rules: AccessRules) -> dict[str, HostFunction]:
    """The ABI's functions but `grow_memory` (memory beyond the runtime's reserve is refused) and `set_storage`
    (the slot table takes every SSTORE)."""
    return {
        **_storage_functions(journal, rules),
        **_account_functions(journal, rules),
        **_transient_functions(journal),
        "account_status": _account_status(journal, rules),
        "get_code": _get_code(journal, rules),
        "get_block_hash": _get_block_hash(journal, rules),
        "emit_log": _emit_log(journal),
        "selfdestruct": _selfdestruct(journal, rules),
    }


def _storage_functions(journal: Journal, rules: AccessRules) -> dict[str, HostFunction]:
    current, word_at, from_bytes, ask_slot = journal.current, _word_at, _from_bytes, journal.ask_slot

    def get_storage(_frame: int, key_at: int, value_at: int) -> int:
        # Once for each slot of a message: from then on it is in the slot table.
        key = from_bytes(word_at(key_at).raw, "little")
        word_at(value_at).raw = ask_slot(key).to_bytes(32, "little")
        if not rules.tracks_access:
            return 0
        warm = journal.warm_slots_at_start
        return 0 if warm and (current.recipient, key) in warm else 1

    def grow_slots(_frame: int) -> int:
        journal.slots.grow()
        return 0

    return {"get_storage": get_storage, "grow_slots": grow_slots}


def _transient_functions(journal: Journal) -> dict[str, HostFunction]:
    log, storage_of, word_at, from_bytes = journal.log, journal.running_storage, _word_at, _from_bytes

    def get_transient_storage(_frame: int, key_at: int, value_at: int) -> int:
        value = storage_of().transient.get(from_bytes(word_at(key_at).raw, "little"), 0)
        word_at(value_at).raw = value.to_bytes(32, "little")
        return 0

    def set_transient_storage(_frame: int, key_at: int, value_at: int) -> int:
        key = from_bytes(word_at(key_at).raw, "little")
        transient = storage_of().transient
        log.append((transient, key, transient.get(key, ABSENT)))
        transient[key] = from_bytes(word_at(value_at).raw, "little")
        return 0

    return {"get_transient_storage": get_transient_storage, "set_transient_storage": set_transient_storage}


def _access(journal: Journal, rules: AccessRules) -> Callable[[int], int]:
    """A function that makes an address warm and answers AccountFlag.COLD if it was not."""
    log, warm = journal.log, journal.warm

    def access(address: int) -> int:
        if address in warm or address in journal.warm_at_start or not rules.tracks_access:
            return 0
        warm[address] = True
        log.append((warm, address, ABSENT))
        return COLD

    return access


def _account_functions(journal: Journal, rules: AccessRules) -> dict[str, HostFunction]:
    access = _access(journal, rules)
    accounts, load = journal.accounts, journal.load_account
    word_at, address_at, from_bytes = _word_at, _address_at, _from_bytes

    def get_balance(_frame: int, address_at_: int, value_at: int) -> int:
        address = from_bytes(address_at(address_at_).raw, "little")
        record = accounts.get(address)
        if record is None:
            record = load(address)
        word_at(value_at).raw = record[BALANCE].to_bytes(32, "little")
        return access(address)

    def get_code_size(_frame: int, address_at_: int, value_at: int) -> int:
        address = from_bytes(address_at(address_at_).raw, "little")
        record = accounts.get(address)
        if record is None:
            record = load(address)
        word_at(value_at).raw = len(record[CODE]).to_bytes(32, "little")
        return access(address)

    def get_code_hash(_frame: int, address_at_: int, value_at: int) -> int:
        address = from_bytes(address_at(address_at_).raw, "little")
        record = journal.account(address)
        # EIP-1052 with EIP-161: an account that is empty or does not exist has hash 0.
        is_empty = not (record[NONCE] or record[BALANCE] or record[CODE])
        word_at(value_at).raw = bytes(32) if is_empty else journal.code_hash(record)[::-1]
        return access(address)

    return {"get_balance": get_balance, "get_code_size": get_code_size, "get_code_hash": get_code_hash}


def _get_code(journal: Journal, rules: AccessRules) -> HostFunction:
    access, address_at, pointer_at, from_bytes = _access(journal, rules), _address_at, _pointer_at, _from_bytes

    def get_code(_frame: int, address_at_: int, code_at: int, size_at: int) -> int:
        address = from_bytes(address_at(address_at_).raw, "little")
        # SAFETY: the record holds the code, and no account's code changes while a frame runs.
        code: bytes = journal.account(address)[CODE]
        pointer_at(code_at).value = address_of_bytes(code)
        pointer_at(size_at).value = len(code)
        return access(address)

    return get_code


def _account_status(journal: Journal, rules: AccessRules) -> HostFunction:
    access, address_at, from_bytes = _access(journal, rules), _address_at, _from_bytes
    accounts, load, warm = journal.accounts, journal.load_account, journal.warm

    def account_status(_frame: int, address_at_: int) -> int:
        address = from_bytes(address_at(address_at_).raw, "little")
        record = accounts.get(address)
        if record is None:
            record = load(address)
        # Most accounts that a message asks for again are warm; asked here, that saves a call.
        flags = 0 if address in warm else access(address)
        if record[EXISTS]:
            code = record[CODE]
            flags |= _EXISTS | _ALIVE if code or record[NONCE] or record[BALANCE] else _EXISTS
            if rules.delegations and len(code) == 23:
                delegate = delegate_of(code)
                if delegate is not None:
                    flags |= _DELEGATED | _DELEGATE_COLD if access(delegate) else _DELEGATED
        return flags

    return account_status


def _get_block_hash(journal: Journal, rules: AccessRules) -> HostFunction:
    word_at, from_bytes = _word_at, _from_bytes

    def get_block_hash(_frame: int, number_at: int, value_at: int) -> int:
        number = from_bytes(word_at(number_at).raw, "little")
        is_recent = number < rules.block_number <= number + 256
        value = journal.state.block_hash(number) if is_recent else 0
        word_at(value_at).raw = value.to_bytes(32, "little")
        return 0

    return get_block_hash


def _emit_log(journal: Journal) -> HostFunction:
    """A log that does not fit into the buffer: what is there comes first."""
    current, word_at, pointer_at = journal.current, _word_at, _pointer_at
    range_at = (ctypes.c_char * 16).from_address
    unpack, string_at = _LOG_RANGE.unpack, ctypes.string_at

    def emit_log(frame: int, topics_at: int, count_at: int) -> int:
        offset, size = unpack(range_at(frame + _LOG_RANGE_OFFSET).raw)
        # SAFETY: compiled code has grown memory to hold the data before it calls.
        data = string_at(pointer_at(frame + _MEMORY_BASE_OFFSET).value + offset, size) if size else b""
        topics = [word_at(topics_at + 32 * index).raw for index in range(pointer_at(count_at).value)]
        journal.take_logs()
        journal.log_entries.append(encode_log(current.recipient, topics, data))
        return 0

    return emit_log


def _selfdestruct(journal: Journal, rules: AccessRules) -> HostFunction:
    access, address_at, from_bytes = _access(journal, rules), _address_at, _from_bytes
    current = journal.current

    def selfdestruct(_frame: int, beneficiary_at: int) -> int:
        beneficiary = from_bytes(address_at(beneficiary_at).raw, "little")
        originator = current.recipient
        record, target = journal.account(originator), journal.account(beneficiary)
        flags = access(beneficiary)
        if target[EXISTS]:
            flags |= _EXISTS | _ALIVE if target[NONCE] or target[BALANCE] or target[CODE] else _EXISTS
        balance = record[BALANCE]
        if balance:
            flags |= _HAS_BALANCE
        journal.transfer(originator, beneficiary, balance)
        if not rules.clears_empty:
            journal.make_exist(beneficiary)
        current.beneficiary = beneficiary
        if not rules.destroys_only_created or originator in journal.created:
            # To itself, the balance is burnt.
            if record[BALANCE]:
                journal.set_field(record, BALANCE, 0)
            if journal.mark(journal.destroyed, originator):
                journal.add_refund(rules.selfdestruct_refund)
        return flags

    return selfdestruct
