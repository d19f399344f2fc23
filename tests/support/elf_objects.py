"""What is in a relocatable object, as plain values."""

from __future__ import annotations

import io

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection


def symbols(data: bytes) -> list[tuple[str, str, str, bool]]:
    """(name, binding, visibility, defined) of each named symbol."""
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    return [
        (row.name, row["st_info"]["bind"], row["st_other"]["visibility"], row["st_shndx"] != "SHN_UNDEF")
        for row in table.iter_symbols()
        if row.name
    ]


def relocation_types(data: bytes) -> dict[str, set[int]]:
    """The kinds of relocations in each section of relocations."""
    sections = [s for s in ELFFile(io.BytesIO(data)).iter_sections() if isinstance(s, RelocationSection)]
    return {section.name: {entry["r_info_type"] for entry in section.iter_relocations()} for section in sections}


def loaded_sections(data: bytes) -> dict[str, int]:
    """Name and flags (SHF_*) of each section that takes memory."""
    sections = ELFFile(io.BytesIO(data)).iter_sections()
    return {s.name: s["sh_flags"] for s in sections if s["sh_flags"] & 2 and s["sh_size"]}
