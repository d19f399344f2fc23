"""Lowerings of LT to ISZERO.  A comparison stays a flag until it is needed as a word.

May import: `emit.region`, `emit.values`.
"""

from __future__ import annotations

from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Flag
from evmaot.codegen.ir.program import Block, Instruction


def _compare(condition: str) -> Lowering:
    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        writer = emitter.writer
        left, right = (writer.word(emitter.stack.pop()) for _ in range(2))
        emitter.stack.push(Flag(writer.value(f"icmp {condition} i256 {left}, {right}")))

    return lower


def _iszero(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    value = emitter.stack.pop()
    emitter.stack.push(Flag(emitter.writer.value(f"xor i1 {emitter.writer.truth(value)}, true")))


LOWERINGS: dict[str, Lowering] = {
    "LT": _compare("ult"),
    "GT": _compare("ugt"),
    "SLT": _compare("slt"),
    "SGT": _compare("sgt"),
    "EQ": _compare("eq"),
    "ISZERO": _iszero,
}
