"""Helpers of CALL*, CREATE* and SELFDESTRUCT.

Job: pay, and fill the frame's request; the driver runs the child.  `%rules` is a constant table of
fork parameters in the order of the opcode's row.  May import: `evmaot.abi`, `evmaot.evm.opcodes`,
`builtins.frame_writer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evmaot.abi.status import AccountFlag, CallKind, Status
from evmaot.codegen.builtins.frame_writer import FrameWriter, surcharge
from evmaot.codegen.builtins.writer import function
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.target import Target

CALL_RULES = BY_MNEMONIC["CALL"].parameters
CREATE_RULES = BY_MNEMONIC["CREATE2"].parameters
"""Also for CREATE, for which what it does not consult is 0."""
SELFDESTRUCT_RULES = BY_MNEMONIC["SELFDESTRUCT"].parameters
_WORD = 32


def _selfdestruct(_: Target) -> str:
    w = FrameWriter()
    w.fail_if_static()
    answer = w.host("selfdestruct", w.masked_address("%beneficiary"))
    cold = surcharge(w, answer, AccountFlag.COLD, w.rule(SELFDESTRUCT_RULES, "cold_selfdestruct"))
    gas = w.charge("%gas", cold)
    # EIP-150: the beneficiary does not exist; EIP-161: it is dead and value moves.
    missing = w.compare("eq", w.op("and", answer, str(int(AccountFlag.EXISTS))), "0")
    dead = w.compare("eq", w.op("and", answer, str(int(AccountFlag.ALIVE))), "0")
    moves = w.compare("ne", w.op("and", answer, str(int(AccountFlag.HAS_BALANCE))), "0")
    needs_value = w.compare("ne", w.rule(SELFDESTRUCT_RULES, "new_account_needs_value"), "0")
    creates = w.select(needs_value, w.op("and", dead, moves, "i1"), missing, "i1")
    gas = w.charge(gas, w.select(creates, w.rule(SELFDESTRUCT_RULES, "selfdestruct_new_account"), "0"))
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_selfdestruct(ptr %frame, i64 %gas, ptr %beneficiary, ptr %rules)", w.text())


def _call(_: Target) -> str:
    """All CALL*s: reads the operands, pays, fills the request.  EELS `calculate_message_call_gas`."""
    w = FrameWriter()
    has_value = w.compare("ult", "%kind", str(int(CallKind.DELEGATECALL)))
    shift = w.select(has_value, "0", str(_WORD))
    moved_sp = w.address("%sp", shift)  # so that operands behind the value have one place
    value_word = w.word(w.address("%sp", str(-3 * _WORD)))
    value = w.select(has_value, value_word, "0", "i256")
    pays = w.compare("ne", value, "0", "i256")
    is_call = w.compare("eq", "%kind", str(int(CallKind.CALL)))
    static = w.compare("ne", w.get("is_static"), "0")
    w.fail_if(w.op("and", w.op("and", is_call, pays, "i1"), static, "i1"), Status.STATIC_VIOLATION)
    offsets = [w.address(moved_sp, str(-_WORD * depth)) for depth in (4, 5, 6, 7)]
    gas = w.memory_range("%gas", offsets[0], offsets[1])
    gas = w.memory_range(gas, offsets[2], offsets[3])
    target = w.masked_address(w.operand(1))
    answer = w.host("account_status", target)
    gas = w.charge(gas, surcharge(w, answer, AccountFlag.COLD, w.rule(CALL_RULES, "cold_account")))
    gas = w.charge(gas, _call_extras(w, answer, is_call, pays))
    gas, given = _child_gas(w, gas, w.operand(0))
    stipend = w.select(pays, w.rule(CALL_RULES, "call_stipend"), "0")
    w.set("request_gas", w.op("add", given, stipend))
    w.set("request_kind", "%kind")
    w.set("request_target", w.word(target), "i256")
    w.set("request_value", value, "i256")
    names = ("request_input_offset", "request_input_size", "request_output_offset", "request_output_size")
    for name, pointer in zip(names, offsets, strict=True):
        w.set(name, w.low64(pointer))
    w.do(f"ret i64 {gas}")
    return function("i64 @evmaot_call(ptr %frame, ptr %sp, i64 %gas, i64 %kind, ptr %rules)", w.text())


def _call_extras(w: FrameWriter, answer: str, is_call: str, pays: str) -> str:
    """Value transfer, new account (EIP-161) and access to a delegation's target (EIP-7702)."""
    extra = w.select(pays, w.rule(CALL_RULES, "call_value"), "0")
    missing = w.compare("eq", w.op("and", answer, str(int(AccountFlag.EXISTS))), "0")
    dead = w.compare("eq", w.op("and", answer, str(int(AccountFlag.ALIVE))), "0")
    needs_value = w.compare("ne", w.rule(CALL_RULES, "new_account_needs_value"), "0")
    creates = w.select(needs_value, w.op("and", dead, pays, "i1"), missing, "i1")
    creates = w.op("and", creates, is_call, "i1")
    extra = w.op("add", extra, w.select(creates, w.rule(CALL_RULES, "new_account"), "0"))
    delegated = w.compare("ne", w.op("and", answer, str(int(AccountFlag.DELEGATED))), "0")
    delegate_cold = surcharge(w, answer, AccountFlag.DELEGATE_COLD, w.rule(CALL_RULES, "cold_account"))
    access = w.op("add", w.rule(CALL_RULES, "delegated_account"), delegate_cold)
    return w.op("add", extra, w.select(delegated, access, "0"))


def _child_gas(w: FrameWriter, gas: str, requested: str) -> tuple[str, str]:
    """Gas left and gas given: EIP-150 caps the ask at all but one 64th; before, too large an ask fails."""
    keeps = w.compare("ne", w.rule(CALL_RULES, "keeps_one_64th"), "0")
    kept = w.op("lshr", gas, "6")
    most = w.op("sub", gas, w.select(keeps, kept, "0"))
    wanted = w.word(requested)
    too_much = w.compare("ugt", wanted, w.value(f"zext i64 {most} to i256"), "i256")
    refused = w.op("and", too_much, w.op("xor", keeps, "true", "i1"), "i1")
    w.fail_if(refused)
    given = w.select(too_much, most, w.low64(requested))
    return w.op("sub", gas, given), given


def _create(_: Target) -> str:
    """CREATE and CREATE2: value, offset, size, and a salt."""
    w = FrameWriter()
    w.fail_if_static()
    offset, size_word = w.operand(1), w.operand(2)
    gas = w.memory_range("%gas", offset, size_word)
    size = w.low64(size_word)
    limit = w.rule(CREATE_RULES, "max_initcode_size_bytes")
    w.fail_if(w.compare("ugt", size, limit))  # EIP-3860; -1 where there is no limit
    words = w.words(size)
    gas = w.charge(gas, w.op("mul", words, w.rule(CREATE_RULES, "initcode_word")))
    salted = w.compare("eq", "%kind", str(int(CallKind.CREATE2)))
    hashing = w.op("mul", words, w.rule(CREATE_RULES, "keccak_word"))
    gas = w.charge(gas, w.select(salted, hashing, "0"))
    keeps = w.compare("ne", w.rule(CREATE_RULES, "keeps_one_64th"), "0")
    given = w.op("sub", gas, w.select(keeps, w.op("lshr", gas, "6"), "0"))
    w.set("request_gas", given)
    w.set("request_kind", "%kind")
    w.set("request_value", w.word(w.operand(0)), "i256")
    # CREATE has no fourth operand: the word there may lie below the stack and is not read.
    salt_at = w.select(salted, w.operand(3), size_word, "ptr")
    w.set("request_salt", w.word(salt_at), "i256")
    w.set("request_input_offset", w.low64(offset))
    w.set("request_input_size", size)
    w.do(f"ret i64 {w.op('sub', gas, given)}")
    return function("i64 @evmaot_create(ptr %frame, ptr %sp, i64 %gas, i64 %kind, ptr %rules)", w.text())


BODIES: Mapping[str, Callable[[Target], str]] = {
    "evmaot_selfdestruct": _selfdestruct,
    "evmaot_call": _call,
    "evmaot_create": _create,
}
