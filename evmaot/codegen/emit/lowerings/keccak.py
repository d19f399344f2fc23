"""Lowering of KECCAK256.

May import: `emit.region`.
"""

from __future__ import annotations

from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.ir.program import Block, Instruction


def _keccak(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    """The helper reads offset and size from the native stack and writes the digest over the size."""
    emitter.stack.spill(only=2)
    sp = emitter.stack.top_pointer()
    emitter.stack.drop()
    emitter.stack.drop()
    emitter.push_place()
    emitter.help("evmaot_keccak", f"ptr %frame, ptr {sp}, i64 {emitter.gas}, i64 {emitter.rules['keccak_word']}")


LOWERINGS: dict[str, Lowering] = {"KECCAK256": _keccak}
