"""Lowerings of STOP, JUMP, JUMPI, PC, GAS, JUMPDEST.

May import: `emit.region`, `emit.values`, `codegen.ir`.
"""

from __future__ import annotations

from evmaot.abi.status import Status
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Narrow, Value
from evmaot.codegen.ir.program import Block, Instruction, JumpKind

MAX_SWITCH_TARGETS = 8
"""A jump to one of more known targets goes through the jump table: a search among many costs more."""


def _stop(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    emitter.succeed(Status.STOP)


def _go(emitter: RegionEmitter, target: Value, block: Block, *, keep: bool) -> None:
    """Leave the chain for a jump target; `keep=False`: on a side exit."""
    if isinstance(target, Constant):
        label = emitter.context.label_of_pc.get(target.number)
        if label is None:
            emitter.exit("exit_bad_jump")
            return
        emitter.go_to(label, keep=keep)
        return
    pc = emitter.writer.saturated(target)
    if block.jump is JumpKind.DYNAMIC or len(block.jump_labels) > MAX_SWITCH_TARGETS:
        emitter.go_to_pc(pc, keep=keep)
    else:
        emitter.go_to_one_of(pc, block.jump_labels)


def _jump(emitter: RegionEmitter, _: Instruction, block: Block) -> None:
    _go(emitter, emitter.stack.pop(), block, keep=True)


def _jumpi(emitter: RegionEmitter, _: Instruction, block: Block) -> None:
    target, condition = emitter.stack.pop(), emitter.stack.pop()
    if isinstance(condition, Constant) and not condition.number:
        return
    truth = emitter.writer.truth(condition)
    taken, following = emitter.writer.label(), emitter.writer.label()
    emitter.writer.branch(truth, taken, following)
    emitter.writer.start(taken)
    with emitter.side_exit():
        _go(emitter, target, block, keep=False)
    emitter.writer.start(following)
    emitter.terminated = False


def _pc(emitter: RegionEmitter, instruction: Instruction, _: Block) -> None:
    emitter.stack.push(Constant(instruction.pc))


def _gas(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    """The section that ends here has been charged: what is left is exact."""
    emitter.stack.push(Narrow(emitter.gas))


def _jumpdest(_: RegionEmitter, __: Instruction, ___: Block) -> None:
    """A mark; its gas is in its section."""


LOWERINGS: dict[str, Lowering] = {
    "STOP": _stop,
    "JUMP": _jump,
    "JUMPI": _jumpi,
    "PC": _pc,
    "GAS": _gas,
    "JUMPDEST": _jumpdest,
}
