"""What a published library may be, checked on its bytes before anyone loads it.

Job: name the first rule that a library breaks; a loader is never asked to load one that breaks any.  `dlopen`
trusts every offset in a file, so each one that it follows is checked here: segments, dynamic section, hash tables,
symbols, relocations, and the library's own table.  Invariants: no input makes this module raise or loop; it reads
what a loader reads (program headers and the dynamic section) and believes no section header.  Sources: System V
gABI chapter 5; glibc's elf/dl-load.c for what it assumes.  May import: `evmaot.abi`, errors.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NoReturn

from evmaot.abi import elf
from evmaot.abi.elf import align_up
from evmaot.abi.library import HEADER, TABLE_SYMBOL, ParsedTable, parse_table, table_size_bytes
from evmaot.errors import LoadError

RULES: Final[dict[str, str]] = {
    "elf_header": "a little-endian 64-bit ELF shared library",
    "machine": "made for the expected machine",
    "program_headers": "program headers inside the file, at most 16, of known types",
    "section_headers": "section headers inside the file",
    "segments": "segments inside the file, readable, ascending, page-aligned, each in pages of its own",
    "executable_stack": "asks for a stack that is not executable",
    "write_execute": "no segment is both writable and executable",
    "writable_data": "no memory stays writable once loaded",
    "dynamic_section": "one dynamic section, inside a writable segment, ended by DT_NULL",
    "dynamic_tag": "only entries in the dynamic section that evmaot knows",
    "needed": "needs no other library",
    "constructor": "runs no code when it is loaded or unloaded",
    "search_path": "has no RPATH or RUNPATH",
    "text_relocation": "no relocation of read-only memory",
    "ifunc": "no code chooses functions at load time",
    "relocation": "only relocations that add the base address to a word of writable memory",
    "hash_table": "a hash table inside the library, without loops",
    "symbols": "symbols and their names inside the library",
    "undefined_symbol": "no undefined symbol",
    "exports": "exports evmaot_table and nothing else",
    "table": "its table lies in read-only memory, is sorted and has a known layout",
    "entry_address": "every entry of the table lies in code",
}
"""Each rule by its name, in the order of checking; ``elf_rule:<name>`` is the reason of a refusal."""

MAX_SPAN_BYTES: Final = 1 << 30
_MAX_ALIGNMENT_BYTES: Final = 1 << 21
_MAX_PROGRAM_HEADERS: Final = 16
_MAX_SYMBOLS: Final = 1024
_MAX_RELOCATIONS: Final = 1 << 20
_MAX_NAME_BYTES: Final = 256
_MAX_BUCKETS: Final = 4096

_MAPPED_TYPES: Final = (elf.PT_DYNAMIC, elf.PT_NOTE, elf.PT_PHDR, elf.PT_GNU_EH_FRAME, elf.PT_GNU_PROPERTY)
"""Headers that point into a segment."""
_CONSTRUCTOR_TAGS: Final = frozenset(
    (elf.DT_INIT, elf.DT_FINI, elf.DT_INIT_ARRAY, elf.DT_FINI_ARRAY, elf.DT_INIT_ARRAYSZ, elf.DT_FINI_ARRAYSZ,
     elf.DT_PREINIT_ARRAY, elf.DT_PREINIT_ARRAYSZ)
)  # fmt: skip
_KNOWN_TAGS: Final = frozenset(
    (elf.DT_SONAME, elf.DT_HASH, elf.DT_GNU_HASH, elf.DT_STRTAB, elf.DT_SYMTAB, elf.DT_STRSZ, elf.DT_SYMENT,
     elf.DT_SYMBOLIC, elf.DT_BIND_NOW, elf.DT_FLAGS, elf.DT_FLAGS_1, elf.DT_RELA, elf.DT_RELASZ, elf.DT_RELAENT,
     elf.DT_RELACOUNT)
)  # fmt: skip
_RELOCATION_TAGS: Final = frozenset(
    (elf.DT_REL, elf.DT_RELSZ, elf.DT_RELENT, elf.DT_RELR, elf.DT_RELRSZ, elf.DT_JMPREL, elf.DT_PLTRELSZ,
     elf.DT_PLTREL, elf.DT_PLTGOT)
)  # fmt: skip
_KNOWN_FLAGS: Final = 2 | 8
"""DF_SYMBOLIC, DF_BIND_NOW."""
_KNOWN_FLAGS_1: Final = 1
"""DF_1_NOW."""
_RELATIVE: Final = {elf.EM_X86_64: elf.R_X86_64_RELATIVE, elf.EM_AARCH64: elf.R_AARCH64_RELATIVE}
_IRELATIVE: Final = {elf.EM_X86_64: elf.R_X86_64_IRELATIVE, elf.EM_AARCH64: elf.R_AARCH64_IRELATIVE}


@dataclass(frozen=True, slots=True)
class Segment:
    """What one PT_LOAD header says; addresses relative to the library's base, sizes in bytes."""

    flags: int
    offset: int
    address: int
    file_bytes: int
    memory_bytes: int

    @property
    def address_end(self) -> int:
        """Address of the byte after it."""
        return self.address + self.memory_bytes


@dataclass(frozen=True, slots=True)
class LibraryLayout:
    """What a loader must know of a library that keeps all rules."""

    machine: int
    segments: tuple[Segment, ...]
    """Ascending; no two share a page of the machine's smallest page size."""
    span_bytes: int
    """Bytes from the base to the end of the last segment."""
    table_address: int
    """Relative to the base."""
    table_offset: int
    """In the file."""
    table_size_bytes: int
    has_relocations: bool

    def is_code(self, address: int) -> bool:
        """Does the address, relative to the base, lie in executable memory that the file fills?"""
        return any(
            part.flags & elf.PF_X and part.address <= address < part.address + part.file_bytes for part in self.segments
        )


class _BrokenRule(Exception):
    """A rule does not hold; never leaves this module."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _broken(rule: str) -> NoReturn:
    assert rule in RULES
    raise _BrokenRule(rule)


def table_of(data: bytes, layout: LibraryLayout) -> ParsedTable:
    """The table of a library that keeps all rules."""
    return parse_table(data[layout.table_offset : layout.table_offset + layout.table_size_bytes])


def check_library(
    data: bytes | mmap.mmap, *, architecture: str | None = None, allowed_needed: Collection[str] = ()
) -> str | None:
    """Name of the first rule (of `RULES`) that the library breaks, None where it keeps all.  Never raises.

    `architecture` is that of the expected target's triple, None to accept every known one.
    """
    layout = read_layout(data, architecture=architecture, allowed_needed=allowed_needed)
    return layout if isinstance(layout, str) else None


def read_layout(
    data: bytes | mmap.mmap, *, architecture: str | None = None, allowed_needed: Collection[str] = ()
) -> LibraryLayout | str:
    """The layout of a library that keeps all rules, else the name of the rule that it breaks.  Never raises."""
    try:
        return _Checker(data, architecture, allowed_needed).layout()
    except _BrokenRule as broken:
        return broken.rule


class _Checker:
    """State of checking one library."""

    def __init__(self, data: bytes | mmap.mmap, architecture: str | None, allowed_needed: Collection[str]) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.architecture = architecture
        self.allowed_needed = allowed_needed
        self.segments: tuple[Segment, ...] = ()
        self.machine = 0
        self.program_headers_offset = 0
        self.dynamic: dict[int, int] = {}
        self.needed: list[int] = []

    def layout(self) -> LibraryLayout:
        headers = self._program_headers()
        self._segments(headers)
        self._memory_rules(headers)
        self._dynamic_section(headers)
        self._dynamic_tags()
        has_relocations = self._relocations()
        address, size_bytes = self._symbols()
        self._table(address, size_bytes)
        offset, span_bytes = self._locate(address, size_bytes, "table"), self.segments[-1].address_end
        return LibraryLayout(self.machine, self.segments, span_bytes, address, offset, size_bytes, has_relocations)

    def _locate(self, address: int, size_bytes: int, rule: str) -> int:
        """Offset in the file of bytes at an address, all of which one segment takes from the file."""
        for part in self.segments:
            if part.address <= address and address + size_bytes <= part.address + part.file_bytes:
                return part.offset + address - part.address
        _broken(rule)

    def _at(self, address: int, size_bytes: int, rule: str) -> bytes:
        """The bytes at an address."""
        start = self._locate(address, size_bytes, rule)
        return self.data[start : start + size_bytes]

    def _program_headers(self) -> list[tuple[int, ...]]:
        if self.size_bytes < elf.FILE_HEADER.size:
            _broken("elf_header")
        fields = elf.FILE_HEADER.unpack(self.data[: elf.FILE_HEADER.size])
        ident, kind, machine, version, _, offset, section_offset = fields[:7]
        entry_bytes, count, section_bytes, section_count = fields[9:13]
        # OS ABI 0 (System V) or 3 (GNU); the ABI version and the padding are 0.
        if ident[:7] != elf.IDENT or ident[7] not in (0, 3) or any(ident[8:]):
            _broken("elf_header")
        if kind != elf.ET_DYN or version != elf.EV_CURRENT:
            _broken("elf_header")
        self.machine = machine
        expected = elf.MACHINES.values() if self.architecture is None else (elf.MACHINES.get(self.architecture),)
        if machine not in expected:
            _broken("machine")
        if entry_bytes != elf.PROGRAM_HEADER.size or not 0 < count <= _MAX_PROGRAM_HEADERS:
            _broken("program_headers")
        end = offset + count * entry_bytes
        self.program_headers_offset = offset
        # A loader reads aligned records.
        if offset % 8 or offset < elf.FILE_HEADER.size or end > self.size_bytes:
            _broken("program_headers")
        if section_count and section_bytes != elf.SECTION_HEADER.size:
            _broken("section_headers")
        if section_offset + section_count * section_bytes > self.size_bytes:
            _broken("section_headers")
        return list(elf.PROGRAM_HEADER.iter_unpack(self.data[offset:end]))

    def _segments(self, headers: list[tuple[int, ...]]) -> None:
        parts: list[Segment] = []
        previous_end = 0
        for kind, flags, offset, address, _, file_bytes, memory_bytes, alignment in headers:
            if kind != elf.PT_LOAD:
                continue
            if alignment & (alignment - 1) or not elf.SMALLEST_PAGE_BYTES <= alignment <= _MAX_ALIGNMENT_BYTES:
                _broken("segments")
            if (offset - address) % alignment or not flags & elf.PF_R or flags & ~7:
                _broken("segments")
            if offset + file_bytes > self.size_bytes or file_bytes > memory_bytes or memory_bytes == 0:
                _broken("segments")
            if address + memory_bytes > MAX_SPAN_BYTES or address & -elf.SMALLEST_PAGE_BYTES < previous_end:
                _broken("segments")
            # A loader fills what the file does not with zeroes, which it can in writable memory alone.
            if file_bytes != memory_bytes and not flags & elf.PF_W:
                _broken("segments")
            parts.append(Segment(flags, offset, address, file_bytes, memory_bytes))
            previous_end = align_up(address + memory_bytes, elf.SMALLEST_PAGE_BYTES)
        # The first one must hold the headers at address 0: a loader finds them there.
        if not parts or parts[0].address != 0 or parts[0].offset != 0 or parts[0].file_bytes < elf.FILE_HEADER.size:
            _broken("segments")
        self.segments = tuple(parts)

    def _memory_rules(self, headers: list[tuple[int, ...]]) -> None:
        stacks = 0
        protected: list[tuple[int, int]] = []
        for kind, flags, offset, address, _, file_bytes, memory_bytes, _ in headers:
            if kind == elf.PT_GNU_STACK:
                stacks += 1
                if flags & elf.PF_X:
                    _broken("executable_stack")
            elif kind == elf.PT_GNU_RELRO:
                protected.append((address, address + memory_bytes))
            elif kind in _MAPPED_TYPES:
                if self._locate(address, file_bytes, "program_headers") != offset or memory_bytes != file_bytes:
                    _broken("program_headers")
                if kind == elf.PT_PHDR and offset != self.program_headers_offset:
                    _broken("program_headers")
            elif kind not in (elf.PT_LOAD, elf.PT_NULL):
                _broken("program_headers")
        if stacks != 1:
            # Without the header a loader assumes that the stack must be executable.
            _broken("executable_stack")
        if any(part.flags & elf.PF_W and part.flags & elf.PF_X for part in self.segments):
            _broken("write_execute")
        self._nothing_stays_writable(protected)

    def _nothing_stays_writable(self, protected: list[tuple[int, int]]) -> None:
        """The pages that PT_GNU_RELRO makes read-only are those of the one writable segment."""
        writable = [part for part in self.segments if part.flags & elf.PF_W]
        if not writable and not protected:
            return
        if len(writable) != 1 or len(protected) != 1:
            _broken("writable_data")
        (part,), ((start, end),) = writable, protected
        first_page = part.address & -elf.SMALLEST_PAGE_BYTES
        if not first_page <= start <= part.address or end != align_up(part.address_end, elf.SMALLEST_PAGE_BYTES):
            _broken("writable_data")

    def _dynamic_section(self, headers: list[tuple[int, ...]]) -> None:
        found = [header for header in headers if header[0] == elf.PT_DYNAMIC]
        if len(found) != 1:
            _broken("dynamic_section")
        address, size_bytes = found[0][3], found[0][5]
        if address % 8 or size_bytes % elf.DYNAMIC_ENTRY.size:
            _broken("dynamic_section")
        # glibc before 2.35 writes addresses into it and would crash on read-only memory.
        if not any(part.flags & elf.PF_W and part.address <= address < part.address_end for part in self.segments):
            _broken("dynamic_section")
        for tag, value in elf.DYNAMIC_ENTRY.iter_unpack(self._at(address, size_bytes, "dynamic_section")):
            if tag == elf.DT_NULL:
                return
            if tag == elf.DT_NEEDED:
                self.needed.append(value)
            elif tag in self.dynamic:
                _broken("dynamic_section")
            else:
                self.dynamic[tag] = value
        _broken("dynamic_section")

    def _dynamic_tags(self) -> None:
        tags = self.dynamic.keys()
        if tags & _CONSTRUCTOR_TAGS:
            _broken("constructor")
        if tags & {elf.DT_RPATH, elf.DT_RUNPATH}:
            _broken("search_path")
        flags = self.dynamic.get(elf.DT_FLAGS, 0)
        if elf.DT_TEXTREL in tags or flags & elf.DF_TEXTREL:
            _broken("text_relocation")
        if tags & _RELOCATION_TAGS:
            _broken("relocation")
        if tags - _KNOWN_TAGS or flags & ~_KNOWN_FLAGS or self.dynamic.get(elf.DT_FLAGS_1, 0) & ~_KNOWN_FLAGS_1:
            _broken("dynamic_tag")
        if self.dynamic.get(elf.DT_SYMENT) != elf.SYMBOL.size or elf.DT_STRTAB not in tags or elf.DT_STRSZ not in tags:
            _broken("symbols")
        for offset in self.needed:
            if self._name(offset, "needed").decode("latin-1") not in self.allowed_needed:
                _broken("needed")
        if elf.DT_SONAME in tags:
            self._name(self.dynamic[elf.DT_SONAME], "symbols")

    def _name(self, offset: int, rule: str) -> bytes:
        """A string of the dynamic string table; it must end within it."""
        strings_bytes = self.dynamic[elf.DT_STRSZ]
        if offset >= strings_bytes:
            _broken(rule)
        length = min(_MAX_NAME_BYTES, strings_bytes - offset)
        name, zero, _ = self._at(self.dynamic[elf.DT_STRTAB] + offset, length, rule).partition(b"\0")
        if not zero:
            _broken(rule)
        return name

    def _relocations(self) -> bool:
        """Are there relocations?"""
        size_bytes = self.dynamic.get(elf.DT_RELASZ, 0)
        if not self.dynamic.keys() & {elf.DT_RELA, elf.DT_RELASZ, elf.DT_RELAENT, elf.DT_RELACOUNT}:
            return False
        entry_bytes = self.dynamic.get(elf.DT_RELAENT)
        if entry_bytes != elf.RELOCATION.size or size_bytes % entry_bytes or elf.DT_RELA not in self.dynamic:
            _broken("relocation")
        count = size_bytes // entry_bytes
        if count > _MAX_RELOCATIONS or self.dynamic.get(elf.DT_RELACOUNT, 0) > count:
            _broken("relocation")
        writable = [part for part in self.segments if part.flags & elf.PF_W]
        address = self.dynamic[elf.DT_RELA]
        if address % 8:
            _broken("relocation")
        for place, kind, _, _ in elf.RELOCATION.iter_unpack(self._at(address, size_bytes, "relocation")):
            if kind == _IRELATIVE[self.machine]:
                _broken("ifunc")
            if kind != _RELATIVE[self.machine]:
                _broken("relocation")
            if not any(part.address <= place and place + 8 <= part.address_end for part in writable):
                _broken("text_relocation")
        return count > 0

    def _symbols(self) -> tuple[int, int]:
        """(address, size in bytes) of the one exported symbol."""
        count = self._symbol_count()
        address = self.dynamic.get(elf.DT_SYMTAB, 1)
        if address % 8:
            _broken("symbols")
        table: tuple[int, int] | None = None
        records = elf.SYMBOL.iter_unpack(self._at(address, count * elf.SYMBOL.size, "symbols"))
        for index, (name, info, _, section, value, size_bytes) in enumerate(records):
            text = self._name(name, "symbols")
            kind, binding = info & 15, info >> 4
            if kind == elf.STT_GNU_IFUNC:
                _broken("ifunc")
            if (section == elf.SHN_UNDEF) is not (index == 0):
                _broken("undefined_symbol" if index else "symbols")
            if section == elf.SHN_UNDEF or binding == elf.STB_LOCAL:
                continue
            is_table = text == TABLE_SYMBOL.encode() and kind == elf.STT_OBJECT and section < elf.SHN_LORESERVE
            if not is_table or table is not None or binding != elf.STB_GLOBAL:
                _broken("exports")
            table = (value, size_bytes)
        if table is None:
            _broken("exports")
        return table

    def _symbol_count(self) -> int:
        """Number of dynamic symbols, from the hash tables, all of which a loader may walk."""
        counts = []
        if elf.DT_HASH in self.dynamic:
            counts.append(self._check_hash(self.dynamic[elf.DT_HASH]))
        if elf.DT_GNU_HASH in self.dynamic:
            counts.append(self._check_gnu_hash(self.dynamic[elf.DT_GNU_HASH]))
        if not counts or min(counts) != max(counts):
            _broken("hash_table")
        return counts[0]

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        """Consecutive 32-bit words of a hash table."""
        if address % 4:
            _broken("hash_table")
        data = self._at(address, 4 * count, "hash_table")
        return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))

    def _check_hash(self, address: int) -> int:
        buckets, chains = self._words(address, 2)
        if not 0 < buckets <= _MAX_BUCKETS or not 0 < chains <= _MAX_SYMBOLS:
            _broken("hash_table")
        words = self._words(address + 8, buckets + chains)
        seen: set[int] = set()
        for first in words[:buckets]:
            index = first
            while index:
                # A symbol is in one chain, once: a second visit means a loop.
                if index >= chains or index in seen:
                    _broken("hash_table")
                seen.add(index)
                index = words[buckets + index]
        return chains

    def _check_gnu_hash(self, address: int) -> int:
        buckets, first_symbol, bloom_words, shift = self._words(address, 4)
        if not 0 < buckets <= _MAX_BUCKETS or not 0 < bloom_words <= _MAX_BUCKETS or bloom_words & (bloom_words - 1):
            _broken("hash_table")
        if address % 8 or not 0 < first_symbol < _MAX_SYMBOLS or shift > 31:
            _broken("hash_table")
        start = address + 16 + 8 * bloom_words
        self._at(address, 16 + 8 * bloom_words, "hash_table")
        end = first_symbol
        for index in self._words(start, buckets):
            if index and not first_symbol <= index <= _MAX_SYMBOLS:
                _broken("hash_table")
            end = max(end, index)
        chains = start + 4 * buckets
        while True:
            # The chain of the highest bucket ends the table: its last word has bit 0 set.
            if end >= _MAX_SYMBOLS:
                _broken("hash_table")
            (word,) = self._words(chains + 4 * (end - first_symbol), 1)
            end += 1
            if word & 1:
                return end

    def _table(self, address: int, size_bytes: int) -> None:
        """Check the library's table as far as the library's own bytes allow."""
        if address % 8 or size_bytes < HEADER.size or size_bytes > MAX_SPAN_BYTES:
            _broken("table")
        if any(part.flags & (elf.PF_W | elf.PF_X) and part.address <= address < part.address_end
               for part in self.segments):  # fmt: skip
            _broken("table")
        try:
            table = parse_table(self._at(address, size_bytes, "table"))
        except LoadError:
            _broken("table")
        if table_size_bytes(table.count) != size_bytes:
            _broken("table")
        code = [part for part in self.segments if part.flags & elf.PF_X]
        for _, _, offset in table:
            if not any(part.address <= address + offset < part.address + part.file_bytes for part in code):
                _broken("entry_address")
