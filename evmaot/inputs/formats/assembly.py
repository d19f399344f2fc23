"""Assembly text: mnemonics with operands, labels, data.

    start:                  ; a label emits JUMPDEST
        PUSH1 0x40 MSTORE   # several instructions on a line; ; # and // begin comments
        PUSH @start JUMP    ; PUSH without a size: the smallest that fits, of a label always two bytes
        DATA 0xc0ffee       ; bytes as they are

Disassemblers write the offset in front (`0000001a: PUSH1 0x40`, hexadecimal): accepted and checked.
Names of opcodes are those of `evm/opcodes.py`, of any fork, in any case.
May import: evm.opcodes, inputs.{contract,context,documents,source}, formats.base.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.inputs.context import Context
from evmaot.inputs.contract import accept_code
from evmaot.inputs.documents import TextDocument
from evmaot.inputs.formats.base import Format
from evmaot.inputs.source import Item

LABEL_SIZE_BYTES = 2
"""Enough for 65,536 bytes of code, more than any fork runs."""
MAX_PUSH_SIZE_BYTES = 32

_DIRECTIVES = ("PUSH", "DATA")
_ALIASES = {"SHA3": "KECCAK256", "DIFFICULTY": "PREVRANDAO", "SUICIDE": "SELFDESTRUCT"}
_COMMENT = re.compile(r";|#|//")
_LABEL = re.compile(r"([A-Za-z_.$][\w.$]*):$", re.ASCII)
_OFFSET = re.compile(r"((?:0[xX][0-9a-fA-F]|[0-9])[0-9a-fA-F]*):$")
_HEX_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+$")
_OPERAND = re.compile(r"@|[0-9]")
_NUMBER = re.compile(r"[0-9]+$")


class AssemblyError(Exception):
    """A text that is not assembly; says the line and what is wrong."""


@dataclass(slots=True)
class _Assembler:
    code: bytearray = field(default_factory=bytearray)
    labels: dict[str, int] = field(default_factory=dict)
    uses: list[tuple[int, int, str, int]] = field(default_factory=list)
    """Of labels: offset and size in the code, name, line."""

    def line(self, number: int, tokens: list[str]) -> None:
        """Assemble one line."""
        position = 0
        while position < len(tokens):
            token = tokens[position]
            position += 1
            if token.endswith(":"):
                self._mark(number, token)
                continue
            mnemonic = _canonical(token)
            takes = mnemonic in _DIRECTIVES or (mnemonic in BY_MNEMONIC and BY_MNEMONIC[mnemonic].immediate_size)
            operand = tokens[position] if takes and position < len(tokens) else None
            if takes and operand is None:
                raise AssemblyError(f"line {number}: {token} has no operand")
            position += operand is not None
            self._instruction(number, mnemonic, operand)

    def _mark(self, number: int, token: str) -> None:
        if label := _LABEL.match(token):
            name = label.group(1)
            if name in self.labels:
                raise AssemblyError(f"line {number}: the label {name} is there twice")
            self.labels[name] = len(self.code)
            self.code.append(BY_MNEMONIC["JUMPDEST"].value)
        elif offset := _OFFSET.match(token):
            if int(offset.group(1), 16) != len(self.code):
                raise AssemblyError(f"line {number}: {token} is not the offset here, which is {len(self.code):#x}")
        else:
            raise AssemblyError(f"line {number}: {token} is neither a label nor an offset")

    def _instruction(self, number: int, mnemonic: str, operand: str | None) -> None:
        if mnemonic == "DATA":
            self.code += _data(number, operand or "")
            return
        if mnemonic == "PUSH":
            size = LABEL_SIZE_BYTES if (operand or "").startswith("@") else _least_size(_value(number, operand or ""))
            mnemonic = f"PUSH{size}"
        opcode = BY_MNEMONIC.get(mnemonic)
        if opcode is None:
            raise AssemblyError(f"line {number}: no opcode has the name {mnemonic}")
        self.code.append(opcode.value)
        size = opcode.immediate_size
        if operand is None or not size:
            return
        if operand.startswith("@"):
            self.uses.append((len(self.code), size, operand[1:], number))
            self.code += bytes(size)
            return
        value = _value(number, operand)
        if value.bit_length() > 8 * size:
            raise AssemblyError(f"line {number}: {operand} does not fit into {size} bytes")
        self.code += value.to_bytes(size, "big")

    def finish(self) -> bytes:
        """Fill in the labels."""
        for offset, size, name, number in self.uses:
            if name not in self.labels:
                raise AssemblyError(f"line {number}: there is no label {name}")
            target = self.labels[name]
            if target.bit_length() > 8 * size:
                raise AssemblyError(f"line {number}: the label {name} does not fit into {size} bytes")
            self.code[offset : offset + size] = target.to_bytes(size, "big")
        return bytes(self.code)


def assemble(text: str) -> bytes:
    """The code of an assembly text.  AssemblyError."""
    assembler = _Assembler()
    for number, tokens in _tokens(text):
        assembler.line(number, tokens)
    return assembler.finish()


def _tokens(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        yield number, _COMMENT.split(line, maxsplit=1)[0].split()


def _canonical(token: str) -> str:
    name = token.upper()
    return _ALIASES.get(name, name)


def _value(number: int, operand: str) -> int:
    if _HEX_NUMBER.match(operand):
        return int(operand, 16)
    # A decimal number of 32 bytes has 78 digits; more would only cost time.
    if _NUMBER.match(operand) and len(operand) <= 80:
        return int(operand)
    raise AssemblyError(f"line {number}: {operand} is no number: 0x and hexadecimal digits, or decimal digits")


def _least_size(value: int) -> int:
    # PUSH0 is not in every fork (EIP-3855), so zero takes one byte too.
    return min(max(1, (value.bit_length() + 7) // 8), MAX_PUSH_SIZE_BYTES)


def _data(number: int, operand: str) -> bytes:
    if not _HEX_NUMBER.match(operand) or len(operand) % 2:
        raise AssemblyError(f"line {number}: DATA takes 0x and an even number of hexadecimal digits")
    return bytes.fromhex(operand[2:])


def _recognise(document: Any) -> bool:
    """Whether the first line with more than labels reads as instructions; prose may begin with "And"."""
    if not isinstance(document, TextDocument):
        return False
    for _, tokens in _tokens(document.text):
        rest = [token for token in tokens if not token.endswith(":")]
        if rest:
            return _is_instruction(rest[0]) and all(_is_instruction(token) or _OPERAND.match(token) for token in rest)
    return False


def _is_instruction(token: str) -> bool:
    name = _canonical(token)
    return name in BY_MNEMONIC or name in _DIRECTIVES


def _read(document: Any, context: Context) -> Iterator[Item]:
    try:
        code = assemble(document.text)
    except AssemblyError as error:
        yield context.problem("assembly_error", str(error))
        return
    yield accept_code(context, code, context.name)


FORMAT = Format("assembly", "assembly text", _recognise, _read, sort="text")
