"""The assembler: each form of operand, labels, disassemblers' offsets, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.inputs.formats.assembly import AssemblyError, assemble
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, Problem


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("STOP", "00"),
        ("add", "01"),
        ("PUSH1 0x40", "6040"),
        ("PUSH1 64", "6040"),
        ("PUSH2 1", "610001"),
        ("PUSH1 0x0040", "6040"),
        ("PUSH0", "5f"),
        ("PUSH 0", "6000"),
        ("PUSH 0x100", "610100"),
        ("PUSH32 " + str(2**256 - 1), "7f" + "ff" * 32),
        ("SHA3 DIFFICULTY SUICIDE", "2044ff"),
        ("DATA 0xc0ffee", "c0ffee"),
        ("a: PUSH1 @a JUMP", "5b600056"),
        ("PUSH @end JUMP STOP end:", "6100055600" + "5b"),
        ("STOP ; x\nSTOP # x\nSTOP // x\n\n", "000000"),
        ("PUSH1 0x80 PUSH1 0x40 MSTORE", "6080604052"),
        ("00000000: PUSH1 0x40\n00000002: MLOAD", "604051"),
        ("0x0: PUSH10 1\n0xb: STOP\n0000c: STOP", "69" + "00" * 9 + "01" + "0000"),
    ],
)
def test_text_becomes_code(text: str, code: str) -> None:
    assert assemble(text).hex() == code


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("PUSH1", "line 1: PUSH1 has no operand"),
        ("STOP\nNOPE", "line 2: no opcode has the name NOPE"),
        ("PUSH1 0x100", "does not fit into 1 bytes"),
        ("PUSH " + hex(2**256), "does not fit into 32 bytes"),
        ("PUSH1 abc", "abc is no number"),
        ("PUSH1 -1", "-1 is no number"),
        ("PUSH1 " + "9" * 5000, "is no number"),
        ("PUSH1 @nowhere", "there is no label nowhere"),
        ("a: a:", "the label a is there twice"),
        ("DATA 0xabc", "DATA takes"),
        ("DATA 12", "DATA takes"),
        ("ADD 5", "no opcode has the name 5"),
        ("PUSH33 1", "no opcode has the name PUSH33"),
        ("00: STOP\n02: STOP", "02: is not the offset here, which is 0x1"),
        ("x!: STOP", "neither a label nor an offset"),
        ("DATA 0x" + "00" * 256 + " a: PUSH1 @a", "the label a does not fit into 1 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble(text)
    assert says in str(caught.value)


def test_every_opcode_of_the_table_can_be_written() -> None:
    for mnemonic, row in BY_MNEMONIC.items():
        size = row.immediate_size
        text = f"{mnemonic} 0x{'ab' * size}" if size else mnemonic
        assert assemble(text) == bytes([row.value]) + b"\xab" * size


@pytest.mark.parametrize("text", ["ADD", "PUSH1 1 POP", "start: JUMPDEST", "; comment\n  stop\n"])
def test_assembly_is_recognised_by_its_first_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(text)
    (item,) = read_inputs([path])
    assert isinstance(item, ContractSource)


@pytest.mark.parametrize("text", ["And so on.\nThe end", "Call me: now", "Notes: byte order", "Return the code"])
def test_prose_in_a_directory_is_not_assembly(text: str, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text(text)
    (item,) = read_inputs([tmp_path])
    assert isinstance(item, Problem)
    assert (item.code, item.severity) == ("unknown_format", "skip")


def test_a_fault_is_a_problem_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.asm"
    path.write_text("STOP\nPUSH1 0x1234\n")
    (item,) = read_inputs([path])
    assert isinstance(item, Problem)
    assert (item.code, item.subject) == ("assembly_error", str(path))
    assert "line 2" in item.message
