"""Whatever the inputs and their templates are: a build agrees with look-ups, with itself, and with the deny list.

Random sets of codes with random sets of holes, some of which are refused; the compiler is a stub, all planning is real.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from evmaot.build import BuildReport, UnitStatus, build
from evmaot.evm.instruction_set import CompileRules
from evmaot.evm.keccak import keccak256
from evmaot.evm.template import Holes, masked_code
from evmaot.inputs.deny import DenyList
from evmaot.inputs.source import ContractSource, Hole
from evmaot.store.directory import ArtifactDirectory
from tests.support.store_samples import open_store
from tests.support.stub_toolchain import request, tools

PLACES = ((12, 4), (20, 4), (30, 6))
HOLE_SETS = ((), PLACES[:1], PLACES[1:2], PLACES[:2], PLACES[2:], PLACES)


def code(values: tuple[int, ...]) -> bytes:
    data = bytearray(bytes((0x60, 1, 0x54, 0x00)) + bytes(range(4, 40)))
    for (offset, length), value in zip(PLACES, values, strict=True):
        data[offset : offset + length] = bytes([value]) * length
    return bytes(data)


def sources(chance: random.Random, number: int) -> list[ContractSource]:
    found = []
    for index in range(number):
        holes = chance.choice(HOLE_SETS)
        data = code(tuple(chance.randrange(3) for _ in PLACES))
        if chance.random() < 0.5:
            data = masked_code(data, holes)
        found.append(
            ContractSource(data, f"s{index}", f"test#{index}", tuple(Hole(*place, "immutable") for place in holes))
        )
    return found


class Case:
    """One random case: a compiler that refuses some sets of holes, and a store."""

    def __init__(self, seed: int, store: ArtifactDirectory) -> None:
        self.chance = random.Random(f"templates {seed}")
        self.store = store
        refused = [holes for holes in HOLE_SETS[1:] if self.chance.random() < 0.4]

        def refusal(_code: bytes, _rules: CompileRules, holes: Holes) -> str | None:
            return "it is said so" if tuple(holes) in refused else None

        self.tools = tools(template_refusal=refusal)

    def build(self, inputs: list[ContractSource], *, forks: str = "berlin,osaka", **options: Any) -> BuildReport:
        return build(request(*inputs, forks=forks, jobs=1, **options), self.store, tools=self.tools)

    def planned(self, inputs: list[ContractSource], **options: Any) -> list[str]:
        report = self.build(inputs, dry_run=True, **options)
        return [unit.label for unit in report.units if unit.status is UnitStatus.PLANNED]

    def served(self, data: bytes, forks: str = "berlin,osaka") -> bool:
        """Whether a look-up would find the code: by itself, or by a template."""
        return not self.planned([ContractSource(data, "code", "test")], forks=forks)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return open_store(tmp_path / "store")


@pytest.mark.parametrize("seed", range(6))
def test_what_was_built_is_there_for_every_input_and_every_order(seed: int, store: ArtifactDirectory) -> None:
    case = Case(seed, store)
    first, second = sources(case.chance, 4), sources(case.chance, 10)
    case.build(first, forks="berlin")
    keys = {unit.unit_key for unit in case.build(second, dry_run=True).units}
    for _ in range(4):
        again = case.chance.sample(second, len(second))
        assert {unit.unit_key for unit in case.build(again, dry_run=True).units} == keys
    report = case.build(second)
    assert not report.is_partial
    assert sum(unit.status is UnitStatus.COMPILED for unit in report.units) <= len(keys)
    assert case.planned(second) == []
    for source in second:
        assert case.served(source.code), source
        assert case.planned([source]) == [], source


@pytest.mark.parametrize("seed", range(8))
def test_a_denied_code_is_served_by_nothing_that_the_build_made(seed: int, store: ArtifactDirectory) -> None:
    case = Case(seed, store)
    inputs = sources(case.chance, 10)
    denied = case.chance.sample(sorted({source.code for source in inputs}), 2)
    deny = DenyList(frozenset(keccak256(data).hex() for data in denied))
    report = case.build(inputs, deny=deny)
    assert not report.is_partial
    assert not any(case.served(data) for data in denied)
    assert case.planned(inputs, deny=deny) == []
    assert all(case.served(source.code) for source in inputs if source.code not in denied)


@pytest.mark.parametrize("seed", range(6))
def test_a_denied_code_that_a_store_serves_is_served_under_no_other_rules(seed: int, store: ArtifactDirectory) -> None:
    case = Case(seed, store)
    inputs = sources(case.chance, 10)
    case.build(case.chance.sample(inputs, 4), forks="berlin")
    denied = case.chance.sample(sorted({source.code for source in inputs}), 2)
    before = [case.served(data, forks="istanbul") for data in denied]
    deny = DenyList(frozenset(keccak256(data).hex() for data in denied))
    case.build(inputs, forks="istanbul,berlin", deny=deny)
    assert [case.served(data, forks="istanbul") for data in denied] == before == [False, False]
    assert case.planned(inputs, forks="istanbul,berlin", deny=deny) == []
    for source in inputs:
        assert source.code in denied or case.served(source.code, forks="istanbul,berlin")
