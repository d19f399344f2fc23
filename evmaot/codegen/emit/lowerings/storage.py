"""Lowerings of SLOAD, SSTORE, TLOAD, TSTORE.

May import: `emit.region`, `lowerings.environment`.
"""

from __future__ import annotations

from evmaot.codegen.emit.lowerings.environment import ask
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.ir.program import Block, Instruction


def _sload(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    key = emitter.address_of(emitter.stack.pop(), 0)
    place = emitter.push_place()
    cold = emitter.rules["cold_sload"]
    emitter.help("evmaot_sload", f"ptr %frame, i64 {emitter.gas}, ptr {key}, ptr {place}, i64 {cold}")


def _sstore(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    rules = emitter.rules
    numbers = [rules["sstore_sentry"], rules["cold_sstore"]]
    for gas, refund in rules["storage_schedule"]:
        numbers += [gas, refund]
    table = emitter.rule_table("sstore_rules", tuple(numbers))
    key, value = (emitter.address_of(emitter.stack.pop(), slot) for slot in range(2))
    emitter.help("evmaot_sstore", f"ptr %frame, i64 {emitter.gas}, ptr {key}, ptr {value}, ptr {table}")


def _tstore(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    key, value = (emitter.address_of(emitter.stack.pop(), slot) for slot in range(2))
    emitter.help("evmaot_tstore", f"ptr %frame, i64 {emitter.gas}, ptr {key}, ptr {value}")


LOWERINGS: dict[str, Lowering] = {
    "SLOAD": _sload,
    "SSTORE": _sstore,
    "TLOAD": ask("get_transient_storage"),
    "TSTORE": _tstore,
}
