"""Lowerings of MLOAD, MSTORE, MSTORE8, MSIZE, MCOPY.

Fast path inline: one compare against the size of memory; growth is a helper.  Memory only grows, so
a constant range that was checked is not checked again in the same chain.
May import: `emit.region`, `emit.values`.
"""

from __future__ import annotations

from evmaot.codegen.builtins.memory_operands import MEMORY_LIMIT_BYTES
from evmaot.codegen.builtins.writer import UNLIKELY
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Narrow, Value, Word
from evmaot.codegen.ir.program import Block, Instruction


def memory_pointer(emitter: RegionEmitter, offset: Value, size: int) -> str:
    """Address of `size` bytes of memory at `offset`, paid for and grown."""
    writer = emitter.writer
    if isinstance(offset, Constant):
        end = min(offset.number, MEMORY_LIMIT_BYTES) + size
        if end > emitter.memory_known:
            _grow(emitter, str(end))
            emitter.memory_known = end
        start = str(min(offset.number, MEMORY_LIMIT_BYTES))
    else:
        start = writer.saturated(offset)
        _grow(emitter, writer.op("add", start, str(size)))
    return writer.address(emitter.load_frame("memory_base", "ptr"), start)


def _grow(emitter: RegionEmitter, end: str) -> None:
    writer = emitter.writer
    emitter.context.used.add("evmaot_memory_grow")
    needed = writer.compare("ugt", end, emitter.load_frame("memory_size"))
    grow, fits = writer.label(), writer.label()
    before, gas = writer.block, emitter.gas
    writer.branch(needed, grow, fits, UNLIKELY)
    writer.start(grow)
    left = writer.value(f"call i64 @evmaot_memory_grow(ptr %frame, i64 {gas}, i64 {end})")
    emitter.set_gas_or_fail(left)
    grown = writer.block
    writer.jump(fits)
    writer.start(fits)
    emitter.gas = writer.phi("i64", (gas, before), (left, grown))


def _mload(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    writer = emitter.writer
    pointer = memory_pointer(emitter, emitter.stack.pop(), 32)
    raw = writer.value(f"load i256, ptr {pointer}, align 1")
    emitter.stack.push(Word(writer.value(f"call i256 @llvm.bswap.i256(i256 {raw})")))


def _mstore(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    writer = emitter.writer
    offset, value = emitter.stack.pop(), emitter.stack.pop()
    pointer = memory_pointer(emitter, offset, 32)
    if isinstance(value, Constant):
        text = str(int.from_bytes(value.number.to_bytes(32, "big"), "little"))
    else:
        text = writer.value(f"call i256 @llvm.bswap.i256(i256 {writer.word(value)})")
    writer.do(f"store i256 {text}, ptr {pointer}, align 1")


def _mstore8(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    writer = emitter.writer
    offset, value = emitter.stack.pop(), emitter.stack.pop()
    pointer = memory_pointer(emitter, offset, 1)
    low = writer.value(f"trunc i256 {writer.word(value)} to i8")
    writer.do(f"store i8 {low}, ptr {pointer}, align 1")


def _msize(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    emitter.stack.push(Narrow(emitter.load_frame("memory_size")))


def copy_operands(emitter: RegionEmitter, helper: str, count: int, *prices: int) -> None:
    """A helper that reads `count` operands from the native stack and pushes nothing."""
    emitter.stack.spill(only=count)
    sp = emitter.stack.top_pointer()
    for _ in range(count):
        emitter.stack.drop()
    rest = "".join(f", i64 {price}" for price in prices)
    emitter.help(helper, f"ptr %frame, ptr {sp}, i64 {emitter.gas}{rest}")


def copy(helper: str) -> Lowering:
    """CALLDATACOPY and its like: three operands and the price of a word."""
    return lambda emitter, _, __: copy_operands(emitter, helper, 3, emitter.rules["copy_word"])


LOWERINGS: dict[str, Lowering] = {
    "MLOAD": _mload,
    "MSTORE": _mstore,
    "MSTORE8": _mstore8,
    "MSIZE": _msize,
    "MCOPY": copy("evmaot_mcopy"),
}
