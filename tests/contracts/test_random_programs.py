"""Random programs on EELS and natively: outcome, gas, refund, output, logs, state and warm sets are equal.

Here a small number of them, the same each time; `EVMAOT_TEST_SCALE=100` runs a hundred times as many.  A
failure names its seed, and what it found becomes a case of `test_regressions.py`.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from evmaot.evm.forks import FORKS
from evmaot.runtime.log_buffer import LogBuffer
from evmaot.runtime.slot_table import SlotTable
from tests.support.eels_message import EELS_FORKS, assert_same
from tests.support.native import BOTH_TIERS, Call, executor, world_of
from tests.support.random_programs import FLAVOURS, random_call, random_jumps
from tests.support.scale import scaled

SEEDS = range(scaled(2 * len(EELS_FORKS)))


def with_less_gas(call: Call, used: int, random_: random.Random) -> list[Call]:
    """The same with exactly what it uses, one less, and somewhere between."""
    if used < 3:
        return []
    return [replace(call, gas=gas) for gas in (used, used - 1, random_.randrange(used), used + random_.randrange(3000))]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("seed", SEEDS)
def test_programs_end_as_on_eels(seed: int, flavour: str) -> None:
    fork = EELS_FORKS[seed % len(EELS_FORKS)]
    call = random_call(seed, fork, flavour=flavour)
    tier = BOTH_TIERS[seed // len(EELS_FORKS) % 2]
    right = assert_same(call, fork, (tier,))
    if right.outcome != "halt":
        for variant in with_less_gas(call, call.gas - right.gas_left, random.Random(seed)):
            assert_same(variant, fork, (tier,))


@pytest.mark.parametrize("written_for", ["frontier", "osaka"])
@pytest.mark.parametrize("seed", range(4))
def test_one_program_on_every_fork(seed: int, written_for: str) -> None:
    """Forks that a code cannot tell apart share what was compiled; to others its opcodes are undefined."""
    call = random_call(seed, written_for)
    for fork in EELS_FORKS:
        assert_same(call, fork, (BOTH_TIERS[seed % 2],))


@pytest.mark.parametrize("seed", range(scaled(30)))
def test_unstructured_jumps_go_where_eels_goes(seed: int) -> None:
    random_ = random.Random(seed)
    fork = random_.choice(("osaka", "london", "frontier"))
    code = random_jumps(random_, FORKS[fork])
    for gas in (random_.randrange(3000), 8000, 30000):
        input = random_.choice((b"", (5).to_bytes(32, "big")))
        assert_same(Call(world_of(code), gas=gas, input=input), fork, (BOTH_TIERS[seed % 2],))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("size", [(1, 1, 0), (2, 1, 100), (1, 3, 300)])
def test_tables_that_start_too_small_change_nothing(
    size: tuple[int, int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for few slots, undo records and logs, every path of the helpers is taken."""
    monkeypatch.setattr("evmaot.execution.executor.SlotTable", lambda: SlotTable(*size[:2]))
    monkeypatch.setattr("evmaot.execution.executor.LogBuffer", lambda: LogBuffer(size[2]))
    executor.cache_clear()
    try:
        fork = ("osaka", "berlin", "istanbul", "frontier")[seed % 4]
        assert_same(random_call(seed, fork, flavour="storage", gas=600_000), fork, ("optimised",))
        assert_same(random_call(seed, fork, gas=600_000), fork, ("optimised",))
    finally:
        executor.cache_clear()
