"""The verifier finds each kind of broken program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from evmaot.codegen.ir.program import JumpKind, Program
from evmaot.codegen.ir.verifier import verify
from evmaot.errors import CompilerBug
from tests.support.programs import SAMPLES, planned

Break = Callable[[Program], Program]


def with_block(position: int, **changes: object) -> Break:
    def change(program: Program) -> Program:
        blocks = list(program.blocks)
        blocks[position] = replace(blocks[position], **changes)  # type: ignore[arg-type]  # any field
        return replace(program, blocks=tuple(blocks))

    return change


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
def test_planned_programs_are_valid(text: str) -> None:
    verify(planned(text))


BROKEN: list[tuple[str, Break]] = [
    ("has label", with_block(1, label=7)),
    ("not in order", with_block(2, pc=0)),
    ("no block has label 99", with_block(0, falls_to=99)),
    ("no block has label 0", with_block(0, jump=JumpKind.STATIC, jump_labels=(0,))),
    ("falls through to start", with_block(2, falls_to=1)),
    ("resumes at", with_block(0, resumes_at=2)),
    ("jump of pc", with_block(1, jump=JumpKind.INVALID)),
    ("jump of pc", with_block(1, jump_labels=())),
    ("do not cover the live blocks", lambda program: replace(program, live=program.live - {1})),
    ("do not cover the live blocks", lambda program: replace(program, chains=program.chains[1:])),
    ("do not cover the chains", lambda program: replace(program, regions=program.regions[1:])),
    ("do not cover the chains", lambda program: replace(program, regions=(program.regions[0][::-1],))),
    (
        "is jumped to",
        lambda program: replace(program, chains=((1, 2, 3), (4,)), regions=((1, 4),)),
    ),
]


@pytest.mark.parametrize(("message", "change"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_program_is_refused(message: str, change: Break) -> None:
    program = planned(SAMPLES["branch_and_loop"])
    assert [block.label for block in program.blocks] == [1, 2, 3, 4]
    with pytest.raises(CompilerBug, match=message):
        verify(change(program))
