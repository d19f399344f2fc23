"""The library's table as LLVM IR: constant, relocatable without the dynamic loader, in the documented layout."""

from __future__ import annotations

from typing import Any

import pytest

from evmaot.abi.library import ENTRY, HEADER, MAX_ENTRIES, LibraryTable, TableEntry, parse_table, table_size_bytes
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import Tier
from evmaot.errors import CompilerBug
from evmaot.target import Target
from tests.support.elf_patch import parsed
from tests.support.libraries import AARCH64, X86_64, table_of

TARGETS = pytest.mark.parametrize("target", [X86_64, AARCH64], ids=["x86_64", "aarch64"])
TIERS = pytest.mark.parametrize("tier", list(Tier))


def compiled_table(table: LibraryTable, tier: Tier, target: Target) -> Any:
    return parsed(compile_text(table_text(table), tier, target).data)


@TARGETS
@TIERS
def test_table_is_read_only_data_with_distances_alone(target: Target, tier: Tier) -> None:
    object_file = compiled_table(table_of(3), tier, target)
    writable = [s.name for s in object_file.iter_sections() if s["sh_flags"] & 1 and s["sh_size"]]
    assert writable == []
    kinds = {
        relocation["r_info_type"] for relocation in object_file.get_section_by_name(".rela.rodata").iter_relocations()
    }
    # R_X86_64_PC64, R_AARCH64_PREL64: a distance, resolved for good by the linker.
    assert kinds == {24 if target is X86_64 else 260}
    assert object_file.get_section_by_name(".rela.rodata").num_relocations() == 3


@TARGETS
@TIERS
def test_table_bytes_are_those_of_the_layout(target: Target, tier: Tier) -> None:
    table = table_of(3)
    object_file = compiled_table(table, tier, target)
    (symbol,) = object_file.get_section_by_name(".symtab").get_symbol_by_name("evmaot_table")
    assert (symbol["st_info"]["bind"], symbol["st_info"]["type"]) == ("STB_GLOBAL", "STT_OBJECT")
    assert symbol["st_size"] == table_size_bytes(3)
    section = object_file.get_section(symbol["st_shndx"])
    assert section["sh_addralign"] >= 8
    data = section.data()[symbol["st_value"] :]
    parsed = parse_table(data)
    assert (parsed.abi_fingerprint, parsed.profile_id) == (table.abi_fingerprint, table.profile_id)
    assert [key[:2] for key in parsed] == [entry.key for entry in table.sorted_entries]


def test_each_distance_is_relocated_against_its_entry() -> None:
    object_file = compiled_table(table_of(5), Tier.OPTIMISED, X86_64)
    symbols = object_file.get_section_by_name(".symtab")
    names = {
        relocation["r_offset"]: symbols.get_symbol(relocation["r_info_sym"]).name
        for relocation in object_file.get_section_by_name(".rela.rodata").iter_relocations()
    }
    wanted = {
        HEADER.size + index * ENTRY.size + 64: entry.symbol for index, entry in enumerate(table_of(5).sorted_entries)
    }
    assert names == wanted


def test_two_keys_may_share_an_entry() -> None:
    entries = tuple(TableEntry(bytes(32), bytes([number]) * 32, "shared") for number in range(2))
    text = table_text(LibraryTable(bytes(32), bytes(32), entries))
    assert text.count("declare hidden i32 @shared(ptr)") == 1
    compile_text(text, Tier.FAST, X86_64)


@pytest.mark.parametrize("count", [0, MAX_ENTRIES])
def test_table_of_least_and_most_entries_compiles(count: int) -> None:
    object_file = compiled_table(table_of(count), Tier.OPTIMISED, X86_64)
    (symbol,) = object_file.get_section_by_name(".symtab").get_symbol_by_name("evmaot_table")
    assert symbol["st_size"] == table_size_bytes(count)


def test_text_is_a_function_of_the_set_of_entries() -> None:
    table = table_of(4)
    shuffled = LibraryTable(table.abi_fingerprint, table.profile_id, tuple(reversed(table.entries)))
    assert table_text(shuffled) == table_text(table)


@pytest.mark.parametrize("symbol", ["", "a b", 'a"', "a\n", "1a", "evmaot_table", "ä"])
def test_a_name_that_is_no_identifier_is_a_bug(symbol: str) -> None:
    with pytest.raises(CompilerBug):
        table_text(LibraryTable(bytes(32), bytes(32), (TableEntry(bytes(32), bytes(32), symbol),)))
