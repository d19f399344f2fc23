"""aarch64 code on another machine: static programs that need no compiler, assembler or loader of that machine.

A library of the own linker whose start address is `_start` is a static program, too.  `contract_program` makes one that
maps a published library as a loader would, and calls one of its contracts with a frame that lies ready in a file.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evmaot.abi.layout import FRAME, LOG_BUFFER, SLOT, SLOT_TABLE, SLOT_UNDO, Record
from evmaot.abi.library import parse_table
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.options import Tier
from evmaot.store.elf_rules import LibraryLayout, read_layout
from evmaot.target import host_target
from tests.support.elf_patch import parsed
from tests.support.libraries import AARCH64, compiled, library_objects

SYSTEM_CALL_TEXT = "\n".join(
    [
        "define hidden i64 @system_call(i64 %n, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f) {",
        "  %x0 = mul i64 %n, %a",
        *(f"  %y{step} = xor i64 %x{step}, %{name}\n  %x{step + 1} = mul i64 %y{step}, %x{step}"
          for step, name in enumerate("bcdefnabcdef")),
        "  ret i64 %x12",
        "}",
    ]
)  # fmt: skip
"""Room for the instructions below: LLVM as llvmlite ships it assembles no text for other machines."""
SYSTEM_CALL_CODE = (
    0xAA0003E8, 0xAA0103E0, 0xAA0203E1, 0xAA0303E2, 0xAA0403E3, 0xAA0503E4, 0xAA0603E5, 0xD4000001, 0xD65F03C0,
)  # fmt: skip
"""mov x8, x0; mov x0, x1; ...; mov x5, x6; svc #0; ret"""
SYSTEM_CALL = "declare hidden i64 @system_call(i64, i64, i64, i64, i64, i64, i64)"
_OPEN, _WRITE, _EXIT, _MMAP = 56, 64, 93, 222
_CURRENT_DIRECTORY = -100
_FIXED_PRIVATE, _ANONYMOUS = 0x12, 0x20


def emulator() -> list[str] | None:
    """The command in front of an aarch64 program; None where it cannot be run here."""
    if host_target() == AARCH64:
        return []
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    return [found] if found else None


def static_program(text: str, tier: Tier = Tier.OPTIMISED) -> bytes:
    """A program that begins at `_start` of an IR text, and can call `@system_call`."""
    more = [compiled(part, AARCH64, tier) for part in (text, SYSTEM_CALL_TEXT)]
    objects = (*library_objects(1, AARCH64, tier), *more)
    program = bytearray(link_shared_library(objects, soname="evmaot-test.so", target=AARCH64))
    file = parsed(bytes(program))
    symbols = file.get_section_by_name(".symtab")
    (start,) = symbols.get_symbol_by_name("_start")
    program[24:32] = int(start["st_value"]).to_bytes(8, "little")
    (room,) = symbols.get_symbol_by_name("system_call")
    code = b"".join(word.to_bytes(4, "little") for word in SYSTEM_CALL_CODE)
    assert room["st_size"] >= len(code)
    (offset,) = file.address_offsets(room["st_value"], len(code))
    program[offset : offset + len(code)] = code
    return bytes(program)


def run_program(program: bytes, path: Path, timeout_seconds: float = 60) -> bytes:
    """What the program writes to stdout; there must be an emulator."""
    path.write_bytes(program)
    path.chmod(0o755)
    command = emulator()
    assert command is not None
    done = subprocess.run([*command, str(path)], capture_output=True, check=True, timeout=timeout_seconds)
    return done.stdout


# A contract of a published library.

BASE, IMAGE, ARENA = 0x20_0000_0000, 0x28_0000_0000, 0x30_0000_0000
"""Addresses of the library, of the file with frame and inputs, and of memory that begins as zeros."""
_ENVIRONMENT, _HOST_TABLE, _SLOT_TABLE, _LOG_BUFFER, _STATUS, _BYTES = 0x800, 0x1000, 0x1800, 0x1C00, 0x1F00, 0x2000
_STACK, _LOGS, _MEMORY, _SLOTS, _ARENA_BYTES = 0, 0x10_0000, 0x100_0000, 0x400_0000, 0x800_0000
_MEMORY_BYTES = _SLOTS - _MEMORY
_SLOT_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """How a message ended on the other machine."""

    status: int
    gas_left: int
    refund: int
    output: bytes
    slots: int
    """Slots that were touched."""
    log_bytes: int


def contract_answer(
    library: bytes,
    code: bytes,
    entry: tuple[str, str],
    directory: Path,
    *,
    gas: int,
    input: bytes,
    recipient: int,
    sender: int,
) -> Answer:
    """Call a contract, by SHA-256 of its code and rules digest (hex), under emulation; no account has storage."""
    layout = read_layout(library, architecture="aarch64")
    assert isinstance(layout, LibraryLayout), layout
    assert not layout.has_relocations
    table = parse_table(library[layout.table_offset : layout.table_offset + layout.table_size_bytes])
    distance = table.find(bytes.fromhex(entry[0]), bytes.fromhex(entry[1]))
    assert distance is not None
    files = (directory / "library.so", directory / "image")
    files[0].write_bytes(library)
    files[1].write_bytes(_image(code, input, gas, recipient, sender))
    size_bytes = -(-files[1].stat().st_size // 4096) * 4096
    # As a loader does: whole pages, of which the first may begin with the end of the segment before.
    maps = [
        (0, BASE + part.address - part.offset % 4096, part.file_bytes + part.offset % 4096,
         5 if part.flags & 1 else 1, part.offset - part.offset % 4096)
        for part in layout.segments
        if not part.flags & 2
    ]  # fmt: skip
    text = _start_text([str(file) for file in files], [*maps, (1, IMAGE, size_bytes, 3, 0)],
                       BASE + layout.table_address + distance)  # fmt: skip
    shown = run_program(static_program(text), directory / "program")
    return _read(shown)


def _fields(record: Record, **values: int) -> bytes:
    data = bytearray(record.size_bytes)
    sizes = {field.name: field.type.size_bytes for field in record.fields}
    for name, value in values.items():
        at = record.offset(name)
        data[at : at + sizes[name]] = value.to_bytes(sizes[name], "little")
    return bytes(data)


def _image(code: bytes, input: bytes, gas: int, recipient: int, sender: int) -> bytes:
    """Frame, environment, host table (which nothing calls), slot table, log buffer, code and input."""
    slots = ARENA + _SLOTS
    undo = slots + _SLOT_LIMIT * SLOT.size_bytes
    parts = {
        0: _fields(
            FRAME, gas=gas, stack_base=ARENA + _STACK, memory_base=ARENA + _MEMORY, memory_capacity=_MEMORY_BYTES,
            input=IMAGE + _BYTES + len(code), input_size=len(input), code=IMAGE + _BYTES, code_size=len(code),
            environment=IMAGE + _ENVIRONMENT, host_table=IMAGE + _HOST_TABLE, recipient=recipient, sender=sender,
            slot_table=IMAGE + _SLOT_TABLE, log_buffer=IMAGE + _LOG_BUFFER,
        ),
        _SLOT_TABLE: _fields(
            SLOT_TABLE, epoch=1, mask=2 * _SLOT_LIMIT - 1, seed=0x9E3779B97F4A7C15F39CC0605CEDC835, slots=slots,
            limit=_SLOT_LIMIT, undo=undo, undo_limit=_SLOT_LIMIT, generation=1, unknown_is_zero=1,
            buckets=undo + _SLOT_LIMIT * SLOT_UNDO.size_bytes,
        ),
        _LOG_BUFFER: _fields(LOG_BUFFER, base=ARENA + _LOGS, capacity=_MEMORY - _LOGS),
        _BYTES: code + input,
    }  # fmt: skip
    image = bytearray(_BYTES + len(code) + len(input))
    for at, data in parts.items():
        image[at : at + len(data)] = data
    return bytes(image)


def _start_text(paths: Sequence[str], maps: Sequence[tuple[int, int, int, int, int]], entry: int) -> str:
    """IR of `_start`; a map is (number of the file, address, bytes, protection, offset)."""
    globals_, lines, count = [SYSTEM_CALL], [], 0

    def system_call(number: int, *arguments: int | str) -> str:
        nonlocal count
        count += 1
        padded = [number, *arguments, *[0] * (6 - len(arguments))]
        lines.append(f"  %r{count} = call i64 @system_call({', '.join(f'i64 {value}' for value in padded)})")
        return f"%r{count}"

    descriptors = []
    for number, path in enumerate(paths):
        text = path.encode() + b"\0"
        spelled = "".join(f"\\{byte:02x}" for byte in text)
        globals_.append(f'@path{number} = internal constant [{len(text)} x i8] c"{spelled}"')
        lines.append(f"  %p{number} = ptrtoint ptr @path{number} to i64")
        descriptors.append(system_call(_OPEN, _CURRENT_DIRECTORY, f"%p{number}", 0))
    for file, address, size_bytes, protection, offset in maps:
        system_call(_MMAP, address, size_bytes, protection, _FIXED_PRIVATE, descriptors[file], offset)
    system_call(_MMAP, ARENA, _ARENA_BYTES, 3, _FIXED_PRIVATE | _ANONYMOUS, -1, 0)
    lines += [
        f"  %entry = inttoptr i64 {entry} to ptr",
        f"  %frame = inttoptr i64 {IMAGE} to ptr",
        "  %status = call i32 %entry(ptr %frame)",
        f"  %at = inttoptr i64 {IMAGE + _STATUS} to ptr",
        "  store i32 %status, ptr %at",
    ]
    system_call(_WRITE, 1, IMAGE, _BYTES)
    for name in ("output_offset", "output_size"):
        lines.append(f"  %{name}_at = inttoptr i64 {IMAGE + FRAME.offset(name)} to ptr")
        lines.append(f"  %{name} = load i64, ptr %{name}_at")
    lines.append(f"  %output = add i64 {ARENA + _MEMORY}, %output_offset")
    system_call(_WRITE, 1, "%output", "%output_size")
    system_call(_EXIT, 0)
    return "\n".join([*globals_, "define void @_start() {", *lines, "  unreachable", "}", ""])


def _read(shown: bytes) -> Answer:
    def number(record: Record, at: int, name: str) -> int:
        start = at + record.offset(name)
        return int.from_bytes(shown[start : start + 8], "little", signed=True)

    assert len(shown) == _BYTES + number(FRAME, 0, "output_size")
    return Answer(
        int.from_bytes(shown[_STATUS : _STATUS + 4], "little", signed=True),
        number(FRAME, 0, "gas"),
        number(FRAME, 0, "refund"),
        shown[_BYTES:],
        number(SLOT_TABLE, _SLOT_TABLE, "count"),
        number(LOG_BUFFER, _LOG_BUFFER, "size"),
    )
