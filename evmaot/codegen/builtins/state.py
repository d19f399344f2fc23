"""Helpers that read and write the world: storage, transient storage, accounts, block and blob hashes.

Job: the host's functions behind gas.  Effects on the world may come before their charge, because a
halt reverts them.  The storage cache holds warm slots of the transaction, so that most SLOADs and
SSTOREs do not leave native code.  May import: `evmaot.abi`, `builtins.frame_writer`, `builtins.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.abi.layout import ENVIRONMENT, STORAGE_CACHE, STORAGE_CACHE_ENTRY
from evmaot.abi.status import STORAGE_COLD, AccountFlag, StorageStatus
from evmaot.codegen.builtins.frame_writer import FrameWriter, surcharge
from evmaot.codegen.builtins.writer import UNLIKELY, function
from evmaot.target import Target

_ENTRY = STORAGE_CACHE_ENTRY.offset
_DIRTY = 2
"""Value of an entry's `state`."""


def _cache_entry(_: Target) -> str:
    """Address of the entry that holds a slot of the recipient, or else of the one that it may take.

    Two ways: an entry and its neighbour.  Null without a cache.
    """
    w = FrameWriter()
    cache = w.get("storage_cache", "ptr")
    none, some, first_hit, second, third = (w.label() for _ in range(5))
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
    primary = w.address(entries, w.op("mul", index, str(STORAGE_CACHE_ENTRY.size_bytes)))
    w.branch(_entry_holds(w, primary), first_hit, second)
    w.start(first_hit)
    w.do(f"ret ptr {primary}")
    w.start(second)
    neighbour = w.op("and", w.op("xor", index, "1"), w.load(cache, STORAGE_CACHE.offset("mask")))
    secondary = w.address(entries, w.op("mul", neighbour, str(STORAGE_CACHE_ENTRY.size_bytes)))
    missed = w.label()
    w.branch(_entry_holds(w, secondary), third, missed)
    w.start(third)
    w.do(f"ret ptr {secondary}")
    w.start(missed)
    epoch = w.load(cache, STORAGE_CACHE.offset("epoch"))
    first_void, second_void = (w.compare("ne", w.load(entry, _ENTRY("epoch")), epoch) for entry in (primary, secondary))
    first_dirty = w.compare("eq", w.load(primary, _ENTRY("state")), str(_DIRTY))
    takes_second = w.op("or", second_void, first_dirty, "i1")
    choice = w.select(takes_second, secondary, primary, "ptr")
    w.do(f"ret ptr {w.select(first_void, primary, choice, 'ptr')}")
    return function("ptr @evmaot_cache_entry(ptr %frame, ptr %key)", w.text(), "internal")


def _entry_holds(w: FrameWriter, entry: str) -> str:
    """Whether the entry is of this epoch, account and slot."""
    epoch = w.load(w.get("storage_cache", "ptr"), STORAGE_CACHE.offset("epoch"))
    same = w.compare("eq", w.load(entry, _ENTRY("epoch")), epoch)
    for name, pointer in (("key", "%key"), ("recipient", w.field("recipient"))):
        held = w.load(entry, _ENTRY(name), "i256")
        same = w.op("and", same, w.compare("eq", held, w.word(pointer), "i256"), "i1")
    return same


def _cache_fill(_: Target) -> str:
    """Remember a slot that the host told of; `%state` 0 or 1, and 1 comes with its original value.

    A dirty entry of another slot keeps its place: its value is nowhere else.
    """
    w = FrameWriter()
    none, some, free = w.label(), w.label(), w.label()
    w.branch(w.compare("eq", "%slot", "null", "ptr"), none, some, UNLIKELY)
    w.start(none)
    w.do("ret void")
    w.start(some)
    epoch = w.load(w.get("storage_cache", "ptr"), STORAGE_CACHE.offset("epoch"))
    current = w.compare("eq", w.load("%slot", _ENTRY("epoch")), epoch)
    dirty = w.compare("eq", w.load("%slot", _ENTRY("state")), str(_DIRTY))
    w.branch(w.op("and", current, dirty, "i1"), none, free, UNLIKELY)
    w.start(free)
    w.store(w.word("%key"), "%slot", _ENTRY("key"), "i256")
    w.store(w.get("recipient", "i256"), "%slot", _ENTRY("recipient"), "i256")
    w.store(w.word("%new"), "%slot", _ENTRY("value"), "i256")
    w.store(w.word("%original"), "%slot", _ENTRY("original"), "i256")
    w.store("%state", "%slot", _ENTRY("state"))
    w.store(epoch, "%slot", _ENTRY("epoch"))
    w.do("ret void")
    signature = "void @evmaot_cache_fill(ptr %frame, ptr %slot, ptr %key, ptr %new, ptr %original, i64 %state)"
    return function(signature, w.text(), "internal")


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
    w.do(f"store i256 {w.load(entry, _ENTRY('value'), 'i256')}, ptr %out, align 8")
    w.do("ret i64 %gas")
    w.start(ask)
    cold = w.host("get_storage", key_slot, "%out")
    gas = w.charge("%gas", surcharge(w, cold, 1, "%cold"))
    # A cold slot was not touched in this transaction, so its value is the original one (EIP-2929).
    first = w.op("and", cold, "1")
    w.do(f"call void @evmaot_cache_fill(ptr %frame, ptr {entry}, ptr {key_slot}, ptr %out, ptr %out, i64 {first})")
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_sload(ptr %frame, i64 %gas, ptr %key, ptr %out, i64 %cold)", w.text())


def _sstore(_: Target) -> str:
    """%rules: sentry, cold surcharge, then (gas, refund) for each StorageStatus.

    A slot in the cache whose original value is known is written there; the host learns of it when the
    frame suspends or ends.
    """
    w = FrameWriter()
    w.fail_if_static()
    sentry = w.low64("%rules")
    # EIP-2200: out of gas with no more than the stipend left
    w.fail_if(w.op("and", w.compare("sle", "%gas", sentry), w.compare("ne", sentry, "0"), "i1"))
    slot = w.value("call ptr @evmaot_cache_entry(ptr %frame, ptr %key)")
    ask, look, write = w.label(), w.label(), w.label()
    w.branch(w.compare("eq", slot, "null", "ptr"), ask, look, UNLIKELY)
    w.start(look)
    known = w.compare("ne", w.load(slot, _ENTRY("state")), "0")
    cache = w.get("storage_cache", "ptr")
    count, capacity = (w.load(cache, STORAGE_CACHE.offset(name)) for name in ("dirty_count", "dirty_capacity"))
    # An entry that is dirty already needs no room, and the host does not know its value: it must not be asked.
    is_dirty = w.compare("eq", w.load(slot, _ENTRY("state")), str(_DIRTY))
    room = w.op("or", w.compare("ult", count, capacity), is_dirty, "i1")
    usable = w.op("and", w.op("and", known, room, "i1"), _entry_holds(w, slot), "i1")
    w.branch(usable, write, ask)
    w.start(write)
    status = w.value(f"call i64 @evmaot_cache_write(ptr %frame, ptr {slot}, ptr %new)")
    w.do(f"ret i64 {_storage_price(w, '%gas', status)}")
    w.start(ask)
    w.do(f"ret i64 {_sstore_by_host(w, slot)}")
    return function("i64 @evmaot_sstore(ptr %frame, i64 %gas, ptr %key, ptr %new, ptr %rules)", w.text())


def _sstore_by_host(w: FrameWriter, slot: str) -> str:
    """Let the host write; remember the slot, with its original value where that is known now."""
    held = w.slot("i256", 16)
    answer = w.host("set_storage", "%key", "%new")
    status = w.op("and", answer, "15")
    seen = w.value(f"call i1 @evmaot_cache_value(ptr %frame, ptr {slot}, ptr %key, ptr {held})")
    # 0 -> 0 -> Z tells the original value; X -> X -> Y does if the value before is known.
    added = w.compare("eq", status, str(int(StorageStatus.ADDED)))
    first = w.op(
        "or",
        w.compare("eq", status, str(int(StorageStatus.DELETED))),
        w.compare("eq", status, str(int(StorageStatus.MODIFIED))),
        "i1",
    )
    w.do(f"store i256 {w.select(added, '0', w.word(held), 'i256')}, ptr {held}, align 16")
    tells = w.op("or", added, w.op("and", first, seen, "i1"), "i1")
    state = w.value(f"zext i1 {tells} to i64")
    w.do(f"call void @evmaot_cache_fill(ptr %frame, ptr {slot}, ptr %key, ptr %new, ptr {held}, i64 {state})")
    cold_price = w.low64(w.address("%rules", "8"))
    gas = w.charge("%gas", surcharge(w, answer, STORAGE_COLD, cold_price))
    return _storage_price(w, gas, status)


def _storage_price(w: FrameWriter, gas: str, status: str) -> str:
    """Charge and refund as the schedule says for a status."""
    row = w.address("%rules", w.op("add", w.op("shl", status, "4"), "16"))
    left = w.charge(gas, w.low64(row))
    w.set("refund", w.op("add", w.get("refund"), w.low64(w.address(row, "8"))))
    return left


def _cache_value(_: Target) -> str:
    """Whether the cache holds the slot; its value in `%out`, else 0."""
    w = FrameWriter()
    none, some, hit = w.label(), w.label(), w.label()
    w.do("store i256 0, ptr %out, align 8")
    w.branch(w.compare("eq", "%slot", "null", "ptr"), none, some, UNLIKELY)
    w.start(none)
    w.do("ret i1 false")
    w.start(some)
    w.branch(_entry_holds(w, "%slot"), hit, none)
    w.start(hit)
    w.store(w.load("%slot", _ENTRY("value"), "i256"), "%out", 0, "i256")
    w.do("ret i1 true")
    return function("i1 @evmaot_cache_value(ptr %frame, ptr %slot, ptr %key, ptr %out)", w.text(), "internal")


def _cache_write(_: Target) -> str:
    """Write a new value to an entry whose original value is known; the StorageStatus of the change."""
    w = FrameWriter()
    original, old = (w.load("%slot", _ENTRY(name), "i256") for name in ("original", "value"))
    new = w.word("%new")
    same, changed = w.label(), w.label()
    w.branch(w.compare("eq", old, new, "i256"), same, changed)
    w.start(same)
    w.do(f"ret i64 {int(StorageStatus.ASSIGNED)}")
    w.start(changed)
    w.store(new, "%slot", _ENTRY("value"), "i256")
    clean, mark = w.label(), w.label()
    w.branch(w.compare("eq", w.load("%slot", _ENTRY("state")), str(_DIRTY)), clean, mark)
    w.start(mark)
    cache = w.get("storage_cache", "ptr")
    count = w.load(cache, STORAGE_CACHE.offset("dirty_count"))
    rows = w.load(cache, STORAGE_CACHE.offset("dirty"), "ptr")
    w.store("%slot", w.address(rows, w.op("shl", count, "3")), 0, "ptr")
    w.store(w.op("add", count, "1"), cache, STORAGE_CACHE.offset("dirty_count"))
    w.store(str(_DIRTY), "%slot", _ENTRY("state"))
    w.jump(clean)
    w.start(clean)
    w.do(f"ret i64 {_status_of(w, original, old, new)}")
    return function("i64 @evmaot_cache_write(ptr %frame, ptr %slot, ptr %new)", w.text(), "internal")


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
    "evmaot_cache_entry": _cache_entry,
    "evmaot_cache_fill": _cache_fill,
    "evmaot_cache_value": _cache_value,
    "evmaot_cache_write": _cache_write,
    "evmaot_sload": _sload,
    "evmaot_sstore": _sstore,
    "evmaot_tstore": _tstore,
    "evmaot_account": _account,
    "evmaot_ask": _ask,
    "evmaot_blobhash": _blobhash,
}
