/* Generated from evmaot/abi: do not edit. */
#ifndef EVMAOT_H
#define EVMAOT_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* SHA-256 of this ABI: a library whose table names another one must not be called. */
#define EVMAOT_ABI_FINGERPRINT "005ce40555a5c255047ff1a4ce4be1bc2f6faae94871aa09abb73f33aa845daf"

/* 256 bits, lowest limb first; an address has its upper 12 bytes 0. */
typedef struct { uint64_t limb[4]; } evmaot_word;
struct evmaot_frame;
/* Runs a frame until it ends or suspends; answers EVMAOT_STATUS_... */
typedef int32_t (*evmaot_entry)(struct evmaot_frame *);

enum {
  EVMAOT_STATUS_STOP = 0,
  EVMAOT_STATUS_RETURN = 1,
  EVMAOT_STATUS_SELFDESTRUCT = 2,
  EVMAOT_STATUS_REVERT = 3,
  EVMAOT_STATUS_CALL = 4,
  EVMAOT_STATUS_CREATE = 5,
  EVMAOT_STATUS_OUT_OF_GAS = 16,
  EVMAOT_STATUS_STACK_UNDERFLOW = 17,
  EVMAOT_STATUS_STACK_OVERFLOW = 18,
  EVMAOT_STATUS_INVALID_OPCODE = 19,
  EVMAOT_STATUS_BAD_JUMP_DESTINATION = 20,
  EVMAOT_STATUS_STATIC_VIOLATION = 21,
  EVMAOT_STATUS_OUT_OF_BOUNDS_READ = 22,
  EVMAOT_STATUS_HOST_ERROR = 64,
  EVMAOT_STATUS_MEMORY_LIMIT = 65
};

enum {
  EVMAOT_CALL_KIND_CALL = 0,
  EVMAOT_CALL_KIND_CALLCODE = 1,
  EVMAOT_CALL_KIND_DELEGATECALL = 2,
  EVMAOT_CALL_KIND_STATICCALL = 3,
  EVMAOT_CALL_KIND_CREATE = 4,
  EVMAOT_CALL_KIND_CREATE2 = 5
};

enum {
  EVMAOT_ACCOUNT_COLD = 1,
  EVMAOT_ACCOUNT_EXISTS = 2,
  EVMAOT_ACCOUNT_ALIVE = 4,
  EVMAOT_ACCOUNT_DELEGATED = 8,
  EVMAOT_ACCOUNT_DELEGATE_COLD = 16,
  EVMAOT_ACCOUNT_HAS_BALANCE = 32
};

enum {
  EVMAOT_STORAGE_ASSIGNED = 0,
  EVMAOT_STORAGE_ADDED = 1,
  EVMAOT_STORAGE_DELETED = 2,
  EVMAOT_STORAGE_MODIFIED = 3,
  EVMAOT_STORAGE_DELETED_ADDED = 4,
  EVMAOT_STORAGE_MODIFIED_DELETED = 5,
  EVMAOT_STORAGE_DELETED_RESTORED = 6,
  EVMAOT_STORAGE_ADDED_DELETED = 7,
  EVMAOT_STORAGE_MODIFIED_RESTORED = 8
};

struct evmaot_frame {
  int64_t gas; /* Gas left; written back at every exit. Meaningless after a halt. */
  int64_t refund; /* Refund counter of this frame alone, in gas; may be negative. */
  void *stack_base; /* 1024 words, 32-byte aligned. */
  uint64_t stack_height; /* Words on the stack; written at every suspension, read when entered. */
  void *memory_base; /* EVM memory; bytes from memory_size to memory_capacity are 0. */
  uint64_t memory_size; /* Bytes of EVM memory in use, a multiple of 32. */
  uint64_t memory_capacity; /* Bytes that memory may grow to before grow_memory is called. */
  void *input; /* Call data. */
  uint64_t input_size; /* Bytes of call data. */
  void *code; /* The running code. */
  uint64_t code_size; /* Bytes of the running code. */
  void *return_data; /* Output of the last child (EIP-211). */
  uint64_t return_data_size; /* Bytes of return data. */
  void *environment; /* The Environment record. */
  void *host_table; /* The HostTable record. */
  void *host_handle; /* Opaque to compiled code; the host's own. */
  uint64_t is_static; /* 1 in a static frame (EIP-214), else 0. */
  uint64_t depth; /* 0 for the transaction's message. */
  evmaot_word recipient; /* Address whose state the code acts on (ADDRESS). */
  evmaot_word sender; /* CALLER. */
  evmaot_word value; /* CALLVALUE, in wei. */
  uint64_t resume; /* 0 to start; else the resume index of the last suspension. */
  uint64_t output_offset; /* Offset in memory of the output of RETURN or REVERT. */
  uint64_t output_size; /* Bytes of output; 0 unless RETURN or REVERT. */
  uint64_t status_detail; /* 0, or the Status that a helper failed with; set to 0 by the driver. */
  uint64_t request_kind; /* CallKind of the suspension. */
  int64_t request_gas; /* Gas for the child, stipend included; already taken from `gas`. */
  evmaot_word request_target; /* Callee's address (calls). */
  evmaot_word request_value; /* Value in wei (CALL, CALLCODE, CREATE, CREATE2), else 0. */
  evmaot_word request_salt; /* Salt (CREATE2). */
  uint64_t request_input_offset; /* Offset in memory of call data, init code or log data. */
  uint64_t request_input_size; /* Bytes of call data, init code or log data. */
  uint64_t request_output_offset; /* Offset in memory where the child's output goes (calls). */
  uint64_t request_output_size; /* Bytes of memory the child's output may fill; already paid for. */
  evmaot_word result; /* Written by the driver before it resumes: 1 or 0 (calls), address or 0 (creates). */
  void *slot_table; /* SlotTable of the transaction, or null: then every SLOAD and SSTORE calls the host. */
  void *log_buffer; /* LogBuffer of the driver, or null: then every LOG0 to LOG4 calls the host. */
};

struct evmaot_environment {
  evmaot_word origin; /* ORIGIN: sender of the transaction. */
  evmaot_word gas_price; /* GASPRICE: effective gas price in wei. */
  evmaot_word coinbase; /* COINBASE: the block's beneficiary. */
  evmaot_word number; /* NUMBER of the block. */
  evmaot_word timestamp; /* TIMESTAMP of the block, in seconds. */
  evmaot_word gas_limit; /* GASLIMIT of the block. */
  evmaot_word prevrandao; /* PREVRANDAO from Paris (EIP-4399), DIFFICULTY before. */
  evmaot_word chain_id; /* CHAINID (EIP-1344). */
  evmaot_word base_fee; /* BASEFEE in wei (EIP-3198). */
  evmaot_word blob_base_fee; /* BLOBBASEFEE in wei (EIP-7516). */
  void *blob_hashes; /* Words, native byte order (EIP-4844). */
  uint64_t blob_hash_count; /* Number of blob hashes. */
};

struct evmaot_slot_table {
  uint64_t epoch; /* Below 2^32. Buckets of another epoch are empty: a new transaction adds 1. */
  uint64_t mask; /* Number of buckets less 1; the number is a power of two. */
  void *buckets; /* 64 bits each: the epoch above bit 32, below it the index of a slot; linear probing. */
  evmaot_word seed; /* Of the hash, unknown to who chooses keys. */
  void *slots; /* Slot records in the order of their first use. */
  uint64_t count; /* Slots in use. */
  uint64_t limit; /* Slots there is room for; then grow_slots is called. */
  void *undo; /* SlotUndo records: what a revert restores, oldest first. */
  uint64_t undo_count; /* Undo records in use. */
  uint64_t undo_limit; /* Undo records there is room for; then grow_slots is called. */
  uint64_t generation; /* Grows with each checkpoint; the driver sets the running frame's when it enters it. */
  uint64_t new_flags; /* Flags of a slot whose first value is known to be 0: 0 where access is tracked, else 3. */
  uint64_t unknown_is_zero; /* 1: every slot of the recipient that is not in the table is 0, for sure. */
};

struct evmaot_slot {
  evmaot_word recipient; /* Address of the account. */
  evmaot_word key; /* Slot. */
  evmaot_word value; /* Current value. */
  evmaot_word original; /* Value before the transaction. */
  uint64_t flags; /* 1: warm; 2: and it was from the start. */
  uint64_t saved_at; /* Generation of its last undo record: within it another is not needed. */
};

struct evmaot_slot_undo {
  uint64_t slot; /* Byte offset in the slots. */
  evmaot_word value; /* Value to restore. */
  uint64_t flags; /* Flags to restore. */
  uint64_t saved_at; /* Generation to restore. */
};

struct evmaot_log_buffer {
  void *base; /* LogEntry records one behind the other, each followed by its topics and data. */
  uint64_t size; /* Bytes in use; the driver takes them when the frame suspends or ends. */
  uint64_t capacity; /* Bytes there is room for; a log that does not fit goes to emit_log. */
};

struct evmaot_log_entry {
  evmaot_word recipient; /* Address of the account that logs. */
  uint64_t topic_count; /* Words behind this record, first topic first. */
  uint64_t data_size; /* Bytes behind the topics, filled up to a multiple of 8. */
};

struct evmaot_host_table {
  /* SLOAD of the recipient: writes `value`; answers 1 if the slot was cold, else 0, and makes it warm. With a slot table: the first value of a slot, at its first SLOAD or SSTORE. */
  int64_t (*get_storage)(struct evmaot_frame *frame, void *key, void *value);
  /* SSTORE to the recipient: answers StorageStatus, plus 256 if the slot was cold. Not called with a slot table. */
  int64_t (*set_storage)(struct evmaot_frame *frame, void *key, void *value);
  /* TLOAD of the recipient (EIP-1153): writes `value`. */
  int64_t (*get_transient_storage)(struct evmaot_frame *frame, void *key, void *value);
  /* TSTORE to the recipient (EIP-1153). */
  int64_t (*set_transient_storage)(struct evmaot_frame *frame, void *key, void *value);
  /* BALANCE: writes `value` in wei; answers AccountFlag.COLD or 0. */
  int64_t (*get_balance)(struct evmaot_frame *frame, void *address, void *value);
  /* EXTCODESIZE: writes `value`; answers AccountFlag.COLD or 0. */
  int64_t (*get_code_size)(struct evmaot_frame *frame, void *address, void *value);
  /* EXTCODEHASH (EIP-1052): writes `value`; answers AccountFlag.COLD or 0. */
  int64_t (*get_code_hash)(struct evmaot_frame *frame, void *address, void *value);
  /* EXTCODECOPY: writes a pointer to the code, valid until the frame is entered again, and its size; answers AccountFlag.COLD or 0. */
  int64_t (*get_code)(struct evmaot_frame *frame, void *address, void *code, void *size);
  /* BLOCKHASH: writes `value`, 0 outside the last 256 blocks; `number` is any word. */
  int64_t (*get_block_hash)(struct evmaot_frame *frame, void *number, void *value);
  /* Callee of a CALL*: answers AccountFlag bits and makes the address, and its delegation's target, warm. */
  int64_t (*account_status)(struct evmaot_frame *frame, void *address);
  /* LOG0 to LOG4: data in request_input_offset/_size; `topics` points to `count` words, first topic first. */
  int64_t (*emit_log)(struct evmaot_frame *frame, void *topics, void *count);
  /* SELFDESTRUCT to `beneficiary`: does it; answers AccountFlag bits of the beneficiary as they were before, and HAS_BALANCE. */
  int64_t (*selfdestruct)(struct evmaot_frame *frame, void *beneficiary);
  /* Make memory_capacity at least `size` bytes; may move memory_base. */
  int64_t (*grow_memory)(struct evmaot_frame *frame, void *size);
  /* Make room in the SlotTable for one more slot and undo record; may move all. */
  int64_t (*grow_slots)(struct evmaot_frame *frame);
};

/* What a library exports, as the data symbol evmaot_table: entries ascend by (code_sha256, rules). */
struct evmaot_table_entry {
  uint8_t code_sha256[32];
  uint8_t rules[32]; /* Digest of the fork's rules that the code was compiled for. */
  int64_t offset; /* Of the entry, in bytes, from the table's address. */
};
struct evmaot_library_table {
  uint8_t magic[8]; /* { 69, 86, 77, 65, 79, 84, 0, 1 } */
  uint8_t abi_fingerprint[32];
  uint64_t count;
  uint8_t profile_id[32];
  /* `count` evmaot_table_entry records follow. */
};

#ifdef __cplusplus
}
#endif
#endif
