"""LLVM: what it refuses is our bug, what it gives is the same each time."""

from __future__ import annotations

import pytest

from evmaot.codegen.backend.llvm import (
    LLVM_VERSION,
    LLVMLITE_VERSION,
    assembly_text,
    compile_text,
    data_layout,
    optimised_text,
)
from evmaot.codegen.options import Tier
from evmaot.errors import CompilerBug
from evmaot.target import TARGETS, Target

GOOD = """define hidden i64 @f(i64 %a) {
  %b = mul i64 %a, 2
  %c = udiv i64 %b, 2
  %d = and i64 %c, 0
  ret i64 %d
}
"""
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@every_target
@pytest.mark.parametrize("tier", Tier)
def test_objects_are_elf_for_their_machine(tier: Tier, target: Target) -> None:
    data = compile_text(GOOD, tier, target).data
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == {"x86_64": 62, "aarch64": 183}[target.architecture]


@every_target
def test_the_same_text_gives_the_same_bytes(target: Target) -> None:
    first = compile_text(GOOD, Tier.OPTIMISED, target).data
    compile_text("define void @other() {\n  ret void\n}\n", Tier.FAST, target)
    assert compile_text(GOOD, Tier.OPTIMISED, target).data == first


@pytest.mark.parametrize(
    "text",
    ["define i64 @f( {", "define i64 @f() {\n  ret i32 0\n}\n", "define i64 @f(i64 %a) {\nx:\n  br label %y\n}\n"],
)
def test_text_that_llvm_refuses_is_a_bug_of_the_compiler(text: str) -> None:
    with pytest.raises(CompilerBug, match="LLVM refused"):
        compile_text(text, Tier.FAST, TARGETS["x86_64-linux"])


def test_text_that_does_not_verify_is_a_bug_too() -> None:
    """A use before its definition parses."""
    branch = "br i1 %c, label %x, label %y"
    text = f"define i64 @f(i1 %c) {{\n{branch}\nx:\n%a = add i64 1, 2\nbr label %y\ny:\nret i64 %a\n}}\n"
    with pytest.raises(CompilerBug, match="LLVM refused"):
        compile_text(text, Tier.FAST, TARGETS["x86_64-linux"])


def test_the_optimised_tier_optimises_and_the_fast_one_does_not() -> None:
    target = TARGETS["x86_64-linux"]
    assert "udiv" in optimised_text(GOOD, Tier.FAST, target)
    assert "ret i64 0" in optimised_text(GOOD, Tier.OPTIMISED, target)
    assert "udiv" not in optimised_text(GOOD, Tier.OPTIMISED, target)


@every_target
def test_assembly_is_text_for_the_machine(target: Target) -> None:
    text = assembly_text(GOOD, Tier.OPTIMISED, target)
    assert "f:" in text
    assert "\tret" in text


@every_target
def test_words_are_little_endian_on_every_target(target: Target) -> None:
    """Compiled code and the runtime share memory: big-endian targets would need other loads."""
    assert data_layout(target).startswith("e-")


def test_versions_are_known() -> None:
    assert LLVM_VERSION[0].isdigit()
    assert LLVMLITE_VERSION.count(".") >= 1
