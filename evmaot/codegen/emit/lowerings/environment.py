"""Lowerings of ADDRESS to BLOBBASEFEE: what a frame knows of itself, its transaction and accounts.

May import: `emit.region`, `emit.values`, `evmaot.abi`, `lowerings.memory`.
"""

from __future__ import annotations

from evmaot.abi.layout import HOST_TABLE
from evmaot.codegen.emit.lowerings.memory import copy, copy_operands
from evmaot.codegen.emit.region import Lowering, RegionEmitter
from evmaot.codegen.emit.values import Constant, Narrow, Word
from evmaot.codegen.ir.program import Block, Instruction


def _frame_word(name: str) -> Lowering:
    return lambda emitter, _, __: emitter.stack.push(Word(emitter.load_frame(name, "i256", invariant=True)))


def _frame_size(name: str, *, invariant: bool) -> Lowering:
    return lambda emitter, _, __: emitter.stack.push(Narrow(emitter.load_frame(name, invariant=invariant)))


def environment_word(name: str) -> Lowering:
    """A word of the Environment record."""
    return lambda emitter, _, __: emitter.stack.push(Word(emitter.load_environment(name)))


def _account(service: str) -> Lowering:
    """BALANCE, EXTCODESIZE, EXTCODEHASH."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        address = emitter.address_of(emitter.stack.pop(), 0)
        place = emitter.push_place()
        cold = emitter.rules["cold_account"]
        arguments = f"ptr %frame, i64 {emitter.gas}, ptr {address}, ptr {place}, i64 {cold}"
        emitter.help("evmaot_account", f"{arguments}, i64 {HOST_TABLE.offset(service)}")

    return lower


def ask(service: str) -> Lowering:
    """A host function of one word to one word, without dynamic gas."""

    def lower(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
        key = emitter.address_of(emitter.stack.pop(), 0)
        place = emitter.push_place()
        arguments = f"ptr %frame, i64 {emitter.gas}, ptr {key}, ptr {place}"
        emitter.help("evmaot_ask", f"{arguments}, i64 {HOST_TABLE.offset(service)}")

    return lower


def _selfbalance(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    """EIP-1884."""
    key = emitter.frame_pointer("recipient")
    place = emitter.push_place()
    arguments = f"ptr %frame, i64 {emitter.gas}, ptr {key}, ptr {place}"
    emitter.help("evmaot_ask", f"{arguments}, i64 {HOST_TABLE.offset('get_balance')}")


def _calldataload(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    offset = emitter.writer.saturated(emitter.stack.pop())
    source = emitter.load_frame("input", "ptr", invariant=True)
    size = emitter.load_frame("input_size", invariant=True)
    place = emitter.push_place()
    emitter.help_void("evmaot_load_padded", f"ptr {source}, i64 {size}, i64 {offset}, ptr {place}")


def _codesize(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    emitter.stack.push(Constant(len(emitter.program.code)))


def _extcodecopy(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    copy_operands(emitter, "evmaot_extcodecopy", 4, emitter.rules["copy_word"], emitter.rules["cold_account"])


def _blobhash(emitter: RegionEmitter, _: Instruction, __: Block) -> None:
    index = emitter.address_of(emitter.stack.pop(), 0)
    place = emitter.push_place()
    emitter.help_void("evmaot_blobhash", f"ptr %frame, ptr {index}, ptr {place}")


LOWERINGS: dict[str, Lowering] = {
    "ADDRESS": _frame_word("recipient"),
    "BALANCE": _account("get_balance"),
    "ORIGIN": environment_word("origin"),
    "CALLER": _frame_word("sender"),
    "CALLVALUE": _frame_word("value"),
    "CALLDATALOAD": _calldataload,
    "CALLDATASIZE": _frame_size("input_size", invariant=True),
    "CALLDATACOPY": copy("evmaot_calldatacopy"),
    "CODESIZE": _codesize,
    "CODECOPY": copy("evmaot_codecopy"),
    "GASPRICE": environment_word("gas_price"),
    "EXTCODESIZE": _account("get_code_size"),
    "EXTCODECOPY": _extcodecopy,
    "RETURNDATASIZE": _frame_size("return_data_size", invariant=False),
    "RETURNDATACOPY": copy("evmaot_returndatacopy"),
    "EXTCODEHASH": _account("get_code_hash"),
    "SELFBALANCE": _selfbalance,
    "BASEFEE": environment_word("base_fee"),
    "BLOBHASH": _blobhash,
    "BLOBBASEFEE": environment_word("blob_base_fee"),
}
