"""Relocatable ELF objects as the linker sees them: kept sections, symbols, relocations.

Job: read what LLVM emitted, bounds-checked, and refuse what a library of evmaot must not hold.  Invariants: an
object is read without copying its sections; what is neither kept nor on the list of what may be dropped is
refused by name, so that nothing is lost silently.  May import: `evmaot.abi.elf`, errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from evmaot.abi import elf
from evmaot.errors import LinkError

_MAX_SECTION_BYTES: Final = 1 << 30
_KEPT_FLAGS: Final = elf.SHF_ALLOC | elf.SHF_EXECINSTR | elf.SHF_MERGE | elf.SHF_STRINGS | elf.SHF_INFO_LINK
_CONSTRUCTORS: Final = (elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY)
_CONSTRUCTOR_NAMES: Final = (".init", ".fini", ".ctors", ".dtors", ".preinit")
_BOOKKEEPING: Final = (elf.SHT_NULL, elf.SHT_SYMTAB, elf.SHT_STRTAB, elf.SHT_RELA, elf.SHT_REL)
_HEADERS_END: Final = elf.FILE_HEADER.size

SymbolRecord = tuple[int, int, int, int, int, int]
"""name offset, info, other, section index, value, size: `evmaot.abi.elf.SYMBOL`."""


@dataclass(frozen=True, slots=True)
class InputSection:
    """A section that goes into the library."""

    index: int
    name: str
    is_code: bool
    alignment: int
    data: memoryview
    relocations: memoryview
    """Elf64_Rela records, a whole number of them; empty where there are none."""


@dataclass(frozen=True, slots=True)
class InputObject:
    """One relocatable object."""

    ordinal: int
    """Position among the linker's inputs, from 0."""
    sections: dict[int, InputSection]
    """The kept sections, by section index."""
    dropped: dict[int, str]
    """Names of the sections that do not go into the library."""
    symbols: list[SymbolRecord]
    first_global: int
    strings: bytes

    def symbol(self, index: int) -> SymbolRecord:
        """A symbol that a relocation names.  Raises LinkError."""
        if index >= len(self.symbols):
            bad_object(self.ordinal, f"a relocation names symbol {index} of {len(self.symbols)}")
        return self.symbols[index]

    def symbol_name(self, index: int) -> bytes:
        """Name of a symbol; of its section where a section symbol has none.  Raises LinkError."""
        name, info, _, section, _, _ = self.symbol(index)
        if not name and info & 15 == elf.STT_SECTION and section in self.sections:
            return self.sections[section].name.encode()
        return string_at(self.strings, name, self.ordinal)


def refuse(reference: str, ordinal: int, message: str, hint: str, **context: object) -> NoReturn:
    """Raise the LinkError that names an object."""
    raise LinkError(reference, f"object {ordinal}: {message}", context={"object": ordinal, **context}, hint=hint)


def bad_object(ordinal: int, message: str, **context: object) -> NoReturn:
    """Raise LinkError ``bad_object``: not an object that a compiler wrote for us."""
    refuse("bad_object", ordinal, message, "compile it again: it is truncated or not ELF for this target", **context)


def string_at(strings: bytes, offset: int, ordinal: int) -> bytes:
    """A zero-terminated string of a string table.  Raises LinkError ``bad_object``."""
    end = strings.find(b"\0", offset)
    if offset >= len(strings) or end < 0:
        bad_object(ordinal, f"a name lies outside its string table (offset {offset})")
    return strings[offset:end]


_SectionRecord = tuple[int, int, int, int, int, int, int, int, int, int]


class _Reader:
    """State of reading one object."""

    def __init__(self, data: bytes, ordinal: int, machine: int) -> None:
        self.data = memoryview(data)
        self.ordinal = ordinal
        self.headers = self._section_headers(machine)

    def slice(self, offset: int, size: int, what: str) -> memoryview:
        if offset + size > len(self.data):
            bad_object(self.ordinal, f"{what} ends at byte {offset + size} of {len(self.data)}")
        return self.data[offset : offset + size]

    def _section_headers(self, machine: int) -> list[_SectionRecord]:
        if len(self.data) < _HEADERS_END or bytes(self.data[: len(elf.IDENT)]) != elf.IDENT:
            bad_object(self.ordinal, "not a little-endian ELF-64 object", size_bytes=len(self.data))
        fields = elf.FILE_HEADER.unpack_from(self.data)
        kind, found_machine, table, entry_bytes, count, names = (fields[i] for i in (1, 2, 6, 11, 12, 13))
        if kind != elf.ET_REL:
            bad_object(self.ordinal, f"not relocatable (e_type {kind})")
        if found_machine != machine:
            refuse(
                "wrong_machine",
                self.ordinal,
                f"made for machine {found_machine}, expected {machine}",
                "compile every object for the target that is linked",
                found=found_machine,
                expected=machine,
            )
        if entry_bytes != elf.SECTION_HEADER.size or count == 0:
            # A count of 0 stands for 65,280 sections and more, which would be a mistake of the emitter.
            bad_object(self.ordinal, f"{count} section headers of {entry_bytes} bytes")
        view = self.slice(table, count * elf.SECTION_HEADER.size, "the section header table")
        headers: list[_SectionRecord] = list(elf.SECTION_HEADER.iter_unpack(view))
        if names >= count:
            bad_object(self.ordinal, f"section {names} with the section names does not exist")
        self.names = bytes(self.slice(headers[names][4], headers[names][5], "the table of section names"))
        return headers

    def section_name(self, index: int) -> str:
        return string_at(self.names, self.headers[index][0], self.ordinal).decode("latin-1")

    def symbols(self) -> tuple[list[SymbolRecord], int, bytes]:
        """Symbol records, index of the first global one, names."""
        tables = [header for header in self.headers if header[1] == elf.SHT_SYMTAB]
        if not tables:
            return [], 0, b""
        _, _, _, _, offset, size, link, first_global, _, entry_bytes = tables[0]
        if len(tables) > 1 or entry_bytes != elf.SYMBOL.size or size % elf.SYMBOL.size or link >= len(self.headers):
            bad_object(self.ordinal, "its symbol table is malformed")
        records: list[SymbolRecord] = list(elf.SYMBOL.iter_unpack(self.slice(offset, size, "the symbol table")))
        if first_global > len(records):
            bad_object(self.ordinal, "its first global symbol lies outside the symbol table")
        strings = bytes(self.slice(self.headers[link][4], self.headers[link][5], "the table of symbol names"))
        return records, first_global, strings

    def relocations(self) -> dict[int, memoryview]:
        """Relocation records by the index of the section that they change."""
        found: dict[int, memoryview] = {}
        for index, (_, kind, _, _, offset, size, _, section, _, entry_bytes) in enumerate(self.headers):
            if kind not in (elf.SHT_RELA, elf.SHT_REL):
                continue
            name = self.section_name(index)
            if kind == elf.SHT_REL or entry_bytes != elf.RELOCATION.size or size % elf.RELOCATION.size:
                bad_object(self.ordinal, f"relocations in {name} have another form than Elf64_Rela")
            if section in found or section >= len(self.headers):
                bad_object(self.ordinal, f"relocations in {name} are for section {section}")
            found[section] = self.slice(offset, size, name)
        return found


def read_object(data: bytes, ordinal: int, machine: int) -> InputObject:
    """Read one relocatable object for `machine` (e_machine); its bytes must outlive the result.

    Raises LinkError: ``bad_object``, ``wrong_machine``, or the reason why a section is refused (`_keep`).
    """
    reader = _Reader(data, ordinal, machine)
    relocations = reader.relocations()
    sections: dict[int, InputSection] = {}
    dropped: dict[int, str] = {}
    for index, (_, kind, flags, _, offset, size, _, _, alignment, _) in enumerate(reader.headers):
        if kind in _BOOKKEEPING:
            continue
        name = reader.section_name(index)
        if not _keep(ordinal, name, kind, flags, size):
            dropped[index] = name
            continue
        alignment = alignment or 1
        if alignment & (alignment - 1) or alignment > elf.SMALLEST_PAGE_BYTES or size > _MAX_SECTION_BYTES:
            bad_object(ordinal, f"section {name} has {size} bytes aligned to {alignment}")
        content = reader.slice(offset, size, f"section {name}")
        is_code = bool(flags & elf.SHF_EXECINSTR)
        sections[index] = InputSection(index, name, is_code, alignment, content, relocations.get(index, content[:0]))
    records, first_global, strings = reader.symbols()
    return InputObject(ordinal, sections, dropped, records, first_global, strings)


def _keep(ordinal: int, name: str, kind: int, flags: int, size_bytes: int) -> bool:
    """Does the section go into the library?  Raises LinkError where it may neither be kept nor dropped."""

    def no(reference: str, message: str, hint: str) -> NoReturn:
        refuse(reference, ordinal, message, hint, section=name)

    if kind == elf.SHT_GROUP:
        no("comdat_group", f"section group {name}", "emit no comdat: every symbol is defined once in a library")
    if name == ".note.GNU-stack" and flags & elf.SHF_EXECINSTR:
        no("executable_stack", "asks for an executable stack", "remove what makes the compiler ask for it")
    if not flags & elf.SHF_ALLOC or kind == elf.SHT_NOTE or name == ".eh_frame":
        return False
    if flags & elf.SHF_TLS:
        no("thread_local", f"thread-local data in {name}", "keep per-thread state in the frame")
    if size_bytes == 0 and not name.startswith((".text", ".rodata")):
        return False
    if kind in _CONSTRUCTORS or name.startswith(_CONSTRUCTOR_NAMES):
        no("constructor", f"code that runs at load time in {name}", "a library may not run code when it is loaded")
    _refuse_other_than_code_and_constants(name, kind, flags, no)
    return True


def _refuse_other_than_code_and_constants(
    name: str, kind: int, flags: int, no: Callable[[str, str, str], NoReturn]
) -> None:
    if flags & elf.SHF_WRITE:
        hint = "make it a constant, and store distances (entry minus table) instead of addresses"
        no("writable_section", f"writable data in {name}", hint)
    if kind != elf.SHT_PROGBITS or flags & ~_KEPT_FLAGS:
        message = f"section {name} of type {kind:#x} with flags {flags:#x}"
        no("unknown_section", message, "only code and constants are linked")
    is_code = bool(flags & elf.SHF_EXECINSTR)
    if not name.startswith(".text" if is_code else ".rodata"):
        no("unknown_section", f"section {name}", "code goes to .text, constants go to .rodata")
