"""The helpers' rows and the declarations made of them."""

from __future__ import annotations

import pytest

from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.builtins.table import BUILTINS, PURE, declarations
from evmaot.codegen.options import Tier
from evmaot.target import host_target
from tests.support.elf_objects import relocation_types, symbols


def test_every_row_is_named_by_its_key() -> None:
    assert [row.name for row in BUILTINS.values()] == list(BUILTINS)


def test_parameter_attributes_are_given_for_all_parameters_or_none() -> None:
    for row in BUILTINS.values():
        assert len(row.parameter_attributes) in (0, len(row.parameters)), row.name


def test_only_known_types_cross_the_border() -> None:
    """An i256 argument is not passed in registers and breaks sibling calls."""
    for row in BUILTINS.values():
        assert {*row.parameters, row.result} <= {"ptr", "i64", "void"}, row.name


def test_no_helper_that_gets_the_frame_promises_anything_about_memory() -> None:
    """Memory behind a pointer that is loaded from the frame is not argument memory."""
    framed = [row for row in BUILTINS.values() if row.doc.startswith("(frame")]
    assert "memory_grow" in {row.name for row in framed}
    for row in framed:
        assert "memory(" not in row.attributes, row.name
        assert row.parameter_attributes == (), row.name


def test_pure_helpers_promise_to_touch_their_arguments_alone() -> None:
    assert {row.name for row in BUILTINS.values() if row.attributes == PURE} == {
        *("div", "mod", "sdiv", "smod", "exp", "addmod", "mulmod"),
        *("mul", "signextend", "byte", "shl", "shr", "sar", "exponent_gas"),
        *("keccak256", "copy_padded", "move", "load_padded"),
    }


def test_declarations_are_sorted_and_without_repetition() -> None:
    lines = declarations(["mod", "div", "mod"]).splitlines()
    assert lines == [BUILTINS["div"].declaration, BUILTINS["mod"].declaration]
    assert declarations([]) == ""


def test_an_unknown_helper_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        declarations(["no_such_helper"])


@pytest.mark.parametrize("tier", list(Tier))
def test_llvm_accepts_all_declarations_and_calls_go_without_a_table(tier: Tier) -> None:
    text = declarations(BUILTINS)
    for row in BUILTINS.values():
        arguments = ", ".join("ptr %p" if kind == "ptr" else "i64 %n" for kind in row.parameters)
        result = "" if row.result == "void" else "%r = "
        call = f"{result}call {row.result} @{row.symbol}({arguments})"
        text += f"define void @call_{row.name}(ptr %p, i64 %n) {{\n  {call}\n  ret void\n}}\n"
    data = compile_text(text, tier, host_target()).data
    undefined = {(name, visibility) for name, _, visibility, defined in symbols(data) if not defined}
    assert undefined == {(row.symbol, "STV_HIDDEN") for row in BUILTINS.values()}
    # PC32 or PLT32; JUMP26 or CALL26
    expected = {"x86_64": {2, 4}, "aarch64": {282, 283}}[host_target().architecture]
    assert relocation_types(data)[".rela.text"] <= expected
