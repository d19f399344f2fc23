"""Helpers of instructions whose operands are ranges of memory: hash, copies, logs, output.

Job: pay for, grow and use memory.  Operands are read from the native stack.  Invariant: memory is
paid for before it is touched.  May import: `evmaot.abi`, `builtins.frame_writer`, `builtins.writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.abi.layout import LOG_BUFFER, LOG_ENTRY
from evmaot.abi.status import AccountFlag, Status
from evmaot.codegen.builtins.frame_writer import FrameWriter, surcharge
from evmaot.codegen.builtins.writer import UNLIKELY, function
from evmaot.target import Target

MEMORY_LIMIT_BYTES = 1 << 42
"""Memory this large costs more than 2^63 gas (Yellow Paper H.1), so its offset is out of gas."""
_WORD = 32


def _memory_range(_: Target) -> str:
    w = FrameWriter()
    size = w.word("%size")
    empty, some = w.label(), w.label()
    w.branch(w.compare("eq", size, "0", "i256"), empty, some)
    w.start(empty)
    w.do("ret i64 %gas")
    w.start(some)
    offset = w.word("%offset")
    limit = str(MEMORY_LIMIT_BYTES)
    too_wide = w.op("or", w.compare("ugt", size, limit, "i256"), w.compare("ugt", offset, limit, "i256"), "i1")
    w.fail_if(too_wide)
    end = w.op("add", w.low64("%offset"), w.low64("%size"))
    fits, grow = w.label(), w.label()
    w.branch(w.compare("ule", end, w.get("memory_size")), fits, grow)
    w.start(fits)
    w.do("ret i64 %gas")
    w.start(grow)
    left = w.value(f"call i64 @evmaot_memory_grow(ptr %frame, i64 %gas, i64 {end})")
    w.do(f"ret i64 {left}")
    return function("i64 @evmaot_memory_range(ptr %frame, i64 %gas, ptr %offset, ptr %size)", w.text())


def _keccak(_: Target) -> str:
    """KECCAK256: replaces offset and size by the digest in place of the second."""
    w = FrameWriter()
    offset, size = w.operand(0), w.operand(1)
    gas = w.memory_range("%gas", offset, size)
    length = w.low64(size)
    gas = w.charge(gas, w.op("mul", w.words(length), "%word_price"))
    w.do(f"call void @evmaot_keccak256(ptr {w.memory_at(w.low64(offset))}, i64 {length}, ptr {size})")
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_keccak(ptr %frame, ptr %sp, i64 %gas, i64 %word_price)", w.text())


def _copy(name: str, source_fields: tuple[str, str]) -> Callable[[Target], str]:
    """CALLDATACOPY and CODECOPY: destination, source offset, size."""

    def body(_: Target) -> str:
        w = FrameWriter()
        gas, length, place = _paid_copy(w, 0)
        source, size = w.get(source_fields[0], "ptr"), w.get(source_fields[1])
        _copy_padded(w, place, source, size, w.operand(1), length)
        w.do(f"ret i64 {gas}")
        return function(f"i64 @{name}(ptr %frame, ptr %sp, i64 %gas, i64 %word_price)", w.text())

    return body


def _paid_copy(w: FrameWriter, destination_depth: int) -> tuple[str, str, str]:
    """Charge a copy of `size` (two operands below the destination): gas, size, address in memory."""
    destination, size = w.operand(destination_depth), w.operand(destination_depth + 2)
    gas = w.memory_range("%gas", destination, size)
    length = w.low64(size)
    gas = w.charge(gas, w.op("mul", w.words(length), "%word_price"))
    return gas, length, w.memory_at(w.low64(destination))


def _copy_padded(w: FrameWriter, place: str, source: str, size: str, offset: str, length: str) -> None:
    wide = w.compare("ugt", w.word(offset), str((1 << 64) - 1), "i256")
    start = w.select(wide, "-1", w.low64(offset))
    w.do(f"call void @evmaot_copy_padded(ptr {place}, ptr {source}, i64 {size}, i64 {start}, i64 {length})")


def _returndatacopy(_: Target) -> str:
    """EIP-211: reading past the end is a halt, not zeroes."""
    w = FrameWriter()
    gas, length, place = _paid_copy(w, 0)
    offset = w.word(w.operand(1))
    end = w.op("add", w.widen(length, "i320"), w.value(f"zext i256 {offset} to i320"), "i320")
    available = w.widen(w.get("return_data_size"), "i320")
    w.fail_if(w.compare("ugt", end, available, "i320"), Status.OUT_OF_BOUNDS_READ)
    source = w.address(w.get("return_data", "ptr"), w.low64(w.operand(1)))
    w.do(f"call void @evmaot_move(ptr {place}, ptr {source}, i64 {length})")
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_returndatacopy(ptr %frame, ptr %sp, i64 %gas, i64 %word_price)", w.text())


def _mcopy(_: Target) -> str:
    """EIP-5656: memory grows to hold both ranges, paid once."""
    w = FrameWriter()
    destination, source, size = w.operand(0), w.operand(1), w.operand(2)
    further = w.compare("ugt", w.word(source), w.word(destination), "i256")
    gas = w.memory_range("%gas", w.select(further, source, destination, "ptr"), size)
    length = w.low64(size)
    gas = w.charge(gas, w.op("mul", w.words(length), "%word_price"))
    base = w.get("memory_base", "ptr")
    to, start = w.address(base, w.low64(destination)), w.address(base, w.low64(source))
    w.do(f"call void @evmaot_move(ptr {to}, ptr {start}, i64 {length})")
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_mcopy(ptr %frame, ptr %sp, i64 %gas, i64 %word_price)", w.text())


def _extcodecopy(_: Target) -> str:
    w = FrameWriter()
    slots = [w.slot("i64", 8) for _ in range(2)]
    gas, length, _place = _paid_copy(w, 1)
    answer = w.host("get_code", w.masked_address(w.operand(0)), *slots)
    gas = w.charge(gas, surcharge(w, answer, AccountFlag.COLD, "%cold"))
    place = w.memory_at(w.low64(w.operand(1)))
    code, size = w.value(f"load ptr, ptr {slots[0]}, align 8"), w.low64(slots[1])
    _copy_padded(w, place, code, size, w.operand(2), length)
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_extcodecopy(ptr %frame, ptr %sp, i64 %gas, i64 %word_price, i64 %cold)", w.text())


def _log(_: Target) -> str:
    """LOGn: offset, size, n topics.  Into the driver's buffer, or to the host where there is no room."""
    w = FrameWriter()
    w.fail_if_static()
    gas = w.memory_range("%gas", w.operand(0), w.operand(1))
    size = w.low64(w.operand(1))
    gas = w.charge(gas, w.op("mul", size, "%byte_price"))
    buffer = w.get("log_buffer", "ptr")
    ask, look, write = w.label(), w.label(), w.label()
    w.branch(w.compare("eq", buffer, "null", "ptr"), ask, look, UNLIKELY)
    w.start(look)
    used, capacity = (w.load(buffer, LOG_BUFFER.offset(name)) for name in ("size", "capacity"))
    topics_end = w.op("add", w.op("shl", "%count", "5"), str(LOG_ENTRY.size_bytes))
    padded = w.op("and", w.op("add", size, "7"), "-8")  # sizes are below MEMORY_LIMIT_BYTES: no overflow
    end = w.op("add", w.op("add", used, topics_end), padded)
    w.branch(w.compare("ugt", end, capacity), ask, write, UNLIKELY)
    w.start(write)
    entry = w.address(w.load(buffer, LOG_BUFFER.offset("base"), "ptr"), used)
    w.store(w.get("recipient", "i256"), entry, LOG_ENTRY.offset("recipient"), "i256")
    w.store("%count", entry, LOG_ENTRY.offset("topic_count"))
    w.store(size, entry, LOG_ENTRY.offset("data_size"))
    _copy_topics(w, w.address(entry, str(LOG_ENTRY.size_bytes)))
    # The offset of no data is any word: nothing may be computed from it.
    offset = w.select(w.compare("eq", size, "0"), "0", w.low64(w.operand(0)))
    destination = w.address(entry, topics_end)
    w.do(f"call void @evmaot_move(ptr {destination}, ptr {w.memory_at(offset)}, i64 {size})")
    w.store(end, buffer, LOG_BUFFER.offset("size"))
    w.do(f"ret i64 {gas}")
    w.start(ask)
    w.do(f"ret i64 {_log_by_host(w, gas, size)}")
    return function("i64 @evmaot_log(ptr %frame, ptr %sp, i64 %gas, i64 %count, i64 %byte_price)", w.text())


def _log_by_host(w: FrameWriter, gas: str, size: str) -> str:
    topics, count = w.slot("[4 x i256]", 16), w.slot("i64", 8)
    _copy_topics(w, topics)
    w.set("request_input_offset", w.low64(w.operand(0)))
    w.set("request_input_size", size)
    w.do(f"store i64 %count, ptr {count}, align 8")
    w.host("emit_log", topics, count)
    return gas


def _copy_topics(w: FrameWriter, destination: str) -> None:
    """The `%count` words below the size; ends in a block of its own."""
    head, body, done = w.label(), w.label(), w.label()
    before = w.block
    w.jump(head)
    w.start(head)
    index, following = w.fresh(), w.fresh()
    w.define(index, w.phi_text("i64", ("0", before), (following, body)))
    w.branch(w.compare("ult", index, "%count"), body, done)
    w.start(body)
    down = w.op("sub", str(-_WORD * 3), w.op("shl", index, "5"))
    topic = w.word(w.address("%sp", down))
    w.do(f"store i256 {topic}, ptr {w.address(destination, w.op('shl', index, '5'))}, align 8")
    w.define(following, f"add i64 {index}, 1")
    w.jump(head)
    w.start(done)


def _output(_: Target) -> str:
    """RETURN and REVERT: offset, size."""
    w = FrameWriter()
    gas = w.memory_range("%gas", w.operand(0), w.operand(1))
    w.set("output_offset", w.low64(w.operand(0)))
    w.set("output_size", w.low64(w.operand(1)))
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_output(ptr %frame, ptr %sp, i64 %gas)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {
    "evmaot_memory_range": _memory_range,
    "evmaot_keccak": _keccak,
    "evmaot_calldatacopy": _copy("evmaot_calldatacopy", ("input", "input_size")),
    "evmaot_codecopy": _copy("evmaot_codecopy", ("code", "code_size")),
    "evmaot_returndatacopy": _returndatacopy,
    "evmaot_mcopy": _mcopy,
    "evmaot_extcodecopy": _extcodecopy,
    "evmaot_log": _log,
    "evmaot_output": _output,
}
