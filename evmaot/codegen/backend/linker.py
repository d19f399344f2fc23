"""Objects to a shared library, without a toolchain.

Job: place the sections of relocatable objects, resolve their symbols against each other, relocate, and write a
library that exports `evmaot_table`.  Invariants: the same objects and soname give the same bytes; the result needs
no dynamic relocation and no other library; whatever is not understood is refused with its name.  Cost is linear
in the size of the objects.  May import: `evmaot.abi`, `evmaot.target`, `evmaot.codegen.backend`, errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from evmaot.abi import elf
from evmaot.abi.library import HEADER, TABLE_SYMBOL
from evmaot.codegen.backend.elf_reader import InputObject, bad_object, read_object, refuse
from evmaot.codegen.backend.elf_writer import SMALLEST_ALIGNMENT, Block, FunctionSymbol, Plan, finish, make_plan
from evmaot.codegen.backend.relocations import RELOCATE, PlacedSection
from evmaot.codegen.backend.system_linker import SYSTEM_LINKERS, link_with_system
from evmaot.errors import CompilerBug, LinkError, UsageError
from evmaot.target import Target

LINKERS: Final = ("own", *SYSTEM_LINKERS)
"""Values of ``--linker``."""
MAX_LIBRARY_BYTES: Final = 1 << 30
_SONAME: Final = re.compile(r"[A-Za-z0-9_.+-]{1,255}")
_CODE_FILL: Final = {elf.EM_X86_64: b"\xcc", elf.EM_AARCH64: b"\0"}
"""Between functions: a byte that traps when executed (int3, udf)."""
_C_LIBRARY: Final = ("memcpy", "memset", "memmove", "memcmp", "bcmp")


def link(linker: str, objects: Sequence[bytes], *, soname: str, target: Target) -> bytes:
    """Link with ``own`` or one of the system's linkers (`LINKERS`).

    Raises UsageError ``unknown_linker`` or ``linker_not_found``, and LinkError.
    """
    if linker == "own":
        return link_shared_library(objects, soname=soname, target=target)
    if linker in SYSTEM_LINKERS:
        return link_with_system(linker, objects, soname=soname, target=target)
    raise UsageError(
        "unknown_linker",
        f"unknown linker {linker!r}",
        context={"linker": linker, "known": list(LINKERS)},
        hint="one of: " + ", ".join(LINKERS),
    )


def link_shared_library(objects: Sequence[bytes], *, soname: str, target: Target) -> bytes:
    """Link relocatable objects of one target to a library that exports `evmaot_table`.

    Raises LinkError; its reference names the rule (``undefined_symbol``, ``writable_section``,
    ``relocation_overflow``, ...), its context the object (by position), section, symbol and relocation.
    """
    machine = elf.MACHINES.get(target.architecture)
    if machine is None:
        raise LinkError(
            "unsupported_target",
            f"no linker for {target.triple}",
            context={"triple": target.triple, "known": sorted(elf.MACHINES)},
            hint="choose a system linker (--linker)",
        )
    if _SONAME.fullmatch(soname) is None:
        raise CompilerBug(f"not a soname: {soname!r}")
    inputs = [read_object(data, ordinal, machine) for ordinal, data in enumerate(objects)]
    rodata = _concatenate(inputs, is_code=False, fill=b"\0")
    text = _concatenate(inputs, is_code=True, fill=_CODE_FILL[machine])
    plan = make_plan(machine, soname, (rodata.size_bytes, rodata.alignment), (text.size_bytes, text.alignment))
    if plan.dynamic.address_end > MAX_LIBRARY_BYTES:
        raise LinkError(
            "library_too_large",
            f"the library would have {plan.dynamic.address_end} bytes, at most {MAX_LIBRARY_BYTES}",
            hint="put fewer contracts into one library (--pack-size)",
        )
    linked = _Linked(inputs, plan, rodata, text)
    gap = bytes(plan.text.offset - plan.rodata.end)
    image = bytearray().join([bytes(plan.rodata.offset), *rodata.pieces, gap, *text.pieces])
    linked.relocate(image)
    finish(image, plan, linked.table(), linked.functions())
    return bytes(image)


@dataclass(frozen=True, slots=True)
class _Concatenation:
    """Sections of one kind in a row."""

    places: list[tuple[InputObject, int, int]]
    """Object, section index, offset from the row's start."""
    pieces: list[bytes | memoryview]
    size_bytes: int
    alignment: int


def _concatenate(inputs: Iterable[InputObject], *, is_code: bool, fill: bytes) -> _Concatenation:
    places: list[tuple[InputObject, int, int]] = []
    pieces: list[bytes | memoryview] = []
    end, largest = 0, SMALLEST_ALIGNMENT
    for owner in inputs:
        for section in owner.sections.values():
            if section.is_code is not is_code:
                continue
            padding = -end % section.alignment
            if padding:
                pieces.append(fill * padding)
            pieces.append(section.data)
            places.append((owner, section.index, end + padding))
            end += padding + len(section.data)
            largest = max(largest, section.alignment)
    return _Concatenation(places, pieces, end, largest)


@dataclass(frozen=True, slots=True)
class _Definition:
    owner: InputObject
    index: int
    is_weak: bool


class _Linked:
    """Placed sections and resolved symbols."""

    def __init__(self, inputs: list[InputObject], plan: Plan, rodata: _Concatenation, text: _Concatenation) -> None:
        self.inputs = inputs
        self.plan = plan
        self.placed: list[dict[int, PlacedSection]] = [{} for _ in inputs]
        for block, row in ((plan.rodata, rodata), (plan.text, text)):
            for owner, index, offset in row.places:
                placed = PlacedSection(owner, owner.sections[index], block.offset + offset, block.address + offset)
                self.placed[owner.ordinal][index] = placed
        self.definitions = _definitions(inputs)
        self._refuse_undefined()

    def _refuse_undefined(self) -> None:
        for owner in self.inputs:
            for index in range(max(owner.first_global, 1), len(owner.symbols)):
                name = owner.symbol_name(index)
                if owner.symbols[index][3] == elf.SHN_UNDEF and name not in self.definitions:
                    text = name.decode("latin-1")
                    hint = "link the object that defines it; compiled code reaches the world through the host table"
                    if text in _C_LIBRARY:
                        hint = "LLVM made a library call of a memory operation: emit a call of the builtin instead"
                    refuse("undefined_symbol", owner.ordinal, f"undefined symbol {text}", hint, symbol=text)

    def address(self, owner: InputObject, index: int) -> int:
        """Address of a symbol, relative to the library's base.  Raises LinkError."""
        _, info, _, section, value, _ = owner.symbol(index)
        if index >= owner.first_global:
            definition = self.definitions[owner.symbol_name(index)]
            owner, index = definition.owner, definition.index
            _, info, _, section, value, _ = owner.symbols[index]
        placed = self.placed[owner.ordinal].get(section)
        name = owner.symbol_name(index).decode("latin-1")
        if info & 15 in (elf.STT_TLS, elf.STT_GNU_IFUNC):
            _refuse_symbol_type(owner, index)
        if placed is None:
            where = owner.dropped.get(section, f"section {section}")
            hint = "only symbols in code and constants can be used"
            refuse("discarded_section", owner.ordinal, f"{name} lies in {where}", hint, symbol=name, section=where)
        if value > len(placed.section.data):
            bad_object(owner.ordinal, f"symbol {name} lies outside {placed.section.name}")
        return placed.address + value

    def relocate(self, image: bytearray) -> None:
        """Apply all relocations.  Raises LinkError."""
        apply = RELOCATE[self.plan.machine]
        for owner in self.inputs:
            known: dict[int, int] = {}

            def resolve(index: int, owner: InputObject = owner, known: dict[int, int] = known) -> int:
                known[index] = self.address(owner, index)
                return known[index]

            for placed in self.placed[owner.ordinal].values():
                apply(image, placed, known, resolve)

    def table(self) -> Block:
        """Place of `evmaot_table`.  Raises LinkError ``missing_table``."""
        definition = self.definitions.get(TABLE_SYMBOL.encode())
        if definition is not None:
            _, info, _, section, value, size_bytes = definition.owner.symbols[definition.index]
            placed = self.placed[definition.owner.ordinal].get(section)
            is_data = placed is not None and not placed.section.is_code and info & 15 == elf.STT_OBJECT
            if placed is not None and is_data and HEADER.size <= size_bytes <= len(placed.section.data) - value:
                return Block(placed.offset + value, placed.address + value, size_bytes)
        raise LinkError(
            "missing_table",
            f"no object defines {TABLE_SYMBOL} as constant data",
            context={"symbol": TABLE_SYMBOL},
            hint="compile and link evmaot.codegen.emit.table.table_text",
        )

    def functions(self) -> list[FunctionSymbol]:
        """All functions in the order of the inputs, for .symtab."""
        found = []
        for owner in self.inputs:
            placed_sections = self.placed[owner.ordinal]
            for index, (name, info, _, section, value, size_bytes) in enumerate(owner.symbols):
                if info & 15 != elf.STT_FUNC or section == elf.SHN_UNDEF:
                    continue
                placed = placed_sections.get(section)
                if placed is not None and name and value + size_bytes <= len(placed.section.data):
                    found.append(FunctionSymbol(owner.symbol_name(index), placed.address + value, size_bytes))
        return found


def _definitions(inputs: Iterable[InputObject]) -> dict[bytes, _Definition]:
    """Global symbols by name: a strong one, else the first weak one.  Raises LinkError."""
    found: dict[bytes, _Definition] = {}
    for owner in inputs:
        for index in range(owner.first_global, len(owner.symbols)):
            _, info, _, section, _, _ = owner.symbols[index]
            if section == elf.SHN_UNDEF:
                continue
            _refuse_symbol_type(owner, index)
            name = owner.symbol_name(index)
            definition = _Definition(owner, index, info >> 4 == elf.STB_WEAK)
            other = found.get(name)
            if other is None or (other.is_weak and not definition.is_weak):
                found[name] = definition
            elif not other.is_weak and not definition.is_weak:
                text = name.decode("latin-1")
                hint = "give every object's symbols names of their own, and link the builtins once"
                message = f"defines {text}, as object {other.owner.ordinal} does"
                refuse("duplicate_symbol", owner.ordinal, message, hint, symbol=text, other=other.owner.ordinal)
    return found


def _refuse_symbol_type(owner: InputObject, index: int) -> None:
    """Refuse a defined symbol that needs more than an address in the library.  Raises LinkError."""
    _, info, _, section, _, _ = owner.symbols[index]
    name = owner.symbol_name(index).decode("latin-1")
    if info & 15 == elf.STT_GNU_IFUNC:
        hint = "a library may not choose code at load time; select by target instead"
        refuse("ifunc_symbol", owner.ordinal, f"indirect function {name}", hint, symbol=name)
    if info & 15 == elf.STT_TLS:
        hint = "keep per-thread state in the frame"
        refuse("thread_local", owner.ordinal, f"thread-local symbol {name}", hint, symbol=name)
    if section == elf.SHN_COMMON:
        refuse("common_symbol", owner.ordinal, f"common symbol {name}", "emit no writable globals", symbol=name)
    if section >= elf.SHN_LORESERVE:
        hint = "only symbols in code and constants can be linked"
        refuse("absolute_symbol", owner.ordinal, f"symbol {name} in section {section:#x}", hint, symbol=name)
