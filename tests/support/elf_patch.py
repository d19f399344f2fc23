"""Changing single fields of ELF files, to make what no compiler of ours would emit."""

from __future__ import annotations

import io
import struct
from typing import Any

from elftools.elf.elffile import ELFFile

from evmaot.abi import elf


def parsed(data: bytes) -> Any:
    """An independent reader of the file.  Untyped: a test that finds no section is to fail right there."""
    return ELFFile(io.BytesIO(data))


def put(data: bytes, offset: int, form: str, value: int) -> bytes:
    """The file with one little-endian integer replaced; `form` is a letter of `struct`."""
    changed = bytearray(data)
    struct.pack_into("<" + form, changed, offset, value)
    return bytes(changed)


def section_header_offset(data: bytes, name: str) -> int:
    """Where the header of a section lies in the file."""
    file = parsed(data)
    return int(file["e_shoff"] + file.get_section_index(name) * elf.SECTION_HEADER.size)


def put_section(data: bytes, name: str, field: str, value: int) -> bytes:
    """The file with a field of a section's header replaced."""
    offset, form = {
        "type": (4, "I"), "flags": (8, "Q"), "offset": (24, "Q"), "size": (32, "Q"), "link": (40, "I"),
        "info": (44, "I"), "alignment": (48, "Q"), "entry_bytes": (56, "Q"),
    }[field]  # fmt: skip
    return put(data, section_header_offset(data, name) + offset, form, value)


def rename_section(data: bytes, old: str, new: str) -> bytes:
    """The file with a section's name replaced by one that is no longer."""
    assert len(new) <= len(old)
    file = parsed(data)
    start = file.get_section(file["e_shstrndx"])["sh_offset"] + file.get_section_by_name(old)["sh_name"]
    name = new.encode().ljust(len(old), b"\0")
    return data[:start] + name + data[start + len(name) :]


def put_symbol(data: bytes, name: str, field: str, value: int, table: str = ".symtab") -> bytes:
    """The file with a field of a symbol replaced."""
    file = parsed(data)
    section = file.get_section_by_name(table)
    index = next(index for index, symbol in enumerate(section.iter_symbols()) if symbol.name == name)
    offset, form = {"name": (0, "I"), "info": (4, "B"), "section": (6, "H"), "value": (8, "Q"), "size": (16, "Q")}[
        field
    ]
    return put(data, section["sh_offset"] + index * elf.SYMBOL.size + offset, form, value)


def put_relocation(data: bytes, section: str, kind: int, field: str, value: int) -> bytes:
    """The object with a field of the first relocation of a type in `section` (".text") replaced."""
    file = parsed(data)
    relocations = file.get_section_by_name(".rela" + section)
    index = next(i for i, relocation in enumerate(relocations.iter_relocations()) if relocation["r_info_type"] == kind)
    offset, form = {"offset": (0, "Q"), "type": (8, "I"), "symbol": (12, "I"), "addend": (16, "q")}[field]
    return put(data, relocations["sh_offset"] + index * elf.RELOCATION.size + offset, form, value)


def dynamic_entry_offset(data: bytes, tag: int) -> int:
    """Where a library's dynamic section has the entry with a tag."""
    file = parsed(data)
    section = file.get_section_by_name(".dynamic")
    start, count = section["sh_offset"], section["sh_size"] // elf.DYNAMIC_ENTRY.size
    for offset in range(start, start + count * elf.DYNAMIC_ENTRY.size, elf.DYNAMIC_ENTRY.size):
        if elf.DYNAMIC_ENTRY.unpack_from(data, offset)[0] == tag:
            return int(offset)
    raise LookupError(f"no dynamic entry with tag {tag}")


def put_dynamic(data: bytes, tag: int, new_tag: int, value: int | None = None) -> bytes:
    """The library with a dynamic entry's tag, and its value where one is given, replaced."""
    offset = dynamic_entry_offset(data, tag)
    data = put(data, offset, "Q", new_tag)
    return data if value is None else put(data, offset + 8, "Q", value)


def put_segment(data: bytes, kind: int, field: str, value: int, *, which: int = 0) -> bytes:
    """The library with a field of the n-th program header of a type replaced."""
    file = parsed(data)
    offsets = [
        file["e_phoff"] + index * elf.PROGRAM_HEADER.size
        for index in range(file["e_phnum"])
        if int.from_bytes(data[file["e_phoff"] + index * elf.PROGRAM_HEADER.size :][:4], "little") == kind
    ]
    names = ("type", "flags", "offset", "address", "physical", "file_bytes", "memory_bytes", "alignment")
    position = names.index(field)
    offset, form = (4 * position, "I") if position < 2 else (8 * (position - 1), "Q")
    return put(data, offsets[which] + offset, form, value)
