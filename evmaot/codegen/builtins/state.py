"""Helpers that read and write the world: storage, transient storage, accounts, block and blob hashes.

Job: the host's functions behind gas.  Effects on the world may come before their charge, because a
halt reverts them.  The storage cache holds warm slots of the transaction, so that most SLOADs do
not leave native code.  May import: `evmaot.abi`, `builtins.frame_writer`, `builtins.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.abi.layout import ENVIRONMENT, STORAGE_CACHE, STORAGE_CACHE_ENTRY
from evmaot.abi.status import STORAGE_COLD, AccountFlag
from evmaot.codegen.builtins.frame_writer import FrameWriter, surcharge
from evmaot.codegen.builtins.writer import UNLIKELY, function
from evmaot.target import Target


def _cache_entry(_: Target) -> str:
    """Address of the cache entry for a slot of the recipient; null without a cache."""
    w = FrameWriter()
    cache = w.get("storage_cache", "ptr")
    none, some = w.label(), w.label()
    w.branch(w.compare("eq", cache, "null", "ptr"), none, some, UNLIKELY)
    w.start(none)
    w.do("ret ptr null")
    w.start(some)
    limbs = [w.load("%key", 8 * index) for index in range(4)]
    mixed = w.op("xor", w.op("xor", limbs[0], limbs[1]), w.op("xor", limbs[2], limbs[3]))
    mixed = w.op("xor", mixed, w.low64(w.field("recipient")))
    # Fibonacci hashing: the upper half of the product depends on all bits.
    hashed = w.op("lshr", w.op("mul", mixed, str(0x9E3779B97F4A7C15 - (1 << 64))), "32")
    index = w.op("and", hashed, w.load(cache, STORAGE_CACHE.offset("mask")))
    entries = w.load(cache, STORAGE_CACHE.offset("entries"), "ptr")
    w.do(f"ret ptr {w.address(entries, w.op('mul', index, str(STORAGE_CACHE_ENTRY.size_bytes)))}")
    return function("ptr @evmaot_cache_entry(ptr %frame, ptr %key)", w.text(), "internal")


def _entry_holds(w: FrameWriter, entry: str) -> str:
    """Whether the entry is of this epoch, account and slot."""
    epoch = w.load(w.get("storage_cache", "ptr"), STORAGE_CACHE.offset("epoch"))
    same = w.compare("eq", w.load(entry, STORAGE_CACHE_ENTRY.offset("epoch")), epoch)
    for name, pointer in (("key", "%key"), ("recipient", w.field("recipient"))):
        held = w.load(entry, STORAGE_CACHE_ENTRY.offset(name), "i256")
        same = w.op("and", same, w.compare("eq", held, w.word(pointer), "i256"), "i1")
    return same


def _cache_fill(_: Target) -> str:
    """Remember a value that the host gave or took: the slot is warm now."""
    w = FrameWriter()
    none, some = w.label(), w.label()
    w.branch(w.compare("eq", "%slot", "null", "ptr"), none, some, UNLIKELY)
    w.start(none)
    w.do("ret void")
    w.start(some)
    w.store(w.word("%key"), "%slot", STORAGE_CACHE_ENTRY.offset("key"), "i256")
    w.store(w.get("recipient", "i256"), "%slot", STORAGE_CACHE_ENTRY.offset("recipient"), "i256")
    w.store(w.word("%new"), "%slot", STORAGE_CACHE_ENTRY.offset("value"), "i256")
    epoch = w.load(w.get("storage_cache", "ptr"), STORAGE_CACHE.offset("epoch"))
    w.store(epoch, "%slot", STORAGE_CACHE_ENTRY.offset("epoch"))
    w.do("ret void")
    return function("void @evmaot_cache_fill(ptr %frame, ptr %slot, ptr %key, ptr %new)", w.text(), "internal")


def _sload(_: Target) -> str:
    """A slot in the cache is warm and costs no more than the opcode; else the host is asked."""
    w = FrameWriter()
    key_slot = w.slot("i256", 16)  # out may be the key's own place
    w.do(f"store i256 {w.word('%key')}, ptr {key_slot}, align 16")
    entry = w.value("call ptr @evmaot_cache_entry(ptr %frame, ptr %key)")
    ask, look, hit = w.label(), w.label(), w.label()
    w.branch(w.compare("eq", entry, "null", "ptr"), ask, look, UNLIKELY)
    w.start(look)
    w.branch(_entry_holds(w, entry), hit, ask)
    w.start(hit)
    w.do(f"store i256 {w.load(entry, STORAGE_CACHE_ENTRY.offset('value'), 'i256')}, ptr %out, align 8")
    w.do("ret i64 %gas")
    w.start(ask)
    cold = w.host("get_storage", key_slot, "%out")
    gas = w.charge("%gas", surcharge(w, cold, 1, "%cold"))
    w.do(f"call void @evmaot_cache_fill(ptr %frame, ptr {entry}, ptr {key_slot}, ptr %out)")
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_sload(ptr %frame, i64 %gas, ptr %key, ptr %out, i64 %cold)", w.text())


def _sstore(_: Target) -> str:
    """%rules: sentry, cold surcharge, then (gas, refund) for each StorageStatus."""
    w = FrameWriter()
    w.fail_if_static()
    sentry = w.low64("%rules")
    at_sentry = w.op(
        "and", w.compare("sle", "%gas", sentry), w.compare("ne", sentry, "0"), "i1"
    )  # EIP-2200: gas left less than or equal to the stipend
    w.fail_if(at_sentry)
    answer = w.host("set_storage", "%key", "%new")
    entry = w.value("call ptr @evmaot_cache_entry(ptr %frame, ptr %key)")
    w.do(f"call void @evmaot_cache_fill(ptr %frame, ptr {entry}, ptr %key, ptr %new)")
    cold_price = w.low64(w.address("%rules", "8"))
    gas = w.charge("%gas", surcharge(w, answer, STORAGE_COLD, cold_price))
    row = w.address("%rules", w.op("add", w.op("shl", w.op("and", answer, "15"), "4"), "16"))
    gas = w.charge(gas, w.low64(row))
    w.set("refund", w.op("add", w.get("refund"), w.low64(w.address(row, "8"))))
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_sstore(ptr %frame, i64 %gas, ptr %key, ptr %new, ptr %rules)", w.text())


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
    "evmaot_cache_entry": _cache_entry,
    "evmaot_cache_fill": _cache_fill,
    "evmaot_sload": _sload,
    "evmaot_sstore": _sstore,
    "evmaot_tstore": _tstore,
    "evmaot_account": _account,
    "evmaot_ask": _ask,
    "evmaot_blobhash": _blobhash,
}
