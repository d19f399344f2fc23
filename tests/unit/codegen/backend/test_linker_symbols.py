"""Symbols between objects: what is defined once is found, everything else has a named reason."""

from __future__ import annotations

import pytest

from evmaot.abi import elf
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.options import Tier
from evmaot.errors import LinkError
from tests.support.elf_patch import parsed, put_section, put_symbol, rename_section
from tests.support.libraries import X86_64, compiled, library_objects

FUNCTION = "define hidden i32 @function() {\n  ret i32 1\n}\n"
CALLER = "declare hidden i32 @callee()\ndefine hidden i32 @caller() {\n  %r = call i32 @callee()\n  ret i32 %r\n}\n"


def refusal(*objects: bytes) -> LinkError:
    with pytest.raises(LinkError) as caught:
        link_shared_library(objects, soname="x.so", target=X86_64)
    return caught.value


def test_an_undefined_symbol_is_named_with_its_object() -> None:
    error = refusal(*library_objects(), compiled(CALLER))
    assert (error.reference, error.context["symbol"], error.context["object"]) == ("undefined_symbol", "callee", 5)
    assert "callee" in error.message


def test_a_weak_undefined_symbol_is_undefined() -> None:
    text = CALLER.replace("declare hidden", "declare extern_weak hidden")
    error = refusal(*library_objects(), compiled(text))
    assert (error.reference, error.context["symbol"]) == ("undefined_symbol", "callee")


def test_a_library_call_that_llvm_made_is_explained() -> None:
    text = (
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
        "define hidden void @copy(ptr %a, ptr %b, i64 %n) {\n"
        "  call void @llvm.memcpy.p0.p0.i64(ptr %a, ptr %b, i64 %n, i1 false)\n  ret void\n}\n"
    )
    error = refusal(*library_objects(), compiled(text))
    assert (error.reference, error.context["symbol"]) == ("undefined_symbol", "memcpy")
    assert error.hint is not None
    assert "builtin" in error.hint


def test_a_symbol_defined_twice_is_refused() -> None:
    error = refusal(*library_objects(), compiled(FUNCTION), compiled(FUNCTION))
    assert (error.reference, error.context["symbol"]) == ("duplicate_symbol", "function")
    assert (error.context["object"], error.context["other"]) == (6, 5)


def test_local_symbols_may_share_a_name() -> None:
    text = FUNCTION.replace("hidden", "internal")
    text += "define hidden i32 @user() {\n  %r = call i32 @function() noinline\n  ret i32 %r\n}\n"
    objects = [compiled(text.replace("@user", f"@user_{number}"), tier=Tier.FAST) for number in range(2)]
    data = link_shared_library((*library_objects(), *objects), soname="x.so", target=X86_64)
    assert len(parsed(data).get_section_by_name(".symtab").get_symbol_by_name("function")) == 2


@pytest.mark.parametrize(
    ("text", "reference", "symbol"),
    [
        ("@x = common global i64 0\n", "common_symbol", "x"),
        (
            "@f = hidden ifunc i32 (), ptr @choose\ndefine internal ptr @choose() {\n  ret ptr null\n}\n",
            "ifunc_symbol",
            "f",
        ),
    ],
)
def test_a_symbol_that_needs_more_than_an_address_is_refused(text: str, reference: str, symbol: str) -> None:
    error = refusal(*library_objects(), compiled(text))
    assert (error.reference, error.context["symbol"]) == (reference, symbol)


def test_an_absolute_symbol_is_refused() -> None:
    data = put_symbol(compiled(FUNCTION), "function", "section", elf.SHN_ABS)
    assert refusal(*library_objects(), data).reference == "absolute_symbol"


def test_a_thread_local_symbol_is_refused() -> None:
    data = put_symbol(compiled(FUNCTION), "function", "info", elf.STB_GLOBAL << 4 | elf.STT_TLS)
    assert refusal(*library_objects(), data).reference == "thread_local"


def test_a_reference_to_a_local_indirect_function_is_refused() -> None:
    text = (
        "@f = internal ifunc i32 (), ptr @choose\ndefine internal ptr @choose() {\n  ret ptr null\n}\n"
        "define hidden i32 @caller() {\n  %r = call i32 @f()\n  ret i32 %r\n}\n"
    )
    assert refusal(*library_objects(), compiled(text)).reference == "ifunc_symbol"


def test_a_reference_into_a_dropped_section_is_refused() -> None:
    text = CALLER + '@callee_data = internal constant i32 1, section ".rodata.gone"\n'
    text += "define hidden i32 @reader() {\n  %v = load volatile i32, ptr @callee_data\n  ret i32 %v\n}\n"
    data = compiled(text.replace("declare hidden i32 @callee()", FUNCTION.replace("@function", "@callee")))
    data = put_section(rename_section(data, ".rodata.gone", ".comment"), ".comment", "flags", 0)
    error = refusal(*library_objects(), data)
    assert (error.reference, error.context["section"]) == ("discarded_section", ".comment")


def test_a_symbol_outside_its_section_is_refused() -> None:
    objects = list(library_objects())
    objects[-2] = put_symbol(objects[-2], "add_seven", "value", 1 << 40)
    assert refusal(*objects).reference == "bad_object"


@pytest.mark.parametrize(
    "objects",
    [
        (),
        library_objects()[:-1],
        (*library_objects()[:-1], compiled("define dso_local void @evmaot_table() {\n  ret void\n}\n")),
        (*library_objects()[:-1], compiled("@evmaot_table = dso_local constant [8 x i8] zeroinitializer\n")),
    ],
    ids=["no objects", "no table", "a function", "too short"],
)
def test_a_library_without_its_table_is_refused(objects: tuple[bytes, ...]) -> None:
    assert refusal(*objects).reference == "missing_table"
