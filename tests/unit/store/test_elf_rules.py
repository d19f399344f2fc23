"""Every rule of a published library: a library that breaks it is named, and no input makes the check fail."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from evmaot.abi import elf
from evmaot.abi.library import HEADER
from evmaot.codegen.backend.linker import link, link_shared_library
from evmaot.codegen.backend.system_linker import find_linker
from evmaot.codegen.emit.table import table_text
from evmaot.store.elf_rules import RULES, LibraryLayout, check_library, read_layout
from evmaot.target import Target, host_target
from tests.support.elf_patch import dynamic_entry_offset, parsed, put, put_dynamic, put_segment, put_symbol
from tests.support.libraries import AARCH64, BUILTINS_TEXT, X86_64, compiled, library_objects, table_of
from tests.support.scale import scaled


@cache
def library(target: Target = X86_64) -> bytes:
    return link_shared_library(library_objects(target=target), soname="evmaot-x.so", target=target)


@cache
def small_library() -> bytes:
    """The least library there is: one entry of a few bytes."""
    texts = ("define hidden i32 @entry_0000(ptr %frame) {\n  ret i32 7\n}\n", table_text(table_of(1)))
    return link_shared_library([compiled(text) for text in texts], soname="s.so", target=X86_64)


def section_start(name: str) -> int:
    return int(parsed(library()).get_section_by_name(name)["sh_offset"])


def table_start() -> int:
    (symbol,) = parsed(library()).get_section_by_name(".dynsym").get_symbol_by_name("evmaot_table")
    return int(symbol["st_value"])


def with_relocation(kind: int, place: int) -> bytes:
    """The library with one dynamic relocation, its record lying in .text."""
    data, text = library(), parsed(library()).get_section_by_name(".text")
    address = elf.align_up(text["sh_addr"], 8)
    offset = text["sh_offset"] + address - text["sh_addr"]
    data = data[:offset] + elf.RELOCATION.pack(place, kind, 0, 0) + data[offset + elf.RELOCATION.size :]
    # Relocations are checked before hash tables, whose tags make room.
    data = put_dynamic(data, elf.DT_SONAME, elf.DT_RELA, address)
    data = put_dynamic(data, elf.DT_GNU_HASH, elf.DT_RELASZ, elf.RELOCATION.size)
    return put_dynamic(data, elf.DT_HASH, elf.DT_RELAENT, elf.RELOCATION.size)


def with_read_only_dynamic_section(data: bytes) -> bytes:
    size_bytes = parsed(data).get_section_by_name(".dynamic")["sh_size"]
    data = put_segment(data, elf.PT_LOAD, "flags", elf.PF_R, which=2)
    data = put_segment(data, elf.PT_LOAD, "memory_bytes", size_bytes, which=2)
    return put_segment(data, elf.PT_GNU_RELRO, "type", elf.PT_NULL)


def test_a_linked_library_keeps_all_rules() -> None:
    assert check_library(library()) is None
    assert check_library(small_library()) is None
    assert check_library(library(AARCH64), architecture="aarch64") is None


def test_the_layout_is_that_of_an_independent_reader() -> None:
    layout, file = read_layout(library()), parsed(library())
    assert isinstance(layout, LibraryLayout)
    segments = [
        (s["p_flags"], s["p_offset"], s["p_vaddr"], s["p_filesz"], s["p_memsz"]) for s in file.iter_segments("PT_LOAD")
    ]
    found = [(s.flags, s.offset, s.address, s.file_bytes, s.memory_bytes) for s in layout.segments]
    assert found == segments
    assert layout.span_bytes == segments[-1][2] + segments[-1][4]
    assert (layout.table_address, layout.table_offset) == (table_start(), table_start())
    assert layout.has_relocations is False
    text = file.get_section_by_name(".text")
    assert layout.is_code(text["sh_addr"])
    assert not layout.is_code(table_start())


Change = Callable[[bytes], bytes]

BROKEN: list[tuple[str, str, Change]] = [
    ("elf_header", "magic", lambda d: put(d, 0, "B", 0)),
    ("elf_header", "32 bits", lambda d: put(d, 4, "B", 1)),
    ("elf_header", "big endian", lambda d: put(d, 5, "B", 2)),
    ("elf_header", "operating system", lambda d: put(d, 7, "B", 9)),
    ("elf_header", "executable", lambda d: put(d, 16, "H", 2)),
    ("elf_header", "object", lambda d: put(d, 16, "H", elf.ET_REL)),
    ("machine", "unknown", lambda d: put(d, 18, "H", 3)),
    ("program_headers", "outside", lambda d: put(d, 32, "Q", len(d) - 8)),
    ("program_headers", "misaligned", lambda d: put(d, 32, "Q", 65)),
    ("program_headers", "none", lambda d: put(d, 56, "H", 0)),
    ("program_headers", "many", lambda d: put(d, 56, "H", 65535)),
    ("program_headers", "size", lambda d: put(d, 54, "H", 32)),
    ("program_headers", "interpreter", lambda d: put_segment(d, elf.PT_GNU_STACK, "type", 3)),
    ("program_headers", "thread-local", lambda d: put_segment(d, elf.PT_GNU_STACK, "type", 7)),
    ("program_headers", "notes outside", lambda d: put_segment(d, elf.PT_GNU_RELRO, "type", elf.PT_NOTE)),
    ("program_headers", "dynamic outside", lambda d: put_segment(d, elf.PT_DYNAMIC, "address", 1 << 40)),
    ("program_headers", "dynamic elsewhere", lambda d: put_segment(d, elf.PT_DYNAMIC, "offset", 0)),
    ("section_headers", "outside", lambda d: put(d, 40, "Q", len(d))),
    ("section_headers", "size", lambda d: put(d, 58, "H", 1)),
    ("segments", "outside", lambda d: put_segment(d, elf.PT_LOAD, "file_bytes", len(d) + 1, which=1)),
    ("segments", "huge", lambda d: put_segment(d, elf.PT_LOAD, "memory_bytes", 1 << 63, which=2)),
    ("segments", "less memory than file", lambda d: put_segment(d, elf.PT_LOAD, "memory_bytes", 1, which=1)),
    ("segments", "zeroes in read-only memory", lambda d: put_segment(d, elf.PT_LOAD, "memory_bytes", 4000, which=1)),
    ("segments", "overlap", lambda d: put_segment(d, elf.PT_LOAD, "address", 0, which=1)),
    ("segments", "not congruent", lambda d: put_segment(d, elf.PT_LOAD, "offset", 0, which=1)),
    ("segments", "alignment", lambda d: put_segment(d, elf.PT_LOAD, "alignment", 0, which=1)),
    ("segments", "alignment no power of two", lambda d: put_segment(d, elf.PT_LOAD, "alignment", 0x3000, which=1)),
    ("segments", "huge alignment", lambda d: put_segment(d, elf.PT_LOAD, "alignment", 1 << 40, which=0)),
    ("segments", "unreadable", lambda d: put_segment(d, elf.PT_LOAD, "flags", 0, which=0)),
    ("segments", "unknown flags", lambda d: put_segment(d, elf.PT_LOAD, "flags", 12, which=0)),
    ("segments", "base", lambda d: put_segment(d, elf.PT_LOAD, "type", elf.PT_NULL, which=0)),
    ("executable_stack", "executable", lambda d: put_segment(d, elf.PT_GNU_STACK, "flags", 7)),
    ("executable_stack", "no header", lambda d: put_segment(d, elf.PT_GNU_STACK, "type", elf.PT_NULL)),
    ("write_execute", "code", lambda d: put_segment(d, elf.PT_LOAD, "flags", 7, which=1)),
    ("writable_data", "code", lambda d: put_segment(d, elf.PT_LOAD, "flags", 6, which=1)),
    ("writable_data", "no protection", lambda d: put_segment(d, elf.PT_GNU_RELRO, "type", elf.PT_NULL)),
    ("writable_data", "protection ends early", lambda d: put_segment(d, elf.PT_GNU_RELRO, "memory_bytes", 8)),
    ("writable_data", "protection elsewhere", lambda d: put_segment(d, elf.PT_GNU_RELRO, "address", 0)),
    ("writable_data", "protection of more", lambda d: put_segment(d, elf.PT_GNU_RELRO, "memory_bytes", 1 << 30)),
    ("dynamic_section", "none", lambda d: put_segment(d, elf.PT_DYNAMIC, "type", elf.PT_NULL)),
    ("dynamic_section", "no end", lambda d: put_dynamic(d, elf.DT_NULL, elf.DT_DEBUG)),
    ("dynamic_section", "twice", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_STRTAB)),
    ("dynamic_section", "read-only", lambda d: with_read_only_dynamic_section(d)),
    ("dynamic_tag", "audit", lambda d: put_dynamic(d, elf.DT_SONAME, 0x6FFFFEFC)),
    ("dynamic_tag", "filter", lambda d: put_dynamic(d, elf.DT_SONAME, 0x7FFFFFFF)),
    ("dynamic_tag", "flags", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_FLAGS, 0x10)),
    ("dynamic_tag", "flags 1", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_FLAGS_1, 0x20)),
    ("needed", "a library", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_NEEDED)),
    ("needed", "a name outside", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_NEEDED, 1 << 40)),
    *[("constructor", str(tag), lambda d, tag=tag: put_dynamic(d, elf.DT_SONAME, tag))
      for tag in (elf.DT_INIT, elf.DT_FINI, elf.DT_INIT_ARRAY, elf.DT_FINI_ARRAY, elf.DT_PREINIT_ARRAY)],
    ("search_path", "RPATH", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_RPATH)),
    ("search_path", "RUNPATH", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_RUNPATH)),
    ("text_relocation", "tag", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_TEXTREL)),
    ("text_relocation", "flag", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_FLAGS, elf.DF_TEXTREL)),
    *[("relocation", str(tag), lambda d, tag=tag: put_dynamic(d, elf.DT_SONAME, tag))
      for tag in (elf.DT_REL, elf.DT_JMPREL, elf.DT_RELR, elf.DT_RELA, elf.DT_RELASZ)],
    ("symbols", "outside", lambda d: put_dynamic(d, elf.DT_SYMTAB, elf.DT_SYMTAB, len(d))),
    ("symbols", "misaligned", lambda d: put_dynamic(d, elf.DT_SYMTAB, elf.DT_SYMTAB, section_start(".dynsym") + 1)),
    ("symbols", "size", lambda d: put_dynamic(d, elf.DT_SYMENT, elf.DT_SYMENT, 16)),
    ("symbols", "name outside", lambda d: put_symbol(d, "evmaot_table", "name", 1 << 30, ".dynsym")),
    ("symbols", "name without end", lambda d: put_dynamic(d, elf.DT_STRSZ, elf.DT_STRSZ, 5)),
    ("symbols", "soname outside", lambda d: put_dynamic(d, elf.DT_SONAME, elf.DT_SONAME, 1 << 30)),
    ("symbols", "strings outside", lambda d: put_dynamic(d, elf.DT_STRTAB, elf.DT_STRTAB, 1 << 30)),
    ("symbols", "symbol 0", lambda d: put(d, section_start(".dynsym") + 6, "H", 1)),
    ("undefined_symbol", "import", lambda d: put_symbol(d, "evmaot_table", "section", 0, ".dynsym")),
    ("ifunc", "symbol", lambda d: put_symbol(d, "evmaot_table", "info", 0x1A, ".dynsym")),
    ("exports", "function", lambda d: put_symbol(d, "evmaot_table", "info", 0x12, ".dynsym")),
    ("exports", "weak", lambda d: put_symbol(d, "evmaot_table", "info", 0x21, ".dynsym")),
    ("exports", "local", lambda d: put_symbol(d, "evmaot_table", "info", 0x01, ".dynsym")),
    ("exports", "other name", lambda d: put_symbol(d, "evmaot_table", "name", 2, ".dynsym")),
    ("exports", "absolute", lambda d: put_symbol(d, "evmaot_table", "section", elf.SHN_ABS, ".dynsym")),
    ("hash_table", "none", lambda d: put_dynamic(put_dynamic(d, elf.DT_HASH, elf.DT_SYMBOLIC),
                                                 elf.DT_GNU_HASH, elf.DT_BIND_NOW)),
    ("hash_table", "outside", lambda d: put_dynamic(d, elf.DT_HASH, elf.DT_HASH, len(d))),
    ("hash_table", "no buckets", lambda d: put(d, section_start(".hash"), "I", 0)),
    ("hash_table", "many buckets", lambda d: put(d, section_start(".hash"), "I", 2**32 - 1)),
    ("hash_table", "many symbols", lambda d: put(d, section_start(".hash") + 4, "I", 2**32 - 1)),
    ("hash_table", "bucket outside", lambda d: put(d, section_start(".hash") + 8, "I", 2)),
    ("hash_table", "loop", lambda d: put(d, section_start(".hash") + 16, "I", 1)),
    ("hash_table", "GNU: no buckets", lambda d: put(d, section_start(".gnu.hash"), "I", 0)),
    ("hash_table", "GNU: first symbol", lambda d: put(d, section_start(".gnu.hash") + 4, "I", 0)),
    ("hash_table", "GNU: bloom size", lambda d: put(d, section_start(".gnu.hash") + 8, "I", 3)),
    ("hash_table", "GNU: shift", lambda d: put(d, section_start(".gnu.hash") + 12, "I", 64)),
    ("hash_table", "GNU: bucket outside", lambda d: put(d, section_start(".gnu.hash") + 24, "I", 2**31)),
    ("hash_table", "GNU: chain without end", lambda d: put(d, section_start(".gnu.hash") + 28, "I", 0)),
    ("table", "magic", lambda d: put(d, table_start(), "B", 0)),
    ("table", "count", lambda d: put(d, table_start() + 40, "Q", 2)),
    ("table", "huge count", lambda d: put(d, table_start() + 40, "Q", 2**64 - 1)),
    ("table", "unsorted", lambda d: put(d, table_start() + HEADER.size, "Q", 2**64 - 1)),
    ("table", "size", lambda d: put_symbol(d, "evmaot_table", "size", 80, ".dynsym")),
    ("table", "huge size", lambda d: put_symbol(d, "evmaot_table", "size", 2**63, ".dynsym")),
    ("table", "outside", lambda d: put_symbol(d, "evmaot_table", "value", 2**40, ".dynsym")),
    ("table", "misaligned", lambda d: put_symbol(d, "evmaot_table", "value", table_start() + 4, ".dynsym")),
    ("table", "in code", lambda d: put_symbol(d, "evmaot_table", "value",
                                              parsed(d).get_section_by_name(".text")["sh_addr"] & -8, ".dynsym")),
    ("entry_address", "before", lambda d: put(d, table_start() + HEADER.size + 64, "q", -(2**40))),
    ("entry_address", "in constants", lambda d: put(d, table_start() + HEADER.size + 64, "q", 0)),
    ("ifunc", "relocation", lambda d: with_relocation(elf.R_X86_64_IRELATIVE, 0)),
    ("relocation", "of a symbol", lambda d: with_relocation(6, 0)),
    ("text_relocation", "in code", lambda d: with_relocation(elf.R_X86_64_RELATIVE, 0x1000)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "change"), [row[::2] for row in BROKEN], ids=[f"{row[0]}: {row[1]}" for row in BROKEN]
)
def test_a_library_that_breaks_a_rule_is_named(rule: str, change: Change) -> None:
    assert check_library(change(library())) == rule


def test_every_rule_is_tested() -> None:
    assert {row[0] for row in BROKEN} == set(RULES)


def test_the_machine_is_checked_against_the_expected_one() -> None:
    assert check_library(library(), architecture="x86_64") is None
    assert check_library(library(), architecture="aarch64") == "machine"
    assert check_library(library(), architecture="riscv64") == "machine"


def test_a_needed_library_may_be_allowed_by_name() -> None:
    data = put_dynamic(library(), elf.DT_SONAME, elf.DT_NEEDED)
    assert check_library(data, allowed_needed=("evmaot-x.so",)) is None
    assert check_library(data, allowed_needed=("libc.so.6",)) == "needed"


def test_a_truncated_library_is_refused_at_every_byte() -> None:
    data = small_library()
    assert [size for size in range(len(data)) if check_library(data[:size]) is None] == []


def test_a_library_followed_by_other_bytes_is_the_same_library() -> None:
    assert read_layout(library() + bytes(100)) == read_layout(library())


def test_no_damage_makes_the_check_fail() -> None:
    """Every single bit, then random bytes in random places: the answer is None or a rule."""
    data = small_library()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            found = check_library(bytes(changed))
            assert found is None or found in RULES
    source = random.Random(20260101)
    for _ in range(scaled(3000)):
        changed = bytearray(data)
        for _ in range(source.randrange(1, 12)):
            position = source.randrange(len(changed))
            changed[position] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        found = check_library(bytes(changed))
        assert found is None or found in RULES


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", bytes(64), bytes(10_000), b"\xff" * 10_000, elf.IDENT + b"\xff" * 10_000]
)
def test_what_is_no_library_is_refused(data: bytes) -> None:
    assert check_library(data) in RULES


OPEN_ALL = """
import ctypes, os, sys
size = int(sys.argv[1])
data = sys.stdin.buffer.read()
for at in range(0, len(data), size):
    file = os.memfd_create("library")
    os.write(file, data[at:at + size])
    try:
        library = ctypes.CDLL(f"/proc/self/fd/{file}", mode=os.RTLD_NOW | os.RTLD_LOCAL)
        ctypes.c_char.in_dll(library, "evmaot_table")
    except (OSError, ValueError):
        pass
    try:
        ctypes.c_char.in_dll(library, "no_such_symbol")
    except (NameError, ValueError):
        pass
print("survived")
"""


@pytest.mark.skipif(host_target() != X86_64, reason="opens x86-64 libraries")
def test_what_passes_the_check_never_crashes_the_dynamic_loader() -> None:
    """Every flipped bit in headers, symbols, hash tables and dynamic section that no rule catches is harmless."""
    data = small_library()
    dynamic = dynamic_entry_offset(data, elf.DT_SONAME)
    passing = []
    for position in (*range(table_of_small()), *range(dynamic, dynamic + 8 * 16)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            if check_library(bytes(changed)) is None:
                passing.append(bytes(changed))
    assert len(passing) > 100
    command = [sys.executable, "-c", OPEN_ALL, str(len(data))]
    done = subprocess.run(command, input=b"".join(passing), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"survived")


def table_of_small() -> int:
    (symbol,) = parsed(small_library()).get_section_by_name(".dynsym").get_symbol_by_name("evmaot_table")
    return int(symbol["st_value"])


needs_ld = pytest.mark.skipif(find_linker("ld") is None or host_target() != X86_64, reason="ld is not installed")


@needs_ld
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("@x = hidden global i64 7\n", "writable_data"),
        ("@x = hidden global [5000 x i64] zeroinitializer\n", "writable_data"),
        (
            "@llvm.global_ctors = appending global [1 x { i32, ptr, ptr }] "
            "[{ i32, ptr, ptr } { i32 65535, ptr @evil, ptr null }]\n"
            "define internal void @evil() {\n  ret void\n}\n",
            None,
        ),
        ("@f = hidden ifunc i32 (), ptr @choose\ndefine internal ptr @choose() {\n  ret ptr null\n}\n"
         "define hidden i32 @caller() {\n  %r = call i32 @f()\n  ret i32 %r\n}\n", "relocation"),
        ("@x = thread_local global i64 7\n", "program_headers"),
    ],
    ids=["data", "bss", "constructor", "ifunc", "thread-local"],
)  # fmt: skip
def test_a_real_library_of_another_linker_is_refused(text: str, rule: str | None) -> None:
    data = link("ld", (*library_objects(), compiled(text)), soname="x.so", target=X86_64)
    found = check_library(data)
    # ld puts old-style constructors into a writable section; one rule or another must name them.
    assert found == rule if rule else found in ("constructor", "writable_data", "relocation")


@needs_ld
def test_a_table_of_addresses_from_another_linker_is_accepted_and_said_to_need_relocation() -> None:
    text = "@addresses = hidden constant [2 x ptr] [ptr @triple, ptr @add_seven]\n" + BUILTINS_TEXT
    objects = (*library_objects()[:-2], compiled(text), library_objects()[-1])
    layout = read_layout(link("ld", objects, soname="x.so", target=X86_64))
    assert isinstance(layout, LibraryLayout)
    assert layout.has_relocations is True


def test_the_check_reads_a_mapped_file(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "library.so"
    path.write_bytes(library())
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert read_layout(data) == read_layout(library())
