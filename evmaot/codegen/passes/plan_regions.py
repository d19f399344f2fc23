"""Passes: chains of blocks, and regions of chains.

A *chain* is a run of blocks of which only the first is entered from elsewhere: it shares one
virtual stack.  A *region* becomes one native function.  LLVM's back end is super-linear in the size
of a function, and a jump between regions costs more than one inside: so regions are runs of chains
in order of pc, cut where the fewest known jumps cross (loops are contiguous in compilers' output).
May import: `ir`, `passes.base`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from evmaot.codegen.ir.program import Entry, Program
from evmaot.codegen.passes.base import Pass

MIN_REGION_INSTRUCTIONS = 200
MAX_REGION_INSTRUCTIONS = 600
MAX_CHAIN_INSTRUCTIONS = 300


def plan_chains(program: Program) -> Program:
    """The program with `chains` filled in."""
    chains: list[list[int]] = []
    size = 0
    jumped_to = program.jumped_to
    for block in program.blocks:
        if block.label not in program.live:
            continue
        count = len(block.instructions)
        joins = (
            (block.entry is Entry.FALL_THROUGH or (block.entry is Entry.JUMPDEST and block.label not in jumped_to))
            and chains
            and chains[-1][-1] == block.label - 1
            and program.block(block.label - 1).falls_to == block.label
            and size + count <= MAX_CHAIN_INSTRUCTIONS
        )
        if joins:
            chains[-1].append(block.label)
            size += count
        else:
            chains.append([block.label])
            size = count
    return replace(program, chains=tuple(tuple(chain) for chain in chains))


def one_region_per_chain(program: Program) -> Program:
    """The fast tier's plan."""
    return replace(program, regions=tuple((chain[0],) for chain in program.chains))


def regions_around_loops(program: Program) -> Program:
    """The optimised tier's plan."""
    sizes = [sum(len(program.block(label).instructions) for label in chain) for chain in program.chains]
    crossings = _crossings(program)
    regions: list[tuple[int, ...]] = []
    start = 0
    while start < len(sizes):
        end = _cut(sizes, crossings, start)
        regions.append(tuple(chain[0] for chain in program.chains[start:end]))
        start = end
    return replace(program, regions=tuple(regions))


def _crossings(program: Program) -> list[int]:
    """For each border before chain i: how many known jumps cross it, backward ones counted four times."""
    chain_of = {label: index for index, chain in enumerate(program.chains) for label in chain}
    delta = [0] * (len(program.chains) + 2)
    for index, chain in enumerate(program.chains):
        for label in chain:
            block = program.block(label)
            for target in block.jump_labels:
                other = chain_of[target]
                weight = 4 if other <= index else 1
                delta[min(index, other) + 1] += weight
                delta[max(index, other) + 1] -= weight
    return list(accumulate(delta))


def _cut(sizes: list[int], crossings: list[int], start: int) -> int:
    """The border at which a region that begins with chain `start` ends."""
    total, best, best_crossings = 0, start + 1, None
    for index in range(start, len(sizes)):
        total += sizes[index]
        if total > MAX_REGION_INSTRUCTIONS and index > start:
            break
        border = index + 1
        if border == len(sizes):
            return border
        if total >= MIN_REGION_INSTRUCTIONS and (best_crossings is None or crossings[border] <= best_crossings):
            best, best_crossings = border, crossings[border]
        elif best_crossings is None:
            best = border
    return best


CHAINS = Pass("plan_chains", plan_chains, needs=("find_live", "measure_blocks"))
FAST_REGIONS = Pass("one_region_per_chain", one_region_per_chain, needs=("plan_chains",))
LOOP_REGIONS = Pass("regions_around_loops", regions_around_loops, needs=("plan_chains",))
