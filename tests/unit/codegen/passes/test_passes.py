"""Passes: their order, what is live, chains and regions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evmaot.codegen.ir.program import Program
from evmaot.codegen.options import Tier
from evmaot.codegen.passes import find_live, join_charges, measure_blocks, plan_regions, resolve_jumps
from evmaot.codegen.passes.base import Pass, run_pipeline
from evmaot.codegen.passes.pipelines import PIPELINES
from evmaot.codegen.passes.plan_regions import MAX_CHAIN_INSTRUCTIONS, MAX_REGION_INSTRUCTIONS
from evmaot.errors import CompilerBug
from tests.support.programs import SAMPLES, lifted, planned


def live_pcs(text: str) -> list[int]:
    program = planned(text)
    return sorted(program.block(label).pc for label in program.live)


def chain_pcs(text: str) -> list[list[int]]:
    program = planned(text)
    return [[program.block(label).pc for label in chain] for chain in program.chains]


# --- order ------------------------------------------------------------------------------------------


def test_a_pass_says_what_must_run_before_it() -> None:
    with pytest.raises(CompilerBug, match="find_live needs"):
        run_pipeline(lifted("STOP"), (measure_blocks.PASS, find_live.PASS))


@pytest.mark.parametrize("tier", Tier)
def test_no_pass_of_a_pipeline_can_be_left_out(tier: Tier) -> None:
    """Each pass is needed by a later one, but the last and one that only saves LLVM work."""
    passes = [step for step in PIPELINES[tier] if step is not join_charges.PASS]
    needed = {name for step in passes for name in step.needs}
    assert {step.name for step in passes[:-1]} <= needed


def test_what_ran_is_known() -> None:
    program = run_pipeline(lifted("STOP"), (measure_blocks.PASS, resolve_jumps.PASS))
    assert program.facts == frozenset(("measure_blocks", "resolve_jumps"))


def test_a_pass_changes_no_program_in_place() -> None:
    before = lifted(SAMPLES["function_called_twice"])
    kept = replace(before)
    run_pipeline(before, PIPELINES[Tier.OPTIMISED])
    assert before == kept


def test_a_pass_that_loses_blocks_is_found() -> None:
    def lose(program: Program) -> Program:
        return replace(program, chains=program.chains[:-1])

    from evmaot.codegen.ir.verifier import verify

    with pytest.raises(CompilerBug, match="chains do not cover"):
        verify(run_pipeline(planned("@a JUMP a: STOP"), (Pass("lose", lose),)))


# --- what is live -----------------------------------------------------------------------------------


def test_only_what_is_reached_is_live() -> None:
    assert live_pcs("@b JUMP a: STOP b: STOP") == [0, 6]


def test_a_computed_jump_makes_every_jumpdest_live() -> None:
    assert live_pcs("0 CALLDATALOAD JUMP a: STOP INVALID b: STOP") == [0, 4, 7]


def test_what_a_dead_computed_jump_could_reach_is_dead() -> None:
    assert live_pcs("STOP a: 0 CALLDATALOAD JUMP b: STOP") == [0]


def test_resume_blocks_are_live() -> None:
    assert live_pcs("CALL POP STOP a: CALL") == [0, 1]


# --- chains -----------------------------------------------------------------------------------------


def test_a_chain_goes_on_behind_a_jumpi() -> None:
    assert chain_pcs("1 CALLER @a JUMPI 1 CALLER @a JUMPI CALLER a: STOP") == [[0, 7, 14], [15]]


def test_a_jumpdest_that_nothing_jumps_to_joins_its_chain() -> None:
    assert chain_pcs("CALLER a: CALLER b: STOP") == [[0, 1, 3]]
    assert chain_pcs("CALLER a: CALLER @b JUMPI 1 b: STOP") == [[0, 1, 7], [9]]


def test_a_jumpdest_may_be_jumped_to_by_a_computed_jump() -> None:
    assert chain_pcs("CALLER a: 0 CALLDATALOAD JUMP b: STOP") == [[0], [1], [6]]


def test_a_suspension_ends_a_chain() -> None:
    assert chain_pcs("CALL POP") == [[0], [1]]


def test_chains_are_bounded() -> None:
    program = planned("CALLER POP " * MAX_CHAIN_INSTRUCTIONS)
    sizes = [sum(len(program.block(label).instructions) for label in chain) for chain in program.chains]
    assert sum(sizes) == 2 * MAX_CHAIN_INSTRUCTIONS
    assert max(sizes) <= MAX_CHAIN_INSTRUCTIONS


# --- regions ----------------------------------------------------------------------------------------


def region_sizes(program: Program) -> list[int]:
    chain_of = {chain[0]: chain for chain in program.chains}
    return [
        sum(len(program.block(label).instructions) for head in region for label in chain_of[head])
        for region in program.regions
    ]


def test_a_small_code_is_one_region() -> None:
    assert len(planned(SAMPLES["branch_and_loop"]).regions) == 1


def test_the_fast_tier_has_a_region_for_each_chain() -> None:
    program = planned(SAMPLES["branch_and_loop"], tier=Tier.FAST)
    assert [len(region) for region in program.regions] == [1] * len(program.chains)


def test_regions_are_bounded() -> None:
    text = " ".join(f"CALLER @l{n} JUMPI {'CALLER POP ' * 20} l{n}:" for n in range(100))
    sizes = region_sizes(planned(text))
    assert len(sizes) > 1
    assert max(sizes) <= MAX_REGION_INSTRUCTIONS


def test_a_border_does_not_cut_a_loop_if_it_need_not() -> None:
    """Two loops of 250 instructions each, with a border between them."""
    loop = "l{n}: " + "CALLER POP " * 120 + " CALLER @l{n} JUMPI "
    other = "CALLER POP " * 60
    program = planned(loop.format(n=1) + "@x JUMP x: " + other + "@y JUMP y: " + other + loop.format(n=2))
    region_of = {head: index for index, region in enumerate(program.regions) for head in region}
    assert len(program.regions) > 1
    for chain in program.chains:
        for label in chain:
            for target in program.block(label).jump_labels:
                if program.block(target).pc < program.block(label).pc:
                    assert region_of[target] == region_of[chain[0]]


def test_chains_without_instructions_do_not_hang_the_planner() -> None:
    program = planned("CALLER CALLER JUMPI " * 3 + "a:" + " CALLER CALLER JUMPI a:" * 3)
    assert sum(len(region) for region in program.regions) == len(program.chains)
    assert plan_regions.regions_around_loops(program).regions == program.regions
