"""The native ABI: rows of Frame, Environment and HostTable, and all that derives from them.

Job: one entry per contract, ``int32 entry(Frame*)``.  Rows give name, type and documentation; the
ctypes structures, the byte offsets that emitted code uses and the fingerprint are derived here; the C
header in `evmaot.abi.header`.  Invariants: every field is 8-byte aligned; a word is 32 bytes in native (little
endian) byte order; an address is a word whose upper 12 bytes are 0; all integers are 64 bits.
May import: `evmaot.abi.status`.
"""

from __future__ import annotations

import ctypes
import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import cache

from evmaot.abi.status import AccountFlag, CallKind, Status, StorageStatus

WORD_BYTES = 32
STACK_LIMIT = 1024
"""Words on an EVM stack (Yellow Paper 9.1)."""
ABI_MAJOR = 1


class FieldType(Enum):
    """Type of a field: (size in bytes, C spelling)."""

    I64 = (8, "int64_t")
    U64 = (8, "uint64_t")
    POINTER = (8, "void *")
    WORD = (32, "evmaot_word")
    FUNCTION = (8, "evmaot_host_function")

    @property
    def size_bytes(self) -> int:
        """Bytes of a field of this type."""
        return self.value[0]

    @property
    def c_name(self) -> str:
        """Its type in the C header."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a record."""

    name: str
    type: FieldType
    doc: str
    arguments: tuple[str, ...] = ()
    """Host functions only: names of the pointer arguments after the frame."""


class Record:
    """An ordered set of fields with derived offsets."""

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.fields = fields
        self._offsets: dict[str, int] = {}
        offset = 0
        for field in fields:
            self._offsets[field.name] = offset
            offset += field.type.size_bytes
        self.size_bytes = offset

    def offset(self, name: str) -> int:
        """Byte offset of a field; KeyError for an unknown name."""
        return self._offsets[name]

    @property
    def structure(self) -> type[ctypes.Structure]:
        """The ctypes structure; words are arrays of four 64-bit limbs, lowest first."""
        return _structure(self)


@cache
def _structure(record: Record) -> type[ctypes.Structure]:
    kinds: dict[FieldType, type] = {
        FieldType.I64: ctypes.c_int64,
        FieldType.U64: ctypes.c_uint64,
        FieldType.POINTER: ctypes.c_void_p,
        FieldType.FUNCTION: ctypes.c_void_p,
        FieldType.WORD: ctypes.c_uint64 * 4,
    }
    rows = [(field.name, kinds[field.type]) for field in record.fields]
    structure = type(record.name, (ctypes.Structure,), {"_fields_": rows, "__doc__": f"ctypes form of {record.name}."})
    assert ctypes.sizeof(structure) == record.size_bytes
    return structure


_I, _U, _P, _W, _F = (FieldType.I64, FieldType.U64, FieldType.POINTER, FieldType.WORD, FieldType.FUNCTION)

FRAME = Record(
    "Frame",
    (
        Field("gas", _I, "Gas left; written back at every exit. Meaningless after a halt."),
        Field("refund", _I, "Refund counter of this frame alone, in gas; may be negative."),
        Field("stack_base", _P, "1024 words, 32-byte aligned."),
        Field("stack_height", _U, "Words on the stack; written at every suspension, read when entered."),
        Field("memory_base", _P, "EVM memory; bytes from memory_size to memory_capacity are 0."),
        Field("memory_size", _U, "Bytes of EVM memory in use, a multiple of 32."),
        Field("memory_capacity", _U, "Bytes that memory may grow to before grow_memory is called."),
        Field("input", _P, "Call data."),
        Field("input_size", _U, "Bytes of call data."),
        Field("code", _P, "The running code."),
        Field("code_size", _U, "Bytes of the running code."),
        Field("return_data", _P, "Output of the last child (EIP-211)."),
        Field("return_data_size", _U, "Bytes of return data."),
        Field("environment", _P, "The Environment record."),
        Field("host_table", _P, "The HostTable record."),
        Field("host_handle", _P, "Opaque to compiled code; the host's own."),
        Field("is_static", _U, "1 in a static frame (EIP-214), else 0."),
        Field("depth", _U, "0 for the transaction's message."),
        Field("recipient", _W, "Address whose state the code acts on (ADDRESS)."),
        Field("sender", _W, "CALLER."),
        Field("value", _W, "CALLVALUE, in wei."),
        Field("resume", _U, "0 to start; else the resume index of the last suspension."),
        Field("output_offset", _U, "Offset in memory of the output of RETURN or REVERT."),
        Field("output_size", _U, "Bytes of output; 0 unless RETURN or REVERT."),
        Field("status_detail", _U, "0, or the Status that a helper failed with; set to 0 by the driver."),
        Field("request_kind", _U, "CallKind of the suspension."),
        Field("request_gas", _I, "Gas for the child, stipend included; already taken from `gas`."),
        Field("request_target", _W, "Callee's address (calls)."),
        Field("request_value", _W, "Value in wei (CALL, CALLCODE, CREATE, CREATE2), else 0."),
        Field("request_salt", _W, "Salt (CREATE2)."),
        Field("request_input_offset", _U, "Offset in memory of call data, init code or log data."),
        Field("request_input_size", _U, "Bytes of call data, init code or log data."),
        Field("request_output_offset", _U, "Offset in memory where the child's output goes (calls)."),
        Field("request_output_size", _U, "Bytes of memory the child's output may fill; already paid for."),
        Field("result", _W, "Written by the driver before it resumes: 1 or 0 (calls), address or 0 (creates)."),
        Field("slot_table", _P, "SlotTable of the transaction, or null: then every SLOAD and SSTORE calls the host."),
        Field("log_buffer", _P, "LogBuffer of the driver, or null: then every LOG0 to LOG4 calls the host."),
    ),
)

ENVIRONMENT = Record(
    "Environment",
    (
        Field("origin", _W, "ORIGIN: sender of the transaction."),
        Field("gas_price", _W, "GASPRICE: effective gas price in wei."),
        Field("coinbase", _W, "COINBASE: the block's beneficiary."),
        Field("number", _W, "NUMBER of the block."),
        Field("timestamp", _W, "TIMESTAMP of the block, in seconds."),
        Field("gas_limit", _W, "GASLIMIT of the block."),
        Field("prevrandao", _W, "PREVRANDAO from Paris (EIP-4399), DIFFICULTY before."),
        Field("chain_id", _W, "CHAINID (EIP-1344)."),
        Field("base_fee", _W, "BASEFEE in wei (EIP-3198)."),
        Field("blob_base_fee", _W, "BLOBBASEFEE in wei (EIP-7516)."),
        Field("blob_hashes", _P, "Words, native byte order (EIP-4844)."),
        Field("blob_hash_count", _U, "Number of blob hashes."),
    ),
)

SLOT_TABLE = Record(
    "SlotTable",
    (
        Field("epoch", _U, "Below 2^32. Buckets of another epoch are empty: a new transaction adds 1."),
        Field("mask", _U, "Number of buckets less 1; the number is a power of two."),
        Field("buckets", _P, "64 bits each: the epoch above bit 32, below it the index of a slot; linear probing."),
        Field("seed", _W, "Of the hash, unknown to who chooses keys."),
        Field("slots", _P, "Slot records in the order of their first use."),
        Field("count", _U, "Slots in use."),
        Field("limit", _U, "Slots there is room for; then grow_slots is called."),
        Field("undo", _P, "SlotUndo records: what a revert restores, oldest first."),
        Field("undo_count", _U, "Undo records in use."),
        Field("undo_limit", _U, "Undo records there is room for; then grow_slots is called."),
        Field("generation", _U, "Grows with each checkpoint; the driver sets the running frame's when it enters it."),
        Field(
            "new_flags", _U, "Flags of a slot whose first value is known to be 0: 0 where access is tracked, else 3."
        ),
        Field("unknown_is_zero", _U, "1: every slot of the recipient that is not in the table is 0, for sure."),
    ),
)
"""All slots that a transaction has touched, with what undoes changes: SLOAD and SSTORE do not leave native
code but for the first value of a slot."""

SLOT = Record(
    "Slot",
    (
        Field("recipient", _W, "Address of the account."),
        Field("key", _W, "Slot."),
        Field("value", _W, "Current value."),
        Field("original", _W, "Value before the transaction."),
        Field("flags", _U, "1: warm; 2: and it was from the start."),
        Field("saved_at", _U, "Generation of its last undo record: within it another is not needed."),
    ),
)

SLOT_UNDO = Record(
    "SlotUndo",
    (
        Field("slot", _U, "Byte offset in the slots."),
        Field("value", _W, "Value to restore."),
        Field("flags", _U, "Flags to restore."),
        Field("saved_at", _U, "Generation to restore."),
    ),
)

LOG_BUFFER = Record(
    "LogBuffer",
    (
        Field("base", _P, "LogEntry records one behind the other, each followed by its topics and data."),
        Field("size", _U, "Bytes in use; the driver takes them when the frame suspends or ends."),
        Field("capacity", _U, "Bytes there is room for; a log that does not fit goes to emit_log."),
    ),
)
"""Logs of the running frame since it was entered: LOG0 to LOG4 do not leave native code."""

LOG_ENTRY = Record(
    "LogEntry",
    (
        Field("recipient", _W, "Address of the account that logs."),
        Field("topic_count", _U, "Words behind this record, first topic first."),
        Field("data_size", _U, "Bytes behind the topics, filled up to a multiple of 8."),
    ),
)

HOST_TABLE = Record(
    "HostTable",
    (
        Field(
            "get_storage",
            _F,
            "SLOAD of the recipient: writes `value`; answers 1 if the slot was cold, else 0, and makes it warm. With a slot table: the first value of a slot, at its first SLOAD or SSTORE.",
            ("key", "value"),
        ),
        Field(
            "set_storage",
            _F,
            "SSTORE to the recipient: answers StorageStatus, plus 256 if the slot was cold. Not called with a slot table.",
            ("key", "value"),
        ),
        Field("get_transient_storage", _F, "TLOAD of the recipient (EIP-1153): writes `value`.", ("key", "value")),
        Field("set_transient_storage", _F, "TSTORE to the recipient (EIP-1153).", ("key", "value")),
        Field(
            "get_balance", _F, "BALANCE: writes `value` in wei; answers AccountFlag.COLD or 0.", ("address", "value")
        ),
        Field("get_code_size", _F, "EXTCODESIZE: writes `value`; answers AccountFlag.COLD or 0.", ("address", "value")),
        Field(
            "get_code_hash",
            _F,
            "EXTCODEHASH (EIP-1052): writes `value`; answers AccountFlag.COLD or 0.",
            ("address", "value"),
        ),
        Field(
            "get_code",
            _F,
            "EXTCODECOPY: writes a pointer to the code, valid until the frame is entered again, and its size; answers AccountFlag.COLD or 0.",
            ("address", "code", "size"),
        ),
        Field(
            "get_block_hash",
            _F,
            "BLOCKHASH: writes `value`, 0 outside the last 256 blocks; `number` is any word.",
            ("number", "value"),
        ),
        Field(
            "account_status",
            _F,
            "Callee of a CALL*: answers AccountFlag bits and makes the address, and its delegation's target, warm.",
            ("address",),
        ),
        Field(
            "emit_log",
            _F,
            "LOG0 to LOG4: data in request_input_offset/_size; `topics` points to `count` words, first topic first.",
            ("topics", "count"),
        ),
        Field(
            "selfdestruct",
            _F,
            "SELFDESTRUCT to `beneficiary`: does it; answers AccountFlag bits of the beneficiary as they were before, and HAS_BALANCE.",
            ("beneficiary",),
        ),
        Field("grow_memory", _F, "Make memory_capacity at least `size` bytes; may move memory_base.", ("size",)),
        Field("grow_slots", _F, "Make room in the SlotTable for one more slot and undo record; may move all.", ()),
    ),
)
"""Functions ``int64_t f(Frame*, void*...)``: 0 or more on success, negative on failure."""

RECORDS = (FRAME, ENVIRONMENT, SLOT_TABLE, SLOT, SLOT_UNDO, LOG_BUFFER, LOG_ENTRY, HOST_TABLE)


def describe() -> str:
    """The whole ABI as canonical text: what the fingerprint is taken of."""
    lines = [f"abi {ABI_MAJOR} word {WORD_BYTES} stack {STACK_LIMIT}"]
    for record in RECORDS:
        for field in record.fields:
            arguments = ",".join(field.arguments)
            lines.append(f"{record.name}.{field.name} {record.offset(field.name)} {field.type.name} ({arguments})")
    for values in (Status, CallKind, AccountFlag, StorageStatus):
        lines += [f"{values.__name__}.{member.name} {member.value}" for member in values]
    return "\n".join(lines) + "\n"


FINGERPRINT: str = hashlib.sha256(describe().encode()).hexdigest()
"""SHA-256 of `describe()`, in every library and manifest, checked before a call."""
