"""Generated worlds in small: both sides agree, frame by frame, and a fault in either would be seen.

`python -m tests.differential` is the long run; `EVMAOT_TEST_SCALE` scales this one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evmaot.codegen.emit import lowerings
from evmaot.evm.forks import FORKS
from tests.differential.cases import Generated, fork_of, generated_world, variants
from tests.differential.chunks import Chunk, run_chunk
from tests.differential.compare import Comparison, Tally
from tests.differential.families import FAMILIES, FAMILY_OF
from tests.differential.programs import SHAPES, generated_code
from tests.differential.reproduction import Trial, from_json, shorter_codes, shrink, to_json
from tests.support.assembler import asm
from tests.support.eels_message import EELS_FORKS
from tests.support.native import BOTH_TIERS, SELF, Call, world_of
from tests.support.scale import scaled

CORPUS = sorted((Path(__file__).parents[1] / "data" / "differential").glob("*.json"))


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    made = Comparison()
    yield made
    made.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_generated_worlds_end_as_on_eels(family: str, comparison: Comparison) -> None:
    comparison.tally = Tally()
    for tier in BOTH_TIERS:
        seeds = [f"ci/{family}/{tier}/{index}" for index in range(scaled(5))]
        comparison.run([generated_world(seed, fork_of(family, seed)) for seed in seeds], tier)
    assert [(row.seed, row.fork, row.tier, row.words) for row in comparison.tally.found] == []
    assert sum(map(len, comparison.tally.programs.values())) > scaled(40)


programs = st.builds(
    lambda seed, fork, shape: (fork, generated_code(random.Random(seed), FORKS[fork], shape)),
    st.integers(0, 1 << 32), st.sampled_from(sorted(FAMILY_OF)), st.sampled_from(sorted(SHAPES)),
)  # fmt: skip
"""A fork and a program for it; hypothesis chooses among shapes and, failing, looks for the smallest."""


@given(programs, st.integers(0, 120_000), st.binary(max_size=68), st.sampled_from(BOTH_TIERS))
@settings(
    max_examples=scaled(40),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_program_ends_as_on_eels(
    comparison: Comparison, program: tuple[str, bytes], gas: int, input: bytes, tier: str
) -> None:
    fork, code = program
    call = Call(world_of(code, storage={0: 1, 1: 2}), gas=gas, input=input)
    trial = Trial(fork, comparison.eels(fork), comparison.natives[tier])
    assert trial.words(call) == []


@given(st.lists(st.binary(min_size=0, max_size=24), min_size=1, max_size=3), st.sampled_from(sorted(FAMILY_OF)))
@settings(max_examples=scaled(30), derandomize=True, deadline=None, database=None)
def test_any_bytes_end_as_on_eels(comparison: Comparison, parts: list[bytes], fork: str) -> None:
    """Programs that hypothesis writes byte by byte; between the parts are words to work on."""
    code = b"".join(bytes((0x60, index, 0x36)) + part for index, part in enumerate(parts))
    trial = Trial(fork, comparison.eels(fork), comparison.natives["fast"])
    assert trial.words(Call(world_of(code), gas=20_000)) == []


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_once_differed_ends_as_on_eels(path: Path, comparison: Comparison) -> None:
    call, fork = from_json(json.loads(path.read_text(encoding="utf-8"))["case"])
    for native in comparison.natives.values():
        assert Trial(fork, comparison.eels(fork), native).words(call) == []


def test_every_fork_of_eels_is_in_one_family() -> None:
    assert sorted(FAMILY_OF) == sorted(EELS_FORKS)
    assert sum(map(len, FAMILIES.values())) == len(FAMILY_OF)


def test_a_world_is_the_same_each_time() -> None:
    assert generated_world("again", "osaka") == generated_world("again", "osaka")
    assert generated_world("again", "osaka") != generated_world("other", "osaka")


@pytest.mark.parametrize("shape", SHAPES)
def test_most_programs_of_a_shape_differ(shape: str) -> None:
    codes = {generated_code(random.Random(str(seed)), FORKS["osaka"], shape) for seed in range(50)}
    assert len(codes) > 35


def test_a_wrong_instruction_is_found_named_and_made_small(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison of a compiler whose CALLER is ADDRESS."""
    monkeypatch.setattr(lowerings, "LOWERINGS", {**lowerings.LOWERINGS, "CALLER": lowerings.LOWERINGS["ADDRESS"]})
    inner, outer = 0xA001, SELF
    code = asm("7 5 SUB POP CALLER 0 MSTORE 32 0 RETURN")
    calling = asm(f"1 2 ADD POP 32 0 0 0 0 {inner} 50000 CALL 0 0 SSTORE STOP")
    call = Call({**world_of(calling), inner: replace(world_of(code)[SELF])}, gas=100_000)
    trial = Trial("osaka", comparison.eels("osaka"), comparison.natives["fast"])
    words = trial.words(call)
    assert words[0].startswith(f"frame 0 of 2 (depth 1, account {inner:#x}): output:"), words
    small = shrink(call, lambda smaller: bool(trial.words(smaller)))
    assert len(small.world[outer].code) < len(calling)
    assert trial.words(small)


def test_a_difference_does_not_end_a_chunk(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowerings, "LOWERINGS", {**lowerings.LOWERINGS, "MSIZE": lowerings.LOWERINGS["CALLER"]})
    monkeypatch.setattr("tests.differential.chunks.BATCHES", 1)
    monkeypatch.setattr("tests.differential.chunks.WORLDS", 12)
    monkeypatch.setattr("tests.differential.chunks.MAX_SHRUNK", 0)
    comparison.tally = Tally()
    result = run_chunk(Chunk("wrong", "berlin", 1), comparison)
    assert result["found"]
    assert all(row["words"] for row in result["found"])
    assert sum(counts["messages"] for counts in result["counts"].values()) > len(result["found"])


def test_a_program_that_does_not_compile_is_one_difference(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is compiled together with others: they are compared all the same."""
    kept = {name: lowering for name, lowering in lowerings.LOWERINGS.items() if name != "ORIGIN"}
    monkeypatch.setattr(lowerings, "LOWERINGS", kept)
    codes = {name: asm(f"{name} 0 MSTORE 32 0 RETURN") for name in ("ORIGIN", "CALLER")}
    worlds = [Generated(name, "osaka", (Call(world_of(code)),)) for name, code in codes.items()]
    comparison.tally = Tally()
    comparison.run(worlds, "fast")
    assert [(row.seed, "no lowering for opcode 0x32" in row.words[0]) for row in comparison.tally.found] == [
        ("ORIGIN", True)
    ]
    assert comparison.tally.counts["osaka"]["messages"] == 1 + len(variants(worlds[1].calls[0], 50, "CALLER"))


def test_a_case_survives_json() -> None:
    generated: Generated = generated_world("json", "prague")
    for call in generated.calls:
        assert from_json(json.loads(json.dumps(to_json(call, generated.fork)))) == (call, "prague")


def test_shorter_codes_cut_whole_instructions() -> None:
    code = bytes.fromhex("61aabb50")
    assert set(shorter_codes(code)) == {bytes.fromhex(text) for text in ("50", "5b5b5b50", "61aabb", "61aabb5b")}
