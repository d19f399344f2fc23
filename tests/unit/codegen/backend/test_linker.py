"""The own linker: what it links behaves as written, has the documented shape, and is the same every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from evmaot.abi.library import ENTRY, parse_table, table_size_bytes
from evmaot.codegen.backend.linker import LINKERS, MAX_LIBRARY_BYTES, link, link_shared_library
from evmaot.codegen.backend.system_linker import SYSTEM_LINKERS, find_linker
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.errors import CompilerBug, LinkError, UsageError
from evmaot.runtime.image import load_image, open_library
from evmaot.store.elf_rules import check_library
from evmaot.target import Target, host_target
from tests.support.aarch64 import emulator, run_program, static_program
from tests.support.elf_patch import parsed, put_section
from tests.support.libraries import (
    AARCH64,
    BUILTINS_TEXT,
    INPUTS,
    X86_64,
    assert_behaves,
    call,
    code_sha256,
    compiled,
    entry_text,
    expected,
    library_objects,
    rules,
    salt,
    table_of,
)

SONAME = "evmaot-test.so"
ON_X86_64 = pytest.mark.skipif(host_target() != X86_64, reason="runs x86-64 code")
TIERS = pytest.mark.parametrize("tier", list(Tier))
TARGETS = pytest.mark.parametrize("target", [X86_64, AARCH64], ids=["x86_64", "aarch64"])


def own(objects: tuple[bytes, ...], target: Target = X86_64) -> bytes:
    return link_shared_library(objects, soname=SONAME, target=target)


@ON_X86_64
@TIERS
def test_linked_code_behaves_in_an_image_and_under_dlopen(tier: Tier, tmp_path: Path) -> None:
    data = own(library_objects(tier=tier))
    assert_behaves(load_image(data).entries)
    path = tmp_path / "library.so"
    path.write_bytes(data)
    assert_behaves(open_library(path).entries)


@ON_X86_64
@TIERS
@pytest.mark.parametrize("linker", SYSTEM_LINKERS)
def test_a_system_linker_makes_an_equal_library_of_the_same_objects(linker: str, tier: Tier, tmp_path: Path) -> None:
    if find_linker(linker) is None:
        pytest.skip(f"{linker} is not installed")
    objects = library_objects(tier=tier)
    data = link(linker, objects, soname=SONAME, target=X86_64)
    assert check_library(data, architecture="x86_64") is None
    path = tmp_path / "library.so"
    path.write_bytes(data)
    theirs, ours = open_library(path), load_image(own(objects))
    assert_behaves(theirs.entries)
    assert (theirs.profile_id, theirs.abi_fingerprint) == (ours.profile_id, ours.abi_fingerprint)
    for key, address in theirs.entries.items():
        for words in INPUTS:
            assert call(address, words) == call(ours.entries[key], words)


@ON_X86_64
def test_objects_may_come_in_any_order() -> None:
    assert_behaves(load_image(own(tuple(reversed(library_objects())))).entries)


@ON_X86_64
def test_a_pack_of_256_contracts_links() -> None:
    shared = compiled(entry_text(0))
    contracts = [shared.replace(b"entry_0000", f"entry_{number:04d}".encode()) for number in range(256)]
    image = load_image(own((*contracts, compiled(BUILTINS_TEXT), compiled(table_text(table_of(256))))))
    assert len(image.entries) == 256
    addresses = [image.entries[code_sha256(number), rules(number)] for number in range(256)]
    assert addresses == sorted(set(addresses))
    for address in (addresses[0], addresses[1], addresses[255]):
        assert call(address, (9, 0, 0, 0, 0)) == (salt(0), (9, 0, 0, 0, 0))


@TARGETS
@TIERS
def test_library_keeps_the_rules_of_the_store(target: Target, tier: Tier) -> None:
    data = own(library_objects(target=target, tier=tier), target)
    assert check_library(data, architecture=target.architecture) is None


@TARGETS
def test_library_has_the_documented_shape(target: Target) -> None:
    file = parsed(own(library_objects(target=target), target))
    assert (file["e_type"], file.elfclass, file.little_endian) == ("ET_DYN", 64, True)
    assert file.get_machine_arch() == {"x86_64": "x64", "aarch64": "AArch64"}[target.architecture]
    flags = [segment["p_flags"] for segment in file.iter_segments("PT_LOAD")]
    assert flags == [4, 5, 6]
    (stack,), (relro,), (dynamic,) = (
        list(file.iter_segments(kind)) for kind in ("PT_GNU_STACK", "PT_GNU_RELRO", "PT_DYNAMIC")
    )
    assert stack["p_flags"] == 6
    assert relro["p_vaddr"] == dynamic["p_vaddr"]
    assert (relro["p_vaddr"] + relro["p_memsz"]) % 4096 == 0
    tags = {tag["d_tag"] for tag in dynamic.iter_tags()}
    assert tags == {
        "DT_SONAME", "DT_HASH", "DT_GNU_HASH", "DT_STRTAB", "DT_SYMTAB", "DT_STRSZ", "DT_SYMENT", "DT_NULL",
    }  # fmt: skip
    assert [tag.soname for tag in dynamic.iter_tags("DT_SONAME")] == [SONAME]


@TARGETS
def test_library_has_no_relocations_and_one_export(target: Target) -> None:
    file = parsed(own(library_objects(target=target), target))
    assert [s.name for s in file.iter_sections() if s["sh_type"] in ("SHT_RELA", "SHT_REL", "SHT_RELR")] == []
    dynsym = file.get_section_by_name(".dynsym")
    null, table = dynsym.iter_symbols()
    assert (null.name, null["st_shndx"]) == ("", "SHN_UNDEF")
    assert table.name == "evmaot_table"
    assert (table["st_info"]["bind"], table["st_info"]["type"]) == ("STB_GLOBAL", "STT_OBJECT")
    assert table["st_size"] == table_size_bytes(3)
    for name in (".hash", ".gnu.hash"):
        found = file.get_section_by_name(name)
        assert found.get_number_of_symbols() == 2
        assert found.get_symbol("evmaot_table").entry == table.entry
        assert found.get_symbol("evmaot_other") is None


@TARGETS
def test_sections_do_not_overlap_and_lie_in_their_segments(target: Target) -> None:
    file = parsed(own(library_objects(target=target), target))
    sections = [section for section in file.iter_sections() if section["sh_type"] != "SHT_NULL"]
    ranges = sorted((s["sh_offset"], s["sh_offset"] + s["sh_size"]) for s in sections)
    assert all(first[1] <= second[0] for first, second in pairwise(ranges))
    homes = {".rodata": 0, ".text": 1, ".dynamic": 2}
    segments = list(file.iter_segments("PT_LOAD"))
    for name, index in homes.items():
        assert segments[index].section_in_segment(file.get_section_by_name(name))
    page_bytes = {"x86_64": 0x1000, "aarch64": 0x10000}[target.architecture]
    pages = [range(s["p_vaddr"] // page_bytes, (s["p_vaddr"] + s["p_memsz"] - 1) // page_bytes + 1) for s in segments]
    assert all(first.stop <= second.start for first, second in pairwise(pages))


@TARGETS
def test_symtab_names_every_function_where_the_table_says_it_is(target: Target) -> None:
    file = parsed(own(library_objects(target=target), target))
    symtab = file.get_section_by_name(".symtab")
    assert [s["st_info"]["bind"] for s in symtab.iter_symbols()][-1] == "STB_GLOBAL"
    assert symtab["sh_info"] == symtab.num_symbols() - 1
    (table,) = symtab.get_symbol_by_name("evmaot_table")
    rodata = file.get_section_by_name(".rodata")
    data = rodata.data()[table["st_value"] - rodata["sh_addr"] :]
    by_key = {(code, rule): table["st_value"] + offset for code, rule, offset in parse_table(data)}
    for number in range(3):
        (symbol,) = symtab.get_symbol_by_name(f"entry_{number:04d}")
        assert symbol["st_info"]["type"] == "STT_FUNC"
        assert symbol["st_value"] == by_key[code_sha256(number), rules(number)]
    assert len(symtab.get_symbol_by_name("relay")) == 3


@TARGETS
def test_unwind_tables_and_comments_are_dropped(target: Target) -> None:
    objects = library_objects(target=target)
    assert any(parsed(data).get_section_by_name(".eh_frame") for data in objects)
    names = [section.name for section in parsed(own(objects, target)).iter_sections()]
    assert names == [
        "", ".dynsym", ".gnu.hash", ".hash", ".dynstr", ".rodata", ".text", ".dynamic", ".symtab", ".strtab",
        ".shstrtab",
    ]  # fmt: skip


@ON_X86_64
def test_alignment_of_constants_up_to_a_page_is_kept() -> None:
    text = entry_text(0) + '\n@page = hidden constant [5 x i8] c"abcde", align 4096\n'
    data = own((compiled(BUILTINS_TEXT), compiled(text), compiled(table_text(table_of(1)))))
    assert check_library(data) is None
    assert_behaves(load_image(data).entries, count=1)
    assert b"abcde" in data
    assert data.index(b"abcde") % 4096 == 0


def test_the_same_objects_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    script = (
        "import hashlib, sys; from pathlib import Path\n"
        "from evmaot.codegen.backend.linker import link_shared_library\n"
        "from evmaot.target import TARGETS\n"
        "objects = [Path(name).read_bytes() for name in sys.argv[1:]]\n"
        f"data = link_shared_library(objects, soname={SONAME!r}, target=TARGETS['x86_64-linux'])\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    objects = library_objects()
    names = []
    for index, data in enumerate(objects):
        names.append(str(tmp_path / f"{index}.o"))
        Path(names[-1]).write_bytes(data)
    digests = {hashlib.sha256(own(objects)).hexdigest()}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", script, *names],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_soname_is_the_only_thing_it_changes() -> None:
    one, two = (link_shared_library(library_objects(), soname=name, target=X86_64) for name in ("aa.so", "bb.so"))
    assert one != two
    assert one.replace(b"aa.so", b"bb.so") == two


@pytest.mark.parametrize("soname", ["", "a/b", "a b", "ä.so", "a\0b", "x" * 256])
def test_a_soname_that_is_no_file_name_is_a_bug(soname: str) -> None:
    with pytest.raises(CompilerBug):
        link_shared_library(library_objects(), soname=soname, target=X86_64)


def test_a_weak_symbol_yields_to_a_strong_one_in_any_order() -> None:
    weak = compiled("define weak hidden i64 @add_seven(i64 %x) {\n  ret i64 0\n}\n")
    for objects in ((weak, *library_objects()), (*library_objects(), weak)):
        data = own(objects)
        assert check_library(data) is None
        if host_target() == X86_64:
            assert_behaves(load_image(data).entries)


def test_a_library_above_the_limit_is_refused_before_it_is_made() -> None:
    # One object that claims more content than the limit allows in total: memory-cheap because the same object is used.
    padding = compiled("@zeroes = hidden constant [33554432 x i8] zeroinitializer\n")
    copies = [padding.replace(b"zeroes", f"zero{number:02d}".encode()) for number in range(3)]
    repeated = [*library_objects(), *copies, *[_without_symbols(padding)] * 32]
    with pytest.raises(LinkError) as caught:
        link_shared_library(repeated, soname=SONAME, target=X86_64)
    assert caught.value.reference == "library_too_large"
    assert str(MAX_LIBRARY_BYTES) in caught.value.message


def _without_symbols(data: bytes) -> bytes:
    return put_section(data, ".symtab", "type", 0)


def test_linkers_are_own_and_those_of_the_system() -> None:
    assert LINKERS == ("own", "ld", "lld", "cc", "zig")
    assert link("own", library_objects(), soname=SONAME, target=X86_64) == own(library_objects())


def test_an_unknown_linker_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        link("gold", library_objects(), soname=SONAME, target=X86_64)
    assert caught.value.reference == "unknown_linker"


def test_a_target_without_linker_is_refused() -> None:
    with pytest.raises(LinkError) as caught:
        link_shared_library(library_objects(), soname=SONAME, target=Target("riscv64-unknown-linux-gnu", "generic"))
    assert caught.value.reference == "unsupported_target"


# aarch64 on another machine.
START_TEXT = """
declare hidden i32 @entry_0000(ptr)
declare hidden i64 @system_call(i64, i64, i64, i64, i64, i64, i64)
@inputs = internal constant [INPUT_BYTES x i8] c"INPUTS"

define void @_start() {
  %words = alloca [6 x i64], align 16
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %at = mul i64 %i, 40
  %from = getelementptr i8, ptr @inputs, i64 %at
  %one = load [5 x i64], ptr %from
  store [5 x i64] %one, ptr %words
  %result = call i32 @entry_0000(ptr %words)
  %wide = sext i32 %result to i64
  %last = getelementptr i64, ptr %words, i64 5
  store i64 %wide, ptr %last
  %address = ptrtoint ptr %words to i64
  %written = call i64 @system_call(i64 64, i64 1, i64 %address, i64 48, i64 0, i64 0, i64 0)
  %next = add i64 %i, 1
  %done = icmp eq i64 %next, INPUT_COUNT
  br i1 %done, label %end, label %loop
end:
  %never = call i64 @system_call(i64 93, i64 0, i64 0, i64 0, i64 0, i64 0, i64 0)
  unreachable
}
"""


@TIERS
def test_linked_aarch64_code_behaves_under_emulation(tier: Tier, tmp_path: Path) -> None:
    if emulator() is None:
        pytest.skip("qemu-aarch64 is not installed")
    data = b"".join(word.to_bytes(8, "little") for words in INPUTS for word in words)
    text = START_TEXT.replace("INPUT_BYTES", str(len(data))).replace("INPUT_COUNT", str(len(INPUTS)))
    text = text.replace("INPUTS", "".join(f"\\{byte:02x}" for byte in data))
    shown = run_program(static_program(text, tier), tmp_path / "program")
    records = [shown[at : at + 48] for at in range(0, len(shown), 48)]
    found = [tuple(int.from_bytes(r[at : at + 8], "little") for at in range(0, 48, 8)) for r in records]
    assert [(row[5], row[:5]) for row in found] == [expected(0, words) for words in INPUTS]


def test_a_table_entry_is_where_the_layout_says() -> None:
    # The linker writes distances, signed: code lies after the table, so all are positive here.
    data = own(library_objects())
    file = parsed(data)
    (table,) = file.get_section_by_name(".dynsym").get_symbol_by_name("evmaot_table")
    start = table["st_value"]  # the first segment's addresses are file offsets
    offsets = [ENTRY.unpack_from(data, start + 80 + index * ENTRY.size)[2] for index in range(3)]
    text = file.get_section_by_name(".text")
    assert all(text["sh_addr"] <= start + offset < text["sh_addr"] + text["sh_size"] for offset in offsets)
