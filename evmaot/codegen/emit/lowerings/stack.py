"""Lowerings of POP, PUSHn, DUPn, SWAPn: they only move values of the virtual stack.

May import: `emit.region`, `emit.values`.
"""

from __future__ import annotations

from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Word
from evmaot.codegen.ir.program import Block, Instruction


def _pop(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    emitter.stack.drop()


def _push(emitter: RegionEmitter, instruction: Instruction, _: Block) -> None:
    if instruction.is_hole:
        _push_hole(emitter, instruction)
        return
    emitter.stack.push(Constant(instruction.immediate))


def _push_hole(emitter: RegionEmitter, instruction: Instruction) -> None:
    """The immediate, big-endian in the running code, of which the template has no value."""
    assert instruction.row is not None
    writer, bits = emitter.writer, 8 * instruction.row.immediate_size
    place = writer.address(emitter.load_frame("code", "ptr", invariant=True), str(instruction.pc + 1))
    value = writer.value(f"load i{bits}, ptr {place}, align 1, !invariant.load !1")
    if bits < 256:
        value = writer.value(f"zext i{bits} {value} to i256")
    value = writer.value(f"call i256 @llvm.bswap.i256(i256 {value})")
    if bits < 256:
        value = writer.value(f"lshr i256 {value}, {256 - bits}")
    emitter.stack.push(Word(value))


def _dup(depth: int) -> Lowering:
    return lambda emitter, _, __: emitter.stack.duplicate(depth)


def _swap(depth: int) -> Lowering:
    return lambda emitter, _, __: emitter.stack.swap(depth)


LOWERINGS: dict[str, Lowering] = {
    "POP": _pop,
    **{f"PUSH{size}": _push for size in range(33)},
    **{f"DUP{depth}": _dup(depth) for depth in range(1, 17)},
    **{f"SWAP{depth}": _swap(depth) for depth in range(1, 17)},
}
