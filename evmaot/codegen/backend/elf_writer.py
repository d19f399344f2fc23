"""The shape of a library's file: where things lie in it, and the records around code and constants.

Job: everything of a shared library except the linking proper.  Invariants: one exported symbol (`evmaot_table`),
no relocations, no needed libraries; each byte is a function of the arguments.  The file, in this order:

    R    file and program headers, .dynsym, .gnu.hash, .hash, .dynstr, .rodata
    R+X  .text
    R+W  .dynamic, read-only again once loaded (PT_GNU_RELRO)
    -    .symtab, .strtab, .shstrtab, section headers: for people's tools, not loaded

The dynamic section is writable because glibc before 2.35 writes absolute addresses into it.  Segments follow each
other in the file without padding: an address is congruent to its file offset modulo the page size, and each
segment starts in a page of its own.  May import: `evmaot.abi`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evmaot.abi import elf
from evmaot.abi.elf import align_up
from evmaot.abi.library import TABLE_SYMBOL

SMALLEST_ALIGNMENT: Final = 16
"""Of .rodata and .text, whatever their sections ask for."""
_PROGRAM_HEADER_COUNT: Final = 6
_DYNAMIC_ENTRY_COUNT: Final = 8
_TABLE_NAME_OFFSET: Final = 1
_SECTION_NAMES: Final = (
    "", ".dynsym", ".gnu.hash", ".hash", ".dynstr", ".rodata", ".text", ".dynamic", ".symtab", ".strtab", ".shstrtab",
)  # fmt: skip
_DYNSYM, _DYNSTR, _RODATA, _TEXT, _DYNAMIC, _SYMTAB, _STRTAB = (
    _SECTION_NAMES.index(name) for name in (".dynsym", ".dynstr", ".rodata", ".text", ".dynamic", ".symtab", ".strtab")
)


@dataclass(frozen=True, slots=True)
class Block:
    """A range of the file and its address; sizes and offsets in bytes."""

    offset: int
    address: int
    size_bytes: int

    @property
    def end(self) -> int:
        """Offset in the file of the byte after it."""
        return self.offset + self.size_bytes

    @property
    def address_end(self) -> int:
        """Address of the byte after it."""
        return self.address + self.size_bytes


@dataclass(frozen=True, slots=True)
class FunctionSymbol:
    """A function for disassemblers and profilers."""

    name: bytes
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Places of everything that is loaded."""

    machine: int
    soname: bytes
    dynsym: Block
    gnu_hash: Block
    hash: Block
    dynstr: Block
    rodata: Block
    text: Block
    dynamic: Block

    @property
    def relro_size_bytes(self) -> int:
        """Bytes that are made read-only after loading: to the end of the last page of .dynamic."""
        return align_up(self.dynamic.address_end, elf.SMALLEST_PAGE_BYTES) - self.dynamic.address


def _hash_tables() -> tuple[bytes, bytes]:
    """DT_GNU_HASH and DT_HASH of the one symbol, number 1: one bucket each."""
    value = elf.gnu_hash(TABLE_SYMBOL.encode())
    shift = 6
    bloom = 1 << value % 64 | 1 << (value >> shift) % 64
    gnu = struct.pack("<IIIIQII", 1, 1, 1, shift, bloom, 1, value | 1)
    return gnu, struct.pack("<IIIII", 1, 2, 1, 0, 0)


def make_plan(machine: int, soname: str, rodata: tuple[int, int], text: tuple[int, int]) -> Plan:
    """Place everything; `rodata` and `text` are (size in bytes, alignment), alignments at most 4096."""
    page_bytes = elf.PAGE_BYTES[machine]
    end = elf.FILE_HEADER.size + _PROGRAM_HEADER_COUNT * elf.PROGRAM_HEADER.size
    names = b"\0" + TABLE_SYMBOL.encode() + b"\0" + soname.encode("ascii") + b"\0"
    blocks = []
    gnu_hash, sysv_hash = _hash_tables()
    sizes = ((2 * elf.SYMBOL.size, 8), (len(gnu_hash), 8), (len(sysv_hash), 8), (len(names), 1), rodata)
    for size_bytes, alignment in sizes:
        # In the first segment addresses are file offsets.
        blocks.append(Block(align_up(end, alignment), align_up(end, alignment), size_bytes))
        end = blocks[-1].end
    address_end = end
    for size_bytes, alignment in (text, (_DYNAMIC_ENTRY_COUNT * elf.DYNAMIC_ENTRY.size, 8)):
        offset = align_up(end, alignment)
        blocks.append(Block(offset, align_up(address_end, page_bytes) + offset % page_bytes, size_bytes))
        end, address_end = blocks[-1].end, blocks[-1].address_end
    return Plan(machine, soname.encode("ascii"), *blocks)


def _program_headers(plan: Plan) -> bytes:
    page_bytes = elf.PAGE_BYTES[plan.machine]
    dynamic, relro = plan.dynamic, plan.relro_size_bytes
    rows = (
        (elf.PT_LOAD, elf.PF_R, Block(0, 0, plan.rodata.end), plan.rodata.end, page_bytes),
        (elf.PT_LOAD, elf.PF_R | elf.PF_X, plan.text, plan.text.size_bytes, page_bytes),
        (elf.PT_LOAD, elf.PF_R | elf.PF_W, dynamic, relro, page_bytes),
        (elf.PT_DYNAMIC, elf.PF_R | elf.PF_W, dynamic, dynamic.size_bytes, 8),
        (elf.PT_GNU_RELRO, elf.PF_R, dynamic, relro, 1),
        (elf.PT_GNU_STACK, elf.PF_R | elf.PF_W, Block(0, 0, 0), 0, 16),
    )
    assert len(rows) == _PROGRAM_HEADER_COUNT
    return b"".join(
        elf.PROGRAM_HEADER.pack(kind, flags, part.offset, part.address, part.address, part.size_bytes, memory, align)
        for kind, flags, part, memory, align in rows
    )


def _dynamic(plan: Plan) -> bytes:
    rows = (
        (elf.DT_SONAME, _TABLE_NAME_OFFSET + len(TABLE_SYMBOL) + 1),
        (elf.DT_HASH, plan.hash.address),
        (elf.DT_GNU_HASH, plan.gnu_hash.address),
        (elf.DT_STRTAB, plan.dynstr.address),
        (elf.DT_SYMTAB, plan.dynsym.address),
        (elf.DT_STRSZ, plan.dynstr.size_bytes),
        (elf.DT_SYMENT, elf.SYMBOL.size),
        (elf.DT_NULL, 0),
    )
    assert len(rows) == _DYNAMIC_ENTRY_COUNT
    return b"".join(elf.DYNAMIC_ENTRY.pack(*row) for row in rows)


def finish(image: bytearray, plan: Plan, table: Block, functions: Sequence[FunctionSymbol]) -> None:
    """Write all records into `image`, which ends with .text in place and relocated; append what follows it."""
    table_symbol = (elf.STB_GLOBAL << 4 | elf.STT_OBJECT, 0, _RODATA, table.address, table.size_bytes)
    dynstr = b"\0" + TABLE_SYMBOL.encode() + b"\0" + plan.soname + b"\0"
    gnu_hash, sysv_hash = _hash_tables()
    records = (
        (plan.dynsym, bytes(elf.SYMBOL.size) + elf.SYMBOL.pack(_TABLE_NAME_OFFSET, *table_symbol)),
        (plan.gnu_hash, gnu_hash),
        (plan.hash, sysv_hash),
        (plan.dynstr, dynstr),
        (plan.dynamic, _dynamic(plan)),
    )
    for block, record in records:
        assert len(record) == block.size_bytes
        if block.offset > len(image):
            image += bytes(block.offset - len(image))
        image[block.offset : block.end] = record

    symbols, strings = _symbol_table(functions, table_symbol)
    symtab = _append(image, symbols)
    strtab = _append(image, strings)
    shstrtab = _append(image, "\0".join((*_SECTION_NAMES, "")).encode())
    headers = _section_headers(plan, symtab, strtab, shstrtab, local_count=len(functions) + 1)
    section_table = _append(image, headers)
    image[: elf.FILE_HEADER.size] = elf.FILE_HEADER.pack(
        elf.IDENT.ljust(16, b"\0"), elf.ET_DYN, plan.machine, elf.EV_CURRENT, 0,
        elf.FILE_HEADER.size, section_table.offset, 0, elf.FILE_HEADER.size,
        elf.PROGRAM_HEADER.size, _PROGRAM_HEADER_COUNT,
        elf.SECTION_HEADER.size, len(_SECTION_NAMES), len(_SECTION_NAMES) - 1,
    )  # fmt: skip
    start = elf.FILE_HEADER.size
    image[start : start + _PROGRAM_HEADER_COUNT * elf.PROGRAM_HEADER.size] = _program_headers(plan)


def _append(image: bytearray, record: bytes) -> Block:
    """Add something that is not loaded, aligned to 8 bytes."""
    image += bytes(-len(image) % 8)
    block = Block(len(image), 0, len(record))
    image += record
    return block


def _symbol_table(
    functions: Sequence[FunctionSymbol], table_symbol: tuple[int, int, int, int, int]
) -> tuple[bytes, bytes]:
    """.symtab and .strtab: every function as a local symbol, then the table."""
    names: dict[bytes, int] = {TABLE_SYMBOL.encode(): _TABLE_NAME_OFFSET}
    end = _TABLE_NAME_OFFSET + len(TABLE_SYMBOL) + 1
    records = [bytes(elf.SYMBOL.size)]
    info, pack = elf.STB_LOCAL << 4 | elf.STT_FUNC, elf.SYMBOL.pack
    for function in functions:
        offset = names.get(function.name)
        if offset is None:
            offset = names[function.name] = end
            end += len(function.name) + 1
        records.append(pack(offset, info, 0, _TEXT, function.address, function.size_bytes))
    records.append(pack(_TABLE_NAME_OFFSET, *table_symbol))
    return b"".join(records), b"\0" + b"\0".join(names) + b"\0"


def _section_headers(plan: Plan, symtab: Block, strtab: Block, shstrtab: Block, *, local_count: int) -> bytes:
    alloc, code, writable = elf.SHF_ALLOC, elf.SHF_ALLOC | elf.SHF_EXECINSTR, elf.SHF_ALLOC | elf.SHF_WRITE
    rows = (
        (elf.SHT_NULL, 0, Block(0, 0, 0), 0, 0, 0, 0),
        (elf.SHT_DYNSYM, alloc, plan.dynsym, _DYNSTR, 1, 8, elf.SYMBOL.size),
        (elf.SHT_GNU_HASH, alloc, plan.gnu_hash, _DYNSYM, 0, 8, 0),
        (elf.SHT_HASH, alloc, plan.hash, _DYNSYM, 0, 8, 4),
        (elf.SHT_STRTAB, alloc, plan.dynstr, 0, 0, 1, 0),
        (elf.SHT_PROGBITS, alloc, plan.rodata, 0, 0, SMALLEST_ALIGNMENT, 0),
        (elf.SHT_PROGBITS, code, plan.text, 0, 0, SMALLEST_ALIGNMENT, 0),
        (elf.SHT_DYNAMIC, writable, plan.dynamic, _DYNSTR, 0, 8, elf.DYNAMIC_ENTRY.size),
        (elf.SHT_SYMTAB, 0, symtab, _STRTAB, local_count, 8, elf.SYMBOL.size),
        (elf.SHT_STRTAB, 0, strtab, 0, 0, 1, 0),
        (elf.SHT_STRTAB, 0, shstrtab, 0, 0, 1, 0),
    )
    packed, name_offset = [], 0
    for name, (kind, flags, block, link, info, alignment, entry_bytes) in zip(_SECTION_NAMES, rows, strict=True):
        place = (block.address, block.offset, block.size_bytes)
        packed.append(elf.SECTION_HEADER.pack(name_offset, kind, flags, *place, link, info, alignment, entry_bytes))
        name_offset += len(name) + 1
    return b"".join(packed)
