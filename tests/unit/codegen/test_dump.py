"""Dumps: each stage has text, and the text of small codes is what it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evmaot.codegen.dump import STAGES, SYMBOL, dump
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import UsageError
from evmaot.evm.forks import FORKS
from evmaot.target import TARGETS
from tests.support.assembler import asm
from tests.support.programs import SAMPLES

OPTIONS = CompileOptions(Tier.OPTIMISED, TARGETS["x86_64-linux"])
Golden = Callable[[str, str], None]


@pytest.mark.parametrize("stage", ["program", "ir"])
@pytest.mark.parametrize("name", SAMPLES)
def test_golden_text(name: str, stage: str, golden: Golden) -> None:
    golden(f"codegen/{name}.{stage}.txt", dump(asm(SAMPLES[name]), FORKS["osaka"], OPTIONS, stage))


def test_golden_text_of_the_fast_tier(golden: Golden) -> None:
    fast = CompileOptions(Tier.FAST, OPTIONS.target)
    golden("codegen/branch_and_loop.fast.ir.txt", dump(asm(SAMPLES["branch_and_loop"]), FORKS["osaka"], fast, "ir"))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_text_on_every_target(stage: str, tier: Tier, target: object) -> None:
    options = CompileOptions(tier, target)  # type: ignore[arg-type]  # parametrize knows no types
    text = dump(asm(SAMPLES["call_and_resume"]), FORKS["osaka"], options, stage)
    assert text.endswith("\n")
    if stage in ("ir", "optimised", "assembly"):
        assert SYMBOL in text


def test_bytecode_is_shown_with_dead_code_and_what_the_fork_does_not_define() -> None:
    text = dump(asm("PUSH0 STOP 7 x0c"), FORKS["paris"], OPTIONS, "bytecode")
    assert text == "00000: PUSH0 ; undefined\n00001: STOP\n00002: PUSH1 0x07\n00004: UNDEFINED 0x0c\n"


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        dump(b"", FORKS["osaka"], OPTIONS, "ssa")
    assert raised.value.reference == "unknown_stage"
    assert raised.value.context["known"] == list(STAGES)
