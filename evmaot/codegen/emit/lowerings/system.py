"""Lowerings of CREATE to SELFDESTRUCT: suspensions and ends.

May import: `emit.region`, `evmaot.abi`, `codegen.builtins.system` (order of rule tables).
"""

from __future__ import annotations

from evmaot.abi.status import CallKind, Status
from evmaot.codegen.builtins.system import CALL_RULES, CREATE_RULES, SELFDESTRUCT_RULES
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.ir.program import Block, Instruction
from evmaot.errors import CompilerBug


def _numbers(emitter: RegionEmitter, names: tuple[str, ...]) -> tuple[int, ...]:
    """Fork parameters as 64-bit numbers: no limit is -1, unsigned the largest."""
    return tuple(-1 if emitter.rules[name] is None else int(emitter.rules[name]) for name in names)


def _suspend(kind: CallKind, operands: int) -> Lowering:
    """CALL*, CREATE*: the helper pays and fills the request; the driver runs the child."""
    status = Status.CREATE if kind in (CallKind.CREATE, CallKind.CREATE2) else Status.CALL

    def lower(emitter: RegionEmitter, _: Instruction, block: Block) -> None:
        if status is Status.CALL:
            helper, table = "evmaot_call", emitter.rule_table("call_rules", _numbers(emitter, CALL_RULES))
        else:
            names = CREATE_RULES if kind is CallKind.CREATE2 else CREATE_RULES[:-1]
            # Only CREATE2 hashes its init code: CREATE's table has no price for it.
            numbers = (*_numbers(emitter, names), 0)[: len(CREATE_RULES)]
            helper, table = "evmaot_create", emitter.rule_table(f"{kind.name.lower()}_rules", numbers)
        emitter.stack.spill()
        sp = emitter.stack.top_pointer()
        for _operand in range(operands):
            emitter.stack.drop()
        emitter.help(helper, f"ptr %frame, ptr {sp}, i64 {emitter.gas}, i64 {int(kind)}, ptr {table}")
        if block.resumes_at is None:
            raise CompilerBug(f"no resume point behind pc {block.pc}")
        emitter.suspend(status, block.resumes_at)

    return lower


def _output(status: Status) -> Lowering:
    """RETURN and REVERT."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        if emitter.stack.peek_constant(1) == 0:
            emitter.stack.drop()
            emitter.stack.drop()
        else:
            emitter.stack.spill(only=2)
            sp = emitter.stack.top_pointer()
            emitter.help("evmaot_output", f"ptr %frame, ptr {sp}, i64 {emitter.gas}")
        emitter.succeed(status)

    return lower


def _invalid(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    """EIP-141: never priced, so the emitter ends the block before; kept for completeness of the table."""
    emitter.exit("exit_invalid")


def _selfdestruct(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    table = emitter.rule_table("selfdestruct_rules", _numbers(emitter, SELFDESTRUCT_RULES))
    beneficiary = emitter.address_of(emitter.stack.pop(), 0)
    emitter.help("evmaot_selfdestruct", f"ptr %frame, i64 {emitter.gas}, ptr {beneficiary}, ptr {table}")
    emitter.succeed(Status.SELFDESTRUCT)


LOWERINGS: dict[str, Lowering] = {
    "CREATE": _suspend(CallKind.CREATE, 3),
    "CALL": _suspend(CallKind.CALL, 7),
    "CALLCODE": _suspend(CallKind.CALLCODE, 7),
    "RETURN": _output(Status.RETURN),
    "DELEGATECALL": _suspend(CallKind.DELEGATECALL, 6),
    "CREATE2": _suspend(CallKind.CREATE2, 4),
    "STATICCALL": _suspend(CallKind.STATICCALL, 6),
    "REVERT": _output(Status.REVERT),
    "INVALID": _invalid,
    "SELFDESTRUCT": _selfdestruct,
}
