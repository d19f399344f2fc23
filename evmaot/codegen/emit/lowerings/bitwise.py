"""Lowerings of AND to CLZ.

Shift counts of 256 and more are undefined in LLVM and defined in the EVM (EIP-145): each variable
shift is guarded.  May import: `emit.region`, `emit.values`, `lowerings.arithmetic`.
"""

from __future__ import annotations

from evmaot.codegen.emit.lowerings.arithmetic import SHIFT_WEIGHT, binary, helper, inline_or_helper
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Flag, Narrow, Word
from evmaot.codegen.ir.program import Block, Instruction


def _logic(operation: str) -> Lowering:
    """AND, OR, XOR: of two flags it is a flag."""
    wide = binary(operation)

    def lower(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
        a, b = emitter.stack.pop(), emitter.stack.pop()
        if isinstance(a, Flag) and isinstance(b, Flag):
            emitter.stack.push(Flag(emitter.writer.value(f"{operation} i1 {a.bit_name}, {b.bit_name}")))
            return
        emitter.stack.push(b)
        emitter.stack.push(a)
        wide(emitter, instruction, block)

    return lower


def _not(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    value = emitter.writer.word(emitter.stack.pop())
    emitter.stack.push(Word(emitter.writer.value(f"xor i256 {value}, -1")))


def _byte(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    writer = emitter.writer
    index, value = emitter.stack.pop(), emitter.stack.pop()
    text = writer.word(value)
    if isinstance(index, Constant):
        if index.number > 31:
            emitter.stack.push(Constant(0))
            return
        raised = writer.value(f"lshr i256 {text}, {8 * (31 - index.number)}")
        emitter.stack.push(Word(writer.value(f"and i256 {raised}, 255")))
        return
    place = writer.word(index)
    outside = writer.value(f"icmp ugt i256 {place}, 31")
    wanted = writer.value(f"sub i256 248, {writer.value(f'shl i256 {place}, 3')}")
    amount = writer.value(f"select i1 {outside}, i256 0, i256 {wanted}")
    low = writer.value(f"trunc i256 {writer.value(f'lshr i256 {text}, {amount}')} to i8")
    wide = writer.value(f"zext i8 {low} to i64")
    emitter.stack.push(Narrow(writer.value(f"select i1 {outside}, i64 0, i64 {wide}")))


def _shift(operation: str) -> Lowering:
    """SHL, SHR, SAR (EIP-145): the count is on top."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        writer = emitter.writer
        count, value = emitter.stack.pop(), emitter.stack.pop()
        text = writer.word(value)
        if isinstance(count, Constant):
            if count.number > 255 and operation != "ashr":
                emitter.stack.push(Constant(0))
                return
            bits = min(count.number, 255)
            emitter.stack.push(Word(writer.value(f"{operation} i256 {text}, {bits}")) if bits else value)
            return
        amount = writer.word(count)
        inside = writer.value(f"icmp ult i256 {amount}, 256")
        limit = "255" if operation == "ashr" else "0"
        bounded = writer.value(f"select i1 {inside}, i256 {amount}, i256 {limit}")
        result = writer.value(f"{operation} i256 {text}, {bounded}")
        if operation != "ashr":
            result = writer.value(f"select i1 {inside}, i256 {result}, i256 0")
        emitter.stack.push(Word(result))

    return lower


def _clz(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    """EIP-7939: 256 for 0."""
    value = emitter.writer.word(emitter.stack.pop())
    emitter.stack.push(Word(emitter.writer.value(f"call i256 @llvm.ctlz.i256(i256 {value}, i1 false)")))


def _unless_constant(inline: Lowering, name: str) -> Lowering:
    """Inline for a constant count or index; else as the program's share of expansions allows."""
    return inline_or_helper(inline, helper(name, 2), SHIFT_WEIGHT, (0,))


LOWERINGS: dict[str, Lowering] = {
    "AND": _logic("and"),
    "OR": _logic("or"),
    "XOR": _logic("xor"),
    "NOT": _not,
    "BYTE": _unless_constant(_byte, "evmaot_byte"),
    "SHL": _unless_constant(_shift("shl"), "evmaot_shl"),
    "SHR": _unless_constant(_shift("lshr"), "evmaot_shr"),
    "SAR": _unless_constant(_shift("ashr"), "evmaot_sar"),
    "CLZ": _clz,
}
