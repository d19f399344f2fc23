"""Relocations: how an address gets into code and constants, for x86-64 and aarch64.

Job: patch one placed section.  Invariants: only relocations that are resolved for good at link time are known
(distances within the library); all others are refused by name, and a value that does not fit its field is an
error, never cut off.  Sources: System V psABI for AMD64, section 4.4; ELF for the Arm 64-bit Architecture,
section 5.7.  May import: `evmaot.abi.elf`, `evmaot.codegen.backend.elf_reader`, errors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from evmaot.abi import elf
from evmaot.codegen.backend.elf_reader import InputObject, InputSection, refuse

_pack_i32 = struct.Struct("<i").pack_into
_pack_i64 = struct.Struct("<q").pack_into
_pack_u32 = struct.Struct("<I").pack_into
_unpack_u32 = struct.Struct("<I").unpack_from

_NAMES: Final[dict[int, dict[int, str]]] = {
    elf.EM_X86_64: {
        1: "R_X86_64_64", 3: "R_X86_64_GOT32", 9: "R_X86_64_GOTPCREL", 10: "R_X86_64_32", 11: "R_X86_64_32S",
        19: "R_X86_64_TLSGD", 20: "R_X86_64_TLSLD", 21: "R_X86_64_DTPOFF32", 22: "R_X86_64_GOTTPOFF",
        23: "R_X86_64_TPOFF32", 25: "R_X86_64_GOTOFF64", 26: "R_X86_64_GOTPC32", 27: "R_X86_64_GOT64",
        28: "R_X86_64_GOTPCREL64", 29: "R_X86_64_GOTPC64", 31: "R_X86_64_PLTOFF64",
        41: "R_X86_64_GOTPCRELX", 42: "R_X86_64_REX_GOTPCRELX",
    },
    elf.EM_AARCH64: {
        257: "R_AARCH64_ABS64", 258: "R_AARCH64_ABS32", 309: "R_AARCH64_GOT_LD_PREL19",
        311: "R_AARCH64_ADR_GOT_PAGE", 312: "R_AARCH64_LD64_GOT_LO12_NC", 313: "R_AARCH64_LD64_GOTPAGE_LO15",
    },
}  # fmt: skip
"""Names for messages: what compilers are known to emit and we refuse."""


@dataclass(frozen=True, slots=True)
class PlacedSection:
    """A section with its place in the library."""

    owner: InputObject
    section: InputSection
    offset: int
    """Offset of its first byte in the file."""
    address: int
    """Address of its first byte relative to the library's base."""


Resolve = Callable[[int], int]
"""Address of a symbol of the section's object, by its index; raises LinkError."""


def relocate_x86_64(image: bytearray, placed: PlacedSection, known: dict[int, int], resolve: Resolve) -> None:
    """Apply a section's relocations to `image`; `known` caches `resolve` for the object.  Raises LinkError."""
    start, address = placed.offset, placed.address
    last_u32, last_u64 = len(placed.section.data) - 4, len(placed.section.data) - 8
    offset = kind = symbol = 0
    try:
        for offset, kind, symbol, addend in elf.RELOCATION.iter_unpack(placed.section.relocations):
            target = known.get(symbol)
            if target is None:
                target = resolve(symbol)
            # A call through the PLT to a symbol of the library itself is a plain call (psABI 4.4).
            if (kind == elf.R_X86_64_PC32 or kind == elf.R_X86_64_PLT32) and offset <= last_u32:
                _pack_i32(image, start + offset, target + addend - address - offset)
            elif kind == elf.R_X86_64_PC64 and offset <= last_u64:
                _pack_i64(image, start + offset, target + addend - address - offset)
            elif kind != elf.R_X86_64_NONE:
                known_kind = kind in (elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64)
                _refuse_relocation(placed, offset, kind, symbol, elf.EM_X86_64, is_outside=known_kind)
    except struct.error:
        _overflow(placed, offset, symbol)


_SCALE_BITS: Final = {
    elf.R_AARCH64_ADD_ABS_LO12_NC: 0,
    elf.R_AARCH64_LDST8_ABS_LO12_NC: 0,
    elf.R_AARCH64_LDST16_ABS_LO12_NC: 1,
    elf.R_AARCH64_LDST32_ABS_LO12_NC: 2,
    elf.R_AARCH64_LDST64_ABS_LO12_NC: 3,
    elf.R_AARCH64_LDST128_ABS_LO12_NC: 4,
}
"""Low 12 bits of an address as an unsigned immediate, counted in units of the access size."""

_AARCH64_KNOWN: Final = frozenset(_SCALE_BITS) | {
    elf.R_AARCH64_CALL26,
    elf.R_AARCH64_JUMP26,
    elf.R_AARCH64_ADR_PREL_PG_HI21,
    elf.R_AARCH64_PREL32,
    elf.R_AARCH64_PREL64,
}


def relocate_aarch64(image: bytearray, placed: PlacedSection, known: dict[int, int], resolve: Resolve) -> None:
    """Apply a section's relocations to `image`; `known` caches `resolve` for the object.  Raises LinkError."""
    start, address, size_bytes = placed.offset, placed.address, len(placed.section.data)
    for offset, kind, symbol, addend in elf.RELOCATION.iter_unpack(placed.section.relocations):
        if kind == elf.R_AARCH64_NONE:
            continue
        width = 8 if kind == elf.R_AARCH64_PREL64 else 4
        if kind not in _AARCH64_KNOWN or offset + width > size_bytes:
            _refuse_relocation(placed, offset, kind, symbol, elf.EM_AARCH64, is_outside=kind in _AARCH64_KNOWN)
        target = known.get(symbol)
        if target is None:
            target = resolve(symbol)
        try:
            _patch_aarch64(image, start + offset, kind, target + addend, address + offset)
        except (struct.error, OverflowError):
            _overflow(placed, offset, symbol)


def _patch_aarch64(image: bytearray, at: int, kind: int, target: int, place: int) -> None:
    """Write one value; `at` is the place in the file, `place` its address.  Raises OverflowError, struct.error."""
    if kind == elf.R_AARCH64_PREL64:
        _pack_i64(image, at, target - place)
        return
    if kind == elf.R_AARCH64_PREL32:
        _pack_i32(image, at, target - place)
        return
    (instruction,) = _unpack_u32(image, at)
    if kind in (elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26):
        distance = target - place
        if distance & 3 or not -(1 << 27) <= distance < 1 << 27:
            raise OverflowError
        instruction = instruction & 0xFC000000 | distance >> 2 & 0x03FFFFFF
    elif kind == elf.R_AARCH64_ADR_PREL_PG_HI21:
        pages = (target >> 12) - (place >> 12)
        if not -(1 << 20) <= pages < 1 << 20:
            raise OverflowError
        instruction = instruction & 0x9F00001F | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    else:
        scale_bits = _SCALE_BITS[kind]
        low = target & 0xFFF
        if low & ((1 << scale_bits) - 1):
            raise OverflowError
        instruction = instruction & 0xFFC003FF | low >> scale_bits << 10
    _pack_u32(image, at, instruction)


def _overflow(placed: PlacedSection, offset: int, symbol: int) -> NoReturn:
    name = placed.owner.symbol_name(symbol).decode("latin-1")
    where = f"{placed.section.name}+{offset:#x}"
    refuse(
        "relocation_overflow",
        placed.owner.ordinal,
        f"the distance from {where} to {name} does not fit its field, or is not aligned",
        "put fewer contracts into one library (--pack-size)",
        section=placed.section.name,
        offset=offset,
        symbol=name,
    )


def _refuse_relocation(
    placed: PlacedSection, offset: int, kind: int, symbol: int, machine: int, *, is_outside: bool
) -> NoReturn:
    name = placed.owner.symbol_name(symbol).decode("latin-1")
    label = _NAMES[machine].get(kind, str(kind))
    where = f"{placed.section.name}+{offset:#x}"
    reference, what, hint = "unknown_relocation", f"relocation {label}", "choose a system linker (--linker)"
    if is_outside:
        reference, what, hint = "bad_object", f"a relocation outside {placed.section.name}", "compile it again"
    elif "TLS" in label or "TPOFF" in label or (machine == elf.EM_AARCH64 and 512 <= kind < 1024):
        reference, what, hint = "thread_local", f"thread-local relocation {label}", "keep per-thread state in the frame"
    elif "GOT" in label or "PLTOFF" in label:
        reference, what = "got_relocation", f"relocation {label} through a global offset table"
        hint = "declare the symbol hidden or dso_local in the emitted module"
    elif "64_64" in label or "ABS" in label or label.endswith(("_32", "_32S")):
        reference, what = "dynamic_relocation", f"relocation {label} needs an address at load time"
        hint = "store a distance (symbol minus table) instead of an address"
    refuse(
        reference,
        placed.owner.ordinal,
        f"{what} at {where} to {name or 'no symbol'}",
        hint,
        section=placed.section.name,
        offset=offset,
        symbol=name,
        relocation=label,
    )


RELOCATE: Final = {elf.EM_X86_64: relocate_x86_64, elf.EM_AARCH64: relocate_aarch64}
"""The relocation function by e_machine."""
