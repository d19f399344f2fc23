"""Relocations: exact values, and refusal instead of a cut-off value."""

from __future__ import annotations

import struct

import pytest

from evmaot.abi import elf
from evmaot.codegen.backend.elf_reader import InputObject, InputSection
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.backend.relocations import RELOCATE, PlacedSection
from evmaot.codegen.options import Tier
from evmaot.errors import LinkError
from evmaot.target import Target
from tests.support.elf_patch import parsed, put_relocation
from tests.support.libraries import AARCH64, X86_64, compiled, entry_text, library_objects

ADDRESS = 0x40000
"""Address of the section under test; it begins at byte 64 of the image."""


def applied(machine: int, kind: int, target: int, addend: int, before: bytes = bytes(16), offset: int = 4) -> bytes:
    """A section of 16 bytes after one relocation at `offset`, the symbol being at `target`."""
    record = elf.RELOCATION.pack(offset, kind, 1, addend)
    section = InputSection(1, ".text", True, 16, memoryview(before), memoryview(record))
    symbols = [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0)]
    owner = InputObject(3, {1: section}, {}, symbols, 1, b"\0name\0")
    image = bytearray(64) + bytearray(before)
    RELOCATE[machine](image, PlacedSection(owner, section, 64, ADDRESS), {}, lambda _: target)
    assert image[:64] == bytes(64)
    return bytes(image[64:])


def field(machine: int, kind: int, target: int, addend: int = 0, instruction: int = 0) -> int:
    """The 32 bits at the place after relocation."""
    before = bytes(4) + struct.pack("<I", instruction) + bytes(8)
    after = applied(machine, kind, target, addend, before)
    assert (after[:4], after[8:]) == (before[:4], before[8:])
    return int.from_bytes(after[4:8], "little")


@pytest.mark.parametrize("kind", [elf.R_X86_64_PC32, elf.R_X86_64_PLT32])
@pytest.mark.parametrize("distance", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_x86_64_pc32_is_symbol_plus_addend_minus_place(kind: int, distance: int) -> None:
    assert field(elf.EM_X86_64, kind, ADDRESS + 4 + distance + 4, -4) == distance % 2**32


@pytest.mark.parametrize("kind", [elf.R_X86_64_PC32, elf.R_X86_64_PLT32])
@pytest.mark.parametrize("distance", [2**31, -(2**31) - 1])
def test_x86_64_pc32_that_does_not_fit_is_refused(kind: int, distance: int) -> None:
    with pytest.raises(LinkError) as caught:
        applied(elf.EM_X86_64, kind, ADDRESS + 4 + distance, 0)
    assert caught.value.reference == "relocation_overflow"
    assert (caught.value.context["offset"], caught.value.context["symbol"]) == (4, "name")


@pytest.mark.parametrize("distance", [0, 2**40, -(2**40)])
@pytest.mark.parametrize(
    ("machine", "kind"), [(elf.EM_X86_64, elf.R_X86_64_PC64), (elf.EM_AARCH64, elf.R_AARCH64_PREL64)]
)
def test_64_bit_distance(machine: int, kind: int, distance: int) -> None:
    after = applied(machine, kind, ADDRESS + 4 + distance - 8, 8)
    assert int.from_bytes(after[4:12], "little", signed=True) == distance


@pytest.mark.parametrize(
    ("machine", "kind", "last"),
    [
        (elf.EM_X86_64, elf.R_X86_64_PC32, 12),
        (elf.EM_X86_64, elf.R_X86_64_PLT32, 12),
        (elf.EM_X86_64, elf.R_X86_64_PC64, 8),
        (elf.EM_AARCH64, elf.R_AARCH64_PREL32, 12),
        (elf.EM_AARCH64, elf.R_AARCH64_CALL26, 12),
        (elf.EM_AARCH64, elf.R_AARCH64_PREL64, 8),
    ],
)
def test_a_relocation_outside_its_section_is_refused(machine: int, kind: int, last: int) -> None:
    applied(machine, kind, ADDRESS, 0, offset=last)
    for offset in (last + 1, 16, 2**63):
        with pytest.raises(LinkError) as caught:
            applied(machine, kind, ADDRESS, 0, offset=offset)
        assert caught.value.reference == "bad_object"


@pytest.mark.parametrize(("machine", "kind"), [(elf.EM_X86_64, 0), (elf.EM_AARCH64, 0)])
def test_relocation_none_changes_nothing(machine: int, kind: int) -> None:
    assert applied(machine, kind, ADDRESS, 99, b"unchanged bytes!") == b"unchanged bytes!"


@pytest.mark.parametrize("kind", [elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26])
@pytest.mark.parametrize("distance", [0, 4, -4, 2**27 - 4, -(2**27)])
def test_aarch64_branch_counts_words_and_keeps_its_opcode(kind: int, distance: int) -> None:
    # bl / b with every immediate bit set before: none may survive.
    found = field(elf.EM_AARCH64, kind, ADDRESS + 4 + distance, instruction=0x97FFFFFF)
    assert found == 0x94000000 | (distance >> 2) % 2**26


@pytest.mark.parametrize("distance", [2**27, -(2**27) - 4, 2, 1])
def test_aarch64_branch_out_of_range_or_misaligned_is_refused(distance: int) -> None:
    with pytest.raises(LinkError) as caught:
        applied(elf.EM_AARCH64, elf.R_AARCH64_CALL26, ADDRESS + 4 + distance, 0)
    assert caught.value.reference == "relocation_overflow"


@pytest.mark.parametrize("pages", [0, 1, 2, 3, -1, -5, 2**20 - 1, -(2**20)])
def test_aarch64_adrp_splits_the_page_distance(pages: int) -> None:
    found = field(
        elf.EM_AARCH64, elf.R_AARCH64_ADR_PREL_PG_HI21, ADDRESS + pages * 4096 + 0x123, instruction=0xF0FFFFE7
    )
    immediate = (found >> 5 & 0x7FFFF) << 2 | found >> 29 & 3
    assert immediate == pages % 2**21
    assert found & 0x9F00001F == 0x90000007


@pytest.mark.parametrize("pages", [2**20, -(2**20) - 1])
def test_aarch64_adrp_out_of_range_is_refused(pages: int) -> None:
    with pytest.raises(LinkError) as caught:
        applied(elf.EM_AARCH64, elf.R_AARCH64_ADR_PREL_PG_HI21, ADDRESS + pages * 4096, 0)
    assert caught.value.reference == "relocation_overflow"


LOW_12 = [
    (elf.R_AARCH64_ADD_ABS_LO12_NC, 1),
    (elf.R_AARCH64_LDST8_ABS_LO12_NC, 1),
    (elf.R_AARCH64_LDST16_ABS_LO12_NC, 2),
    (elf.R_AARCH64_LDST32_ABS_LO12_NC, 4),
    (elf.R_AARCH64_LDST64_ABS_LO12_NC, 8),
    (elf.R_AARCH64_LDST128_ABS_LO12_NC, 16),
]


@pytest.mark.parametrize(("kind", "size_bytes"), LOW_12)
@pytest.mark.parametrize("low", [0, 16, 0xFF0])
def test_aarch64_low_12_bits_count_accesses(kind: int, size_bytes: int, low: int) -> None:
    found = field(elf.EM_AARCH64, kind, 0x12345000, low, instruction=0xF97FFCE7)
    assert found >> 10 & 0xFFF == low // size_bytes
    assert found & 0xFFC003FF == 0xF94000E7


@pytest.mark.parametrize(("kind", "size_bytes"), [row for row in LOW_12 if row[1] > 1])
def test_aarch64_misaligned_access_is_refused(kind: int, size_bytes: int) -> None:
    with pytest.raises(LinkError) as caught:
        applied(elf.EM_AARCH64, kind, 0x1000 + size_bytes // 2, 0)
    assert caught.value.reference == "relocation_overflow"


@pytest.mark.parametrize("distance", [2**31, -(2**31) - 1])
def test_aarch64_prel32_that_does_not_fit_is_refused(distance: int) -> None:
    with pytest.raises(LinkError) as caught:
        applied(elf.EM_AARCH64, elf.R_AARCH64_PREL32, ADDRESS + 4 + distance, 0)
    assert caught.value.reference == "relocation_overflow"


@pytest.mark.parametrize(
    ("machine", "kind", "reference", "label"),
    [
        (elf.EM_X86_64, 1, "dynamic_relocation", "R_X86_64_64"),
        (elf.EM_X86_64, 10, "dynamic_relocation", "R_X86_64_32"),
        (elf.EM_X86_64, 11, "dynamic_relocation", "R_X86_64_32S"),
        (elf.EM_X86_64, 9, "got_relocation", "R_X86_64_GOTPCREL"),
        (elf.EM_X86_64, 41, "got_relocation", "R_X86_64_GOTPCRELX"),
        (elf.EM_X86_64, 42, "got_relocation", "R_X86_64_REX_GOTPCRELX"),
        (elf.EM_X86_64, 22, "thread_local", "R_X86_64_GOTTPOFF"),
        (elf.EM_X86_64, 19, "thread_local", "R_X86_64_TLSGD"),
        (elf.EM_X86_64, 200, "unknown_relocation", "200"),
        (elf.EM_AARCH64, 257, "dynamic_relocation", "R_AARCH64_ABS64"),
        (elf.EM_AARCH64, 311, "got_relocation", "R_AARCH64_ADR_GOT_PAGE"),
        (elf.EM_AARCH64, 541, "thread_local", "541"),
        (elf.EM_AARCH64, 264, "unknown_relocation", "264"),
    ],
)
def test_a_relocation_that_is_not_resolved_for_good_is_refused(
    machine: int, kind: int, reference: str, label: str
) -> None:
    with pytest.raises(LinkError) as caught:
        applied(machine, kind, ADDRESS, 0)
    error = caught.value
    assert (error.reference, error.context["relocation"], error.context["symbol"]) == (reference, label, "name")
    assert error.context["section"] == ".text"
    assert error.hint


def test_a_got_relocation_of_a_real_object_is_refused() -> None:
    text = "declare i32 @callee()\ndefine hidden ptr @taker() {\n  ret ptr @callee\n}\n"
    other = "define hidden i32 @callee() {\n  ret i32 1\n}\n"
    with pytest.raises(LinkError) as caught:
        link_shared_library((*library_objects(), compiled(text), compiled(other)), soname="x.so", target=X86_64)
    assert (caught.value.reference, caught.value.context["symbol"]) == ("got_relocation", "callee")


def test_a_relocation_to_a_symbol_that_does_not_exist_is_refused() -> None:
    data = put_relocation(compiled(entry_text(9)), ".text", elf.R_X86_64_PLT32, "symbol", 9999)
    with pytest.raises(LinkError) as caught:
        link_shared_library((*library_objects(), data), soname="x.so", target=X86_64)
    assert caught.value.reference == "bad_object"


@pytest.mark.parametrize(("target", "kind"), [(X86_64, 4), (AARCH64, 282)], ids=["x86_64", "aarch64"])
def test_an_unknown_relocation_to_a_symbol_that_does_not_exist_is_refused(target: Target, kind: int) -> None:
    data = put_relocation(compiled(entry_text(9), target), ".text", kind, "symbol", 9999)
    data = put_relocation(data, ".text", kind, "type", 5000)
    with pytest.raises(LinkError) as caught:
        link_shared_library((*library_objects(target=target), data), soname="x.so", target=target)
    assert caught.value.reference == "bad_object"


def relocation_kinds(target: Target, tier: Tier) -> set[int]:
    kinds: set[int] = set()
    for data in library_objects(target=target, tier=tier):
        for section in parsed(data).iter_sections("SHT_RELA"):
            if section.name != ".rela.eh_frame":
                kinds |= {relocation["r_info_type"] for relocation in section.iter_relocations()}
    return kinds


def test_the_linked_test_library_uses_every_relocation_that_is_supported() -> None:
    """So the tests that run it prove all of them, except the word-sized branches of data."""
    x86_64 = relocation_kinds(X86_64, Tier.FAST) | relocation_kinds(X86_64, Tier.OPTIMISED)
    assert x86_64 == {elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64}
    aarch64 = relocation_kinds(AARCH64, Tier.FAST) | relocation_kinds(AARCH64, Tier.OPTIMISED)
    assert aarch64 == {
        elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26, elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADD_ABS_LO12_NC,
        elf.R_AARCH64_LDST8_ABS_LO12_NC, elf.R_AARCH64_LDST16_ABS_LO12_NC, elf.R_AARCH64_LDST32_ABS_LO12_NC,
        elf.R_AARCH64_LDST64_ABS_LO12_NC, elf.R_AARCH64_LDST128_ABS_LO12_NC, elf.R_AARCH64_PREL32,
        elf.R_AARCH64_PREL64,
    }  # fmt: skip
