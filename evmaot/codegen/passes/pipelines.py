"""Pipelines as data: which passes a tier runs, in order.

May import: the passes, `codegen.options`.
"""

from __future__ import annotations

from evmaot.codegen.options import Tier
from evmaot.codegen.passes import find_live, join_charges, measure_blocks, plan_regions, resolve_jumps
from evmaot.codegen.passes.base import Pass

_COMMON: tuple[Pass, ...] = (
    measure_blocks.PASS,
    resolve_jumps.PASS,
    find_live.PASS,
    join_charges.PASS,
    plan_regions.CHAINS,
)

PIPELINES: dict[Tier, tuple[Pass, ...]] = {
    Tier.FAST: (*_COMMON, plan_regions.FAST_REGIONS),
    Tier.OPTIMISED: (*_COMMON, plan_regions.LOOP_REGIONS),
}
