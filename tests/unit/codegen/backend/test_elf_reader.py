"""What the linker takes from an object, and the name of the reason where it takes none."""

from __future__ import annotations

import pytest

from evmaot.abi import elf
from evmaot.codegen.backend.elf_reader import read_object
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.errors import LinkError
from tests.support.elf_patch import parsed, put, put_section, put_symbol, rename_section
from tests.support.libraries import AARCH64, BUILTINS_TEXT, X86_64, compiled, entry_text, library_objects

FUNCTION = "define hidden i32 @function() {\n  ret i32 1\n}\n"


def refusal(data: bytes) -> LinkError:
    """The error of linking a good library with one more object."""
    with pytest.raises(LinkError) as caught:
        link_shared_library((*library_objects(), data), soname="x.so", target=X86_64)
    return caught.value


def test_code_and_constants_are_kept_and_the_rest_is_dropped() -> None:
    found = read_object(compiled(entry_text(0)), 0, elf.EM_X86_64)
    kept = {section.name: section.is_code for section in found.sections.values()}
    assert kept[".text"] is True
    assert {name for name, is_code in kept.items() if not is_code} >= {".rodata"}
    assert all(name.startswith((".text", ".rodata")) for name in kept)
    assert {".eh_frame", ".note.GNU-stack"} <= set(found.dropped.values())


@pytest.mark.parametrize(
    ("text", "reference", "section"),
    [
        ("@x = hidden global i64 7\n", "writable_section", ".data"),
        ("@x = hidden global i64 0\n", "writable_section", ".bss"),
        ("@x = hidden constant ptr @function\n", "writable_section", ".data.rel.ro"),
        ("@x = hidden thread_local global i64 7\n", "thread_local", ".tdata"),
        ("@x = hidden thread_local global i64 0\n", "thread_local", ".tbss"),
        (
            "@llvm.global_ctors = appending global [1 x { i32, ptr, ptr }] "
            "[{ i32, ptr, ptr } { i32 65535, ptr @function, ptr null }]\n",
            "constructor",
            ".ctors",
        ),
        (
            "@llvm.global_dtors = appending global [1 x { i32, ptr, ptr }] "
            "[{ i32, ptr, ptr } { i32 65535, ptr @function, ptr null }]\n",
            "constructor",
            ".dtors",
        ),
        ("$group = comdat any\n@group = linkonce_odr hidden constant i64 7, comdat\n", "comdat_group", ".group"),
        ('@x = hidden constant i64 7, section "custom"\n', "unknown_section", "custom"),
        ('define hidden void @g() section "custom" {\n  ret void\n}\n', "unknown_section", "custom"),
        ('define hidden void @g() section ".init" {\n  ret void\n}\n', "constructor", ".init"),
    ],
    ids=[
        "data", "bss", "addresses", "tdata", "tbss", "constructor", "destructor", "comdat", "data section",
        "code section", "init",
    ],
)  # fmt: skip
def test_a_section_that_a_library_must_not_hold_is_refused_by_name(text: str, reference: str, section: str) -> None:
    error = refusal(compiled(FUNCTION + text))
    assert error.reference == reference
    assert str(error.context["section"]).startswith(section)
    assert error.context["object"] == len(library_objects())
    assert error.hint


@pytest.mark.parametrize("name", [".init_array", ".fini_array", ".preinit_array", ".init", ".fini"])
def test_constructors_of_every_style_are_refused_by_name(name: str) -> None:
    data = compiled(FUNCTION + '@x = hidden constant i64 7, section ".constructor_here"\n')
    assert refusal(rename_section(data, ".constructor_here", name)).reference == "constructor"


@pytest.mark.parametrize("kind", [elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY])
def test_constructors_are_refused_by_type_whatever_their_name(kind: int) -> None:
    data = compiled(FUNCTION + '@x = hidden constant i64 7, section ".rodata.x"\n')
    assert refusal(put_section(data, ".rodata.x", "type", kind)).reference == "constructor"


def test_an_object_that_asks_for_an_executable_stack_is_refused() -> None:
    data = put_section(compiled(FUNCTION), ".note.GNU-stack", "flags", elf.SHF_EXECINSTR)
    assert refusal(data).reference == "executable_stack"


def test_an_empty_writable_section_is_dropped() -> None:
    data = put_section(compiled(FUNCTION), ".eh_frame", "flags", elf.SHF_ALLOC | elf.SHF_WRITE)
    data = put_section(rename_section(data, ".eh_frame", ".data"), ".data", "size", 0)
    link_shared_library((*library_objects(), data), soname="x.so", target=X86_64)


def test_a_section_flag_that_the_linker_does_not_know_is_refused() -> None:
    data = put_section(compiled(FUNCTION), ".text", "flags", elf.SHF_ALLOC | elf.SHF_EXECINSTR | 1 << 11)
    assert refusal(data).reference == "unknown_section"


def test_an_object_of_another_machine_is_refused() -> None:
    error = refusal(compiled(FUNCTION, AARCH64))
    assert error.reference == "wrong_machine"
    assert (error.context["found"], error.context["expected"]) == (elf.EM_AARCH64, elf.EM_X86_64)


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(0, "B", 0), (4, "B", 1), (5, "B", 2), (6, "B", 0), (16, "H", 3), (58, "H", 40), (60, "H", 0), (62, "H", 9999)],
    ids=["magic", "class", "byte order", "version", "type", "header size", "no sections", "names"],
)
def test_a_file_header_of_another_kind_is_refused(offset: int, form: str, value: int) -> None:
    assert refusal(put(compiled(FUNCTION), offset, form, value)).reference == "bad_object"


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (".symtab", "entry_bytes", 16),
        (".symtab", "size", 25),
        (".symtab", "link", 9999),
        (".symtab", "info", 9999),
        (".text", "alignment", 24),
        (".text", "alignment", 8192),
        (".text", "size", 1 << 40),
        (".text", "offset", 1 << 63),
        (".rela.text", "entry_bytes", 16),
        (".rela.text", "size", 23),
        (".rela.text", "type", elf.SHT_REL),
        (".rela.text", "info", 9999),
        (".rela.eh_frame", "info", 2),
    ],
)
def test_a_malformed_section_is_refused(section: str, field: str, value: int) -> None:
    data = put_section(compiled(entry_text(9)), section, field, value)
    assert refusal(data).reference == "bad_object"


def test_a_name_outside_its_string_table_is_refused() -> None:
    data = put_symbol(compiled(FUNCTION), "function", "name", 1 << 20)
    assert refusal(data).reference == "bad_object"


@pytest.mark.parametrize("text", [BUILTINS_TEXT, entry_text(0)], ids=["builtins", "contract"])
def test_an_object_truncated_at_any_byte_is_refused(text: str) -> None:
    data = compiled(text)
    # The section headers come last, so no byte may be missing.
    end = parsed(data)["e_shoff"] + parsed(data)["e_shnum"] * elf.SECTION_HEADER.size
    assert end == len(data)
    for size in range(len(data)):
        with pytest.raises(LinkError) as caught:
            read_object(data[:size], 5, elf.EM_X86_64)
        assert caught.value.reference == "bad_object"
        assert caught.value.context["object"] == 5


def test_any_flipped_bit_links_or_is_a_link_error() -> None:
    """Damage never shows as an exception of another kind: the linker believes no offset."""
    objects = library_objects(1)
    for position in range(len(objects[0])):
        data = bytearray(objects[0])
        data[position] ^= 1 << position % 8
        try:
            link_shared_library((bytes(data), *objects[1:]), soname="x.so", target=X86_64)
        except LinkError as error:
            assert error.reference
