"""ELF-64 as far as evmaot needs it: record layouts and numbers shared by linker, checker and loader.

Job: one spelling for each fact of the format.  Invariants: everything is little endian and 64 bits wide; the
names are those of the System V gABI, chapters 4 and 5, and of the processor supplements, so that they can be
looked up.  Pure data; may import: nothing of evmaot.
"""

from __future__ import annotations

import struct
from typing import Final

FILE_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
"""ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx."""
PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
"""type, flags, offset, vaddr, paddr, filesz, memsz, align."""
SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
"""name, type, flags, addr, offset, size, link, info, addralign, entsize."""
SYMBOL: Final = struct.Struct("<IBBHQQ")
"""name, info, other, shndx, value, size."""
RELOCATION: Final = struct.Struct("<QIIq")
"""Elf64_Rela with r_info taken apart: offset, type (low half), symbol (high half), addend."""
DYNAMIC_ENTRY: Final = struct.Struct("<QQ")
"""tag, value."""

IDENT: Final = b"\x7fELF\x02\x01\x01"
"""Magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT; the rest of the 16 bytes is the OS ABI (0 or 3) and zeroes."""

ET_REL: Final = 1
ET_DYN: Final = 3
EV_CURRENT: Final = 1

EM_X86_64: Final = 62
EM_AARCH64: Final = 183
MACHINES: Final[dict[str, int]] = {"x86_64": EM_X86_64, "aarch64": EM_AARCH64}
"""e_machine by the architecture's name in a target triple."""

PAGE_BYTES: Final[dict[int, int]] = {EM_X86_64: 0x1000, EM_AARCH64: 0x10000}
"""Largest page size that a kernel for the machine may use: segments must not share one."""
SMALLEST_PAGE_BYTES: Final = 0x1000

PT_NULL: Final = 0
PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
PT_NOTE: Final = 4
PT_PHDR: Final = 6
PT_GNU_EH_FRAME: Final = 0x6474E550
PT_GNU_STACK: Final = 0x6474E551
PT_GNU_RELRO: Final = 0x6474E552
PT_GNU_PROPERTY: Final = 0x6474E553

PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

SHT_NULL: Final = 0
SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_STRTAB: Final = 3
SHT_RELA: Final = 4
SHT_HASH: Final = 5
SHT_DYNAMIC: Final = 6
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8
SHT_REL: Final = 9
SHT_DYNSYM: Final = 11
SHT_INIT_ARRAY: Final = 14
SHT_FINI_ARRAY: Final = 15
SHT_PREINIT_ARRAY: Final = 16
SHT_GROUP: Final = 17
SHT_GNU_HASH: Final = 0x6FFFFFF6
SHT_X86_64_UNWIND: Final = 0x70000001

SHF_WRITE: Final = 1
SHF_ALLOC: Final = 2
SHF_EXECINSTR: Final = 4
SHF_MERGE: Final = 0x10
SHF_STRINGS: Final = 0x20
SHF_INFO_LINK: Final = 0x40
SHF_TLS: Final = 0x400

SHN_UNDEF: Final = 0
SHN_LORESERVE: Final = 0xFF00
SHN_ABS: Final = 0xFFF1
SHN_COMMON: Final = 0xFFF2

STB_LOCAL: Final = 0
STB_GLOBAL: Final = 1
STB_WEAK: Final = 2

STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STT_SECTION: Final = 3
STT_FILE: Final = 4
STT_TLS: Final = 6
STT_GNU_IFUNC: Final = 10

DT_NULL: Final = 0
DT_NEEDED: Final = 1
DT_PLTRELSZ: Final = 2
DT_PLTGOT: Final = 3
DT_HASH: Final = 4
DT_STRTAB: Final = 5
DT_SYMTAB: Final = 6
DT_RELA: Final = 7
DT_RELASZ: Final = 8
DT_RELAENT: Final = 9
DT_STRSZ: Final = 10
DT_SYMENT: Final = 11
DT_INIT: Final = 12
DT_FINI: Final = 13
DT_SONAME: Final = 14
DT_RPATH: Final = 15
DT_SYMBOLIC: Final = 16
DT_REL: Final = 17
DT_RELSZ: Final = 18
DT_RELENT: Final = 19
DT_PLTREL: Final = 20
DT_DEBUG: Final = 21
DT_TEXTREL: Final = 22
DT_JMPREL: Final = 23
DT_BIND_NOW: Final = 24
DT_INIT_ARRAY: Final = 25
DT_FINI_ARRAY: Final = 26
DT_INIT_ARRAYSZ: Final = 27
DT_FINI_ARRAYSZ: Final = 28
DT_RUNPATH: Final = 29
DT_FLAGS: Final = 30
DT_PREINIT_ARRAY: Final = 32
DT_PREINIT_ARRAYSZ: Final = 33
DT_RELRSZ: Final = 35
DT_RELR: Final = 36
DT_GNU_HASH: Final = 0x6FFFFEF5
DT_RELACOUNT: Final = 0x6FFFFFF9
DT_FLAGS_1: Final = 0x6FFFFFFB

DF_TEXTREL: Final = 4

R_X86_64_NONE: Final = 0
R_X86_64_64: Final = 1
R_X86_64_PC32: Final = 2
R_X86_64_PLT32: Final = 4
R_X86_64_RELATIVE: Final = 8
R_X86_64_GOTPCREL: Final = 9
R_X86_64_PC64: Final = 24
R_X86_64_IRELATIVE: Final = 37

R_AARCH64_NONE: Final = 0
R_AARCH64_ABS64: Final = 257
R_AARCH64_PREL64: Final = 260
R_AARCH64_PREL32: Final = 261
R_AARCH64_ADR_PREL_PG_HI21: Final = 275
R_AARCH64_ADD_ABS_LO12_NC: Final = 277
R_AARCH64_LDST8_ABS_LO12_NC: Final = 278
R_AARCH64_JUMP26: Final = 282
R_AARCH64_CALL26: Final = 283
R_AARCH64_LDST16_ABS_LO12_NC: Final = 284
R_AARCH64_LDST32_ABS_LO12_NC: Final = 285
R_AARCH64_LDST64_ABS_LO12_NC: Final = 286
R_AARCH64_LDST128_ABS_LO12_NC: Final = 299
R_AARCH64_RELATIVE: Final = 1027
R_AARCH64_IRELATIVE: Final = 1032


def align_up(value: int, alignment: int) -> int:
    """The least multiple of `alignment` (a power of two) that is not below `value`."""
    return (value + alignment - 1) & -alignment


def gnu_hash(name: bytes) -> int:
    """The hash of DT_GNU_HASH: 32 bits (Bernstein, times 33, start 5381)."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value
