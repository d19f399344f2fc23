"""Bytes to instructions."""

from __future__ import annotations

import random

import pytest

from evmaot.codegen.frontend.decode import decode, decode_reachable, reachable_opcodes
from tests.support.assembler import asm


def pcs(code: bytes) -> list[int]:
    return [instruction.pc for instruction in decode(code)]


def test_a_push_takes_its_immediate_with_it() -> None:
    found = list(decode(asm("PUSH3=0x5b5b5b JUMPDEST")))
    assert [(i.pc, i.opcode, i.immediate) for i in found] == [(0, 0x62, 0x5B5B5B), (4, 0x5B, 0)]


@pytest.mark.parametrize(("code", "value"), [("60", 0), ("61ff", 0xFF00), ("7f01", 1 << 248), ("62aabb", 0xAABB00)])
def test_a_truncated_push_is_padded_behind(code: str, value: int) -> None:
    """Yellow Paper 9.4.1: code is zeros behind its end."""
    (instruction,) = decode(bytes.fromhex(code))
    assert instruction.immediate == value


def test_push0_has_no_immediate() -> None:
    assert pcs(b"\x5f\x5b") == [0, 1]


def test_every_byte_belongs_to_one_instruction() -> None:
    random_ = random.Random(1)
    for _ in range(50):
        code = random_.randbytes(300)
        sizes = [instruction.row.immediate_size if instruction.row else 0 for instruction in decode(code)]
        starts = pcs(code)
        assert starts == [sum(1 + size for size in sizes[:n]) for n in range(len(sizes))]
        assert len(code) <= starts[-1] + 1 + sizes[-1] <= len(code) + 32


@pytest.mark.parametrize("end", ["STOP", "JUMP", "RETURN", "REVERT", "INVALID", "SELFDESTRUCT"])
def test_what_follows_a_terminator_is_dead_until_a_jumpdest(end: str) -> None:
    code = asm(f"{end} ADD MUL JUMPDEST SUB")
    assert [i.pc for i in decode_reachable(code)] == [0, 3, 4]


@pytest.mark.parametrize("name", ["JUMPI", "CALL", "CREATE", "x0c", "PUSH0", "CLZ"])
def test_what_follows_anything_else_is_alive(name: str) -> None:
    """Also behind an opcode that some fork does not define: the answer is the same for every fork."""
    assert [i.pc for i in decode_reachable(asm(f"{name} ADD"))] == [0, 1]


def test_reachable_opcodes_do_not_hold_data_or_dead_code() -> None:
    assert reachable_opcodes(asm("PUSH2=0x0102 STOP MUL JUMPDEST ADD")) == frozenset((0x61, 0x00, 0x5B, 0x01))
    assert reachable_opcodes(b"") == frozenset()
