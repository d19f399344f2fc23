"""Helpers that read and write the world: storage, transient storage, accounts, block and blob hashes.

Job: the host's functions behind gas.  Effects on the world may come before their charge, because a
halt reverts them.  The slot table holds all slots that the transaction has touched and what undoes their
changes, so that SLOADs and SSTOREs do not leave native code but for a slot's first value.
May import: `evmaot.abi`, `builtins.frame_writer`, `builtins.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.abi.layout import ENVIRONMENT, SLOT, SLOT_TABLE, SLOT_UNDO
from evmaot.abi.status import STORAGE_COLD, AccountFlag, Status, StorageStatus
from evmaot.codegen.builtins.frame_writer import FrameWriter, surcharge
from evmaot.codegen.builtins.writer import UNLIKELY, function
from evmaot.target import Target

_TABLE, _SLOT, _UNDO = SLOT_TABLE.offset, SLOT.offset, SLOT_UNDO.offset
_WARM = 1
_WARM_FROM_START = 3


def _slot(_: Target) -> str:
    """Address of a slot of the recipient in the table, made at its first use; null when the host failed.

    There is room for one undo record afterwards.  No slot moves before the next call.
    """
    w = FrameWriter()
    table = w.get("slot_table", "ptr")
    full, failed, probe, loop, used, step, hit, miss = (w.label() for _ in range(8))
    full_slots = w.compare("uge", w.load(table, _TABLE("count")), w.load(table, _TABLE("limit")))
    full_undo = w.compare("uge", w.load(table, _TABLE("undo_count")), w.load(table, _TABLE("undo_limit")))
    w.branch(w.op("or", full_slots, full_undo, "i1"), full, probe, UNLIKELY)
    w.start(full)
    w.branch(w.compare("slt", w.ask_host("grow_slots"), "0"), failed, probe, UNLIKELY)
    w.start(failed)
    w.set("status_detail", str(int(Status.HOST_ERROR)))
    w.do("ret ptr null")
    w.start(probe)
    key, recipient = w.word("%key"), w.get("recipient", "i256")
    mask, epoch = w.load(table, _TABLE("mask")), w.load(table, _TABLE("epoch"))
    buckets, slots = (w.load(table, _TABLE(name), "ptr") for name in ("buckets", "slots"))
    hashed = w.op("and", _slot_hash(w, table), mask)
    w.jump(loop)
    w.start(loop)
    index, following = w.fresh(), w.fresh()
    w.define(index, w.phi_text("i64", (hashed, probe), (following, step)))
    bucket = w.address(buckets, w.op("shl", index, "3"))
    content = w.load(bucket)
    w.branch(w.compare("eq", w.op("lshr", content, "32"), epoch), used, miss)
    w.start(used)
    number = w.op("and", content, str((1 << 32) - 1))
    slot = w.address(slots, w.op("mul", number, str(SLOT.size_bytes)))
    same = w.compare("eq", w.load(slot, _SLOT("key"), "i256"), key, "i256")
    owned = w.compare("eq", w.load(slot, _SLOT("recipient"), "i256"), recipient, "i256")
    w.branch(w.op("and", same, owned, "i1"), hit, step)
    w.start(step)
    w.define(following, f"and i64 {w.op('add', index, '1')}, {mask}")
    w.jump(loop)
    w.start(hit)
    w.do(f"ret ptr {slot}")
    w.start(miss)
    _append_slot(w, table, slots, bucket, failed)
    return function("ptr @evmaot_slot(ptr %frame, ptr %key)", w.text(), "internal")


def _slot_hash(w: FrameWriter, table: str) -> str:
    """Of key and recipient, keyed by the table's seed: who chooses keys cannot make them collide."""
    seed = [w.load(table, _TABLE("seed") + 8 * limb) for limb in range(4)]
    keyed = [w.op("xor", w.load("%key", 8 * limb), seed[limb]) for limb in range(4)]

    def mix(a: str, b: str) -> str:
        product = w.multiply(a, b)
        return w.op("xor", w.low(product), w.high(product))

    low, high = mix(keyed[0], keyed[1]), mix(keyed[2], keyed[3])
    low = w.op("xor", low, w.low64(w.field("recipient")))
    return mix(low, w.op("xor", high, seed[0]))


def _append_slot(w: FrameWriter, table: str, slots: str, bucket: str, failed: str) -> None:
    """A new slot at the end of the slots, named by an empty bucket; its value is 0 or the host's."""
    ask, zero, make = w.label(), w.label(), w.label()
    value_at = w.slot("i256", 16)
    w.branch(w.compare("ne", w.load(table, _TABLE("unknown_is_zero")), "0"), zero, ask)
    w.start(zero)
    w.do(f"store i256 0, ptr {value_at}, align 16")
    new_flags = w.load(table, _TABLE("new_flags"))
    w.jump(make)
    w.start(ask)
    cold = w.ask_host("get_storage", "%key", value_at)
    told = w.label()
    w.branch(w.compare("slt", cold, "0"), failed, told, UNLIKELY)
    w.start(told)
    told_flags = w.select(w.compare("eq", w.op("and", cold, "1"), "0"), str(_WARM_FROM_START), "0")
    w.jump(make)
    w.start(make)
    flags = w.phi("i64", (new_flags, zero), (told_flags, told))
    count = w.load(table, _TABLE("count"))
    slot = w.address(slots, w.op("mul", count, str(SLOT.size_bytes)))
    w.store(w.get("recipient", "i256"), slot, _SLOT("recipient"), "i256")
    w.store(w.word("%key"), slot, _SLOT("key"), "i256")
    value = w.word(value_at)
    w.store(value, slot, _SLOT("value"), "i256")
    w.store(value, slot, _SLOT("original"), "i256")
    w.store(flags, slot, _SLOT("flags"))
    w.store("0", slot, _SLOT("saved_at"))
    w.store(w.op("or", w.op("shl", w.load(table, _TABLE("epoch")), "32"), count), bucket)
    w.store(w.op("add", count, "1"), table, _TABLE("count"))
    w.do(f"ret ptr {slot}")


def _slot_save(_: Target) -> str:
    """Remember what a revert restores, once in a generation; `evmaot_slot` has made room."""
    w = FrameWriter()
    table = w.get("slot_table", "ptr")
    generation, saved_at = w.load(table, _TABLE("generation")), w.load("%slot", _SLOT("saved_at"))
    save, done = w.label(), w.label()
    w.branch(w.compare("ult", saved_at, generation), save, done)
    w.start(save)
    count = w.load(table, _TABLE("undo_count"))
    undo = w.address(w.load(table, _TABLE("undo"), "ptr"), w.op("mul", count, str(SLOT_UNDO.size_bytes)))
    base = w.load(table, _TABLE("slots"))
    w.store(w.op("sub", w.value("ptrtoint ptr %slot to i64"), base), undo, _UNDO("slot"))
    w.store(w.load("%slot", _SLOT("value"), "i256"), undo, _UNDO("value"), "i256")
    w.store(w.load("%slot", _SLOT("flags")), undo, _UNDO("flags"))
    w.store(saved_at, undo, _UNDO("saved_at"))
    w.store(generation, "%slot", _SLOT("saved_at"))
    w.store(w.op("add", count, "1"), table, _TABLE("undo_count"))
    w.jump(done)
    w.start(done)
    w.do("ret void")
    return function("void @evmaot_slot_save(ptr %frame, ptr %slot)", w.text(), "internal")


def _slot_access(_: Target) -> str:
    """Make a slot warm: the gas left, `%cold` less if it was not; negative if that is too much (EIP-2929)."""
    w = FrameWriter()
    warm, cold = w.label(), w.label()
    flags = w.load("%slot", _SLOT("flags"))
    w.branch(w.compare("ne", w.op("and", flags, str(_WARM)), "0"), warm, cold)
    w.start(warm)
    w.do("ret i64 %gas")
    w.start(cold)
    w.do("call void @evmaot_slot_save(ptr %frame, ptr %slot)")
    w.store(w.op("or", flags, str(_WARM)), "%slot", _SLOT("flags"))
    w.do(f"ret i64 {w.op('sub', '%gas', '%cold')}")
    return function("i64 @evmaot_slot_access(ptr %frame, i64 %gas, ptr %slot, i64 %cold)", w.text(), "internal")


def _find_slot(w: FrameWriter, ask: str) -> str:
    """The slot in the table; goes to `ask` where there is no table."""
    look = w.label()
    w.branch(w.compare("eq", w.get("slot_table", "ptr"), "null", "ptr"), ask, look, UNLIKELY)
    w.start(look)
    slot = w.value("call ptr @evmaot_slot(ptr %frame, ptr %key)")
    w.fail_if(w.compare("eq", slot, "null", "ptr"))
    return slot


def _sload(_: Target) -> str:
    """From the slot table; without one the host is asked."""
    w = FrameWriter()
    ask = w.label()
    slot = _find_slot(w, ask)
    # out may be the key's own place: the key is not read any more
    w.store(w.load(slot, _SLOT("value"), "i256"), "%out", 0, "i256")
    gas = w.helper("evmaot_slot_access", f"ptr %frame, i64 %gas, ptr {slot}, i64 %cold")
    w.do(f"ret i64 {gas}")
    w.start(ask)
    key_slot = w.slot("i256", 16)
    w.do(f"store i256 {w.word('%key')}, ptr {key_slot}, align 16")
    cold = w.host("get_storage", key_slot, "%out")
    w.do(f"ret i64 {w.charge('%gas', surcharge(w, cold, 1, '%cold'))}")
    return function("i64 @evmaot_sload(ptr %frame, i64 %gas, ptr %key, ptr %out, i64 %cold)", w.text())


def _sstore(_: Target) -> str:
    """%rules: sentry, cold surcharge, then (gas, refund) for each StorageStatus."""
    w = FrameWriter()
    w.fail_if_static()
    sentry = w.low64("%rules")
    # EIP-2200: out of gas with no more than the stipend left
    w.fail_if(w.op("and", w.compare("sle", "%gas", sentry), w.compare("ne", sentry, "0"), "i1"))
    cold_price = w.low64(w.address("%rules", "8"))
    ask = w.label()
    slot = _find_slot(w, ask)
    gas = w.helper("evmaot_slot_access", f"ptr %frame, i64 %gas, ptr {slot}, i64 {cold_price}")
    status = w.value(f"call i64 @evmaot_slot_write(ptr %frame, ptr {slot}, ptr %new)")
    w.do(f"ret i64 {_storage_price(w, gas, status)}")
    w.start(ask)
    answer = w.host("set_storage", "%key", "%new")
    gas = w.charge("%gas", surcharge(w, answer, STORAGE_COLD, cold_price))
    w.do(f"ret i64 {_storage_price(w, gas, w.op('and', answer, '15'))}")
    return function("i64 @evmaot_sstore(ptr %frame, i64 %gas, ptr %key, ptr %new, ptr %rules)", w.text())


def _storage_price(w: FrameWriter, gas: str, status: str) -> str:
    """Charge and refund as the schedule says for a status."""
    row = w.address("%rules", w.op("add", w.op("shl", status, "4"), "16"))
    left = w.charge(gas, w.low64(row))
    w.set("refund", w.op("add", w.get("refund"), w.low64(w.address(row, "8"))))
    return left


def _slot_write(_: Target) -> str:
    """Write a new value to a slot; the StorageStatus of the change."""
    w = FrameWriter()
    original, old = (w.load("%slot", _SLOT(name), "i256") for name in ("original", "value"))
    new = w.word("%new")
    same, changed = w.label(), w.label()
    w.branch(w.compare("eq", old, new, "i256"), same, changed)
    w.start(same)
    w.do(f"ret i64 {int(StorageStatus.ASSIGNED)}")
    w.start(changed)
    w.do("call void @evmaot_slot_save(ptr %frame, ptr %slot)")
    w.store(new, "%slot", _SLOT("value"), "i256")
    w.do(f"ret i64 {_status_of(w, original, old, new)}")
    return function("i64 @evmaot_slot_write(ptr %frame, ptr %slot, ptr %new)", w.text(), "internal")


def _status_of(w: FrameWriter, original: str, old: str, new: str) -> str:
    """StorageStatus of old -> new where they differ (EVMC's definition)."""

    def choose(condition: str, yes: StorageStatus | str, no: StorageStatus | str) -> str:
        yes_text, no_text = (str(int(side)) if isinstance(side, StorageStatus) else side for side in (yes, no))
        return w.select(condition, yes_text, no_text)

    no_original, no_old, no_new = (w.compare("eq", value, "0", "i256") for value in (original, old, new))
    back = w.compare("eq", new, original, "i256")
    clean = choose(no_new, StorageStatus.DELETED, StorageStatus.MODIFIED)
    clean = choose(no_original, StorageStatus.ADDED, clean)
    from_zero = choose(back, StorageStatus.DELETED_RESTORED, StorageStatus.DELETED_ADDED)
    to_other = choose(back, StorageStatus.MODIFIED_RESTORED, StorageStatus.ASSIGNED)
    had = choose(no_old, from_zero, choose(no_new, StorageStatus.MODIFIED_DELETED, to_other))
    had_not = choose(no_new, StorageStatus.ADDED_DELETED, StorageStatus.ASSIGNED)
    touched = choose(no_original, had_not, had)
    return choose(w.compare("eq", old, original, "i256"), clean, touched)


def _tstore(_: Target) -> str:
    """EIP-1153."""
    w = FrameWriter()
    w.fail_if_static()
    w.host("set_transient_storage", "%key", "%new")
    w.do("ret i64 %gas")
    return function("i64 @evmaot_tstore(ptr %frame, i64 %gas, ptr %key, ptr %new)", w.text())


def _account(_: Target) -> str:
    """BALANCE, EXTCODESIZE, EXTCODEHASH: the host function at %service of the host table."""
    w = FrameWriter()
    answer = w.host_at("%service", w.masked_address("%key"), "%out")
    gas = w.charge("%gas", surcharge(w, answer, AccountFlag.COLD, "%cold"))
    w.do(f"ret i64 {gas}")
    signature = "i64 @evmaot_account(ptr %frame, i64 %gas, ptr %key, ptr %out, i64 %cold, i64 %service)"
    return function(signature, w.text())


def _ask(_: Target) -> str:
    """TLOAD, BLOCKHASH, SELFBALANCE: the host function at %service, whose answer costs nothing."""
    w = FrameWriter()
    w.host_at("%service", "%key", "%out")
    w.do("ret i64 %gas")
    return function("i64 @evmaot_ask(ptr %frame, i64 %gas, ptr %key, ptr %out, i64 %service)", w.text())


def _blobhash(_: Target) -> str:
    """EIP-4844: the hash at an index, 0 out of range; writes it over the index."""
    w = FrameWriter()
    environment = w.get("environment", "ptr")
    count = w.low64(w.address(environment, str(ENVIRONMENT.offset("blob_hash_count"))))
    index = w.word("%index")
    inside, outside, done = w.label(), w.label(), w.label()
    w.branch(w.compare("ult", index, w.value(f"zext i64 {count} to i256"), "i256"), inside, outside)
    w.start(inside)
    hashes = w.value(f"load ptr, ptr {w.address(environment, str(ENVIRONMENT.offset('blob_hashes')))}, align 8")
    found = w.word(w.address(hashes, w.op("shl", w.low64("%index"), "5")))
    w.jump(done)
    w.start(outside)
    w.jump(done)
    w.start(done)
    result = w.phi("i256", (found, inside), ("0", outside))
    w.do(f"store i256 {result}, ptr %out, align 8")
    w.do("ret void")
    return function("void @evmaot_blobhash(ptr %frame, ptr %index, ptr %out)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {
    "evmaot_slot": _slot,
    "evmaot_slot_save": _slot_save,
    "evmaot_slot_access": _slot_access,
    "evmaot_slot_write": _slot_write,
    "evmaot_sload": _sload,
    "evmaot_sstore": _sstore,
    "evmaot_tstore": _tstore,
    "evmaot_account": _account,
    "evmaot_ask": _ask,
    "evmaot_blobhash": _blobhash,
}
