"""Lowerings of ADD to SIGNEXTEND.

LLVM's own add, sub and mul are right and good; division, modulo, ADDMOD, MULMOD and EXP are helpers,
because LLVM's wide division is 10 to 70 times slower.  May import: `emit.region`, `emit.values`,
`builtins.exponent`.
"""

from __future__ import annotations

from evmaot.codegen.builtins.exponent import exponent_charge
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Value, Word
from evmaot.codegen.ir.program import Block, Instruction

MUL_WEIGHT = 1
SHIFT_WEIGHT = 4
"""What MUL and a shift by a variable cost LLVM, in units of the program's inline budget."""

MAX_VARIABLE_CHARGES = 8
"""Inline in one region."""


def binary(operation: str) -> Lowering:
    """A binary operation that LLVM and the EVM define alike, modulo 2^256."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        writer = emitter.writer
        left, right = (writer.word(emitter.stack.pop()) for _ in range(2))
        emitter.stack.push(Word(writer.value(f"{operation} i256 {left}, {right}")))

    return lower


def helper(name: str, operands: int) -> Lowering:
    """A helper on addresses of words; the result goes straight to its place on the stack."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        values = [emitter.stack.pop() for _ in range(operands)]
        pointers = [emitter.address_of(value, slot) for slot, value in enumerate(values)]
        pointers.append(emitter.push_place())
        emitter.help_void(name, ", ".join(f"ptr {pointer}" for pointer in pointers))

    return lower


def inline_or_helper(inline: Lowering, by_helper: Lowering, weight: int, constant_at: tuple[int, ...]) -> Lowering:
    """Inline while the program's share lasts or an operand at one of those depths is constant, else a helper."""

    def lower(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
        cheap = any(emitter.stack.peek_constant(depth) is not None for depth in constant_at)
        chosen = inline if cheap or emitter.may_expand(weight) else by_helper
        chosen(emitter, instruction, block)

    return lower


def _divide_by_power_of_two(name: str, by_helper: Lowering) -> Lowering:
    """DIV and MOD by a constant power of two are a shift and a mask."""

    def lower(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
        divisor = emitter.stack.peek_constant(1)
        if not divisor or divisor & (divisor - 1):
            by_helper(emitter, instruction, block)
            return
        number = emitter.writer.word(emitter.stack.pop())
        emitter.stack.drop()
        if name == "evmaot_div":
            text = f"lshr i256 {number}, {divisor.bit_length() - 1}"
        else:
            text = f"and i256 {number}, {divisor - 1}"
        emitter.stack.push(Word(emitter.writer.value(text)))

    return lower


def exponent_gas(emitter: RegionEmitter, exponent: int) -> int:
    """Dynamic gas of EXP by a constant (Yellow Paper H.1, EIP-160)."""
    return int(emitter.rules["exp_byte"]) * ((exponent.bit_length() + 7) // 8)


def _charge_exponent(emitter: RegionEmitter, exponent: Value) -> None:
    """Inline for a region's first ones only.

    LLVM's loop strength reduction takes time exponential in the number of variable subtractions from one
    value that goes around a loop: 128 of them took minutes.
    """
    price = str(emitter.rules["exp_byte"])
    if emitter.variable_charges < MAX_VARIABLE_CHARGES:
        emitter.variable_charges += 1
        emitter.charge_value(exponent_charge(emitter.writer, emitter.writer.word(exponent), price))
    else:
        place = emitter.address_of(exponent, 1)
        emitter.help("evmaot_exponent_gas", f"i64 {emitter.gas}, ptr {place}, i64 {price}")


def _exp(emitter: RegionEmitter, instruction: Instruction, block: Block) -> None:
    exponent = emitter.stack.peek_constant(1)
    if exponent is not None:
        emitter.charge(exponent_gas(emitter, exponent))
    else:
        base, value = emitter.stack.pop(), emitter.stack.pop()
        _charge_exponent(emitter, value)
        emitter.stack.push(value)
        emitter.stack.push(base)
    _EXP_HELPER(emitter, instruction, block)


def _signextend(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    writer = emitter.writer
    index, value = emitter.stack.pop(), emitter.stack.pop()
    if isinstance(index, Constant):
        if index.number >= 31:
            emitter.stack.push(value)
            return
        shift = str(248 - 8 * index.number)
        raised = writer.value(f"shl i256 {writer.word(value)}, {shift}")
        emitter.stack.push(Word(writer.value(f"ashr i256 {raised}, {shift}")))
        return
    place = writer.word(index)
    whole = writer.value(f"icmp ugt i256 {place}, 30")
    wanted = writer.value(f"sub i256 248, {writer.value(f'shl i256 {place}, 3')}")
    amount = writer.value(f"select i1 {whole}, i256 0, i256 {wanted}")
    raised = writer.value(f"shl i256 {writer.word(value)}, {amount}")
    emitter.stack.push(Word(writer.value(f"ashr i256 {raised}, {amount}")))


_EXP_HELPER = helper("evmaot_exp", 2)

LOWERINGS: dict[str, Lowering] = {
    "ADD": binary("add"),
    "MUL": inline_or_helper(binary("mul"), helper("evmaot_mul", 2), MUL_WEIGHT, ()),
    "SUB": binary("sub"),
    "DIV": _divide_by_power_of_two("evmaot_div", helper("evmaot_div", 2)),
    "SDIV": helper("evmaot_sdiv", 2),
    "MOD": _divide_by_power_of_two("evmaot_mod", helper("evmaot_mod", 2)),
    "SMOD": helper("evmaot_smod", 2),
    "ADDMOD": helper("evmaot_addmod", 3),
    "MULMOD": helper("evmaot_mulmod", 3),
    "EXP": _exp,
    "SIGNEXTEND": inline_or_helper(_signextend, helper("evmaot_signextend", 2), SHIFT_WEIGHT, (0,)),
}
