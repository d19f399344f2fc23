"""Lowerings of POP, PUSHn, DUPn, SWAPn: they only move values of the virtual stack.

May import: `emit.region`, `emit.values`.
"""

from __future__ import annotations

from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant
from evmaot.codegen.ir.program import Block, Instruction


def _pop(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    emitter.stack.drop()


def _push(emitter: RegionEmitter, instruction: Instruction, _: Block) -> None:
    emitter.stack.push(Constant(instruction.immediate))


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
