"""Files that real tools wrote; they are not in the repository."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, Hole, Problem

PROXY = "0x976ea74026e726554db657fa54763abd0c3a0aa9"
ERC20 = "0x5fbdb2315678afecb367f032d93f642f64180aa3"


def read(path: Path, **options: bool) -> tuple[dict[str, ContractSource], list[Problem]]:
    items = list(read_inputs([path], **options))  # type: ignore[arg-type]  # options of several types
    contracts = {item.label: item for item in items if isinstance(item, ContractSource)}
    problems = [item for item in items if isinstance(item, Problem)]
    assert len(contracts) + len(problems) == len(items)
    return contracts, problems


def test_both_forms_of_anvils_state_hold_the_same_codes(fixtures_dir: Path) -> None:
    plain, problems = read(fixtures_dir / "formats" / "anvil-dump-state.json")
    packed, _ = read(fixtures_dir / "formats" / "anvil_dumpState.hex")
    assert {a: c.code for a, c in plain.items()} == {a: c.code for a, c in packed.items()}
    assert len(plain) == 4
    assert PROXY in plain
    assert [p.code for p in problems] == ["delegation"]


def test_the_tracer_met_the_code_that_is_in_the_state(fixtures_dir: Path) -> None:
    state, _ = read(fixtures_dir / "formats" / "anvil-dump-state.json")
    for name in ("prestateTracer.json", "prestateTracer-diff.json"):
        traced, problems = read(fixtures_dir / "formats" / name)
        assert {a: c.code for a, c in traced.items()} == {ERC20: state[ERC20].code}
        assert not problems


def test_solcs_output_has_a_library_and_a_contract_that_needs_it(fixtures_dir: Path) -> None:
    path = fixtures_dir / "formats" / "solc-standard-output.json"
    contracts, problems = read(path)
    assert set(contracts) == {"a.sol:L"}
    assert [(p.code, p.severity) for p in problems] == [("unlinked", "error")]
    assert "a.sol:L" in problems[0].message
    contracts, problems = read(path, allow_unlinked=True)
    assert not problems
    assert contracts["a.sol:C"].holes == (
        Hole(69, 32, "immutable"),
        Hole(173, 32, "immutable"),
        Hole(207, 20, "library"),
    )
    assert contracts["a.sol:C"].code[206] == 0x73  # PUSH20
    assert contracts["a.sol:C"].code[68] == contracts["a.sol:C"].code[172] == 0x7F  # PUSH32
    assert contracts["a.sol:C"].evm_version == "prague"


def test_vypers_output_has_its_immutable_behind_the_code(fixtures_dir: Path) -> None:
    contracts, problems = read(fixtures_dir / "formats" / "vyper-json-output.json")
    assert not problems
    assert contracts["ex.vy:ex"].holes == (Hole(42, 32, "immutable"),)
    assert len(contracts["ex.vy:ex"].code) == 74


def test_all_published_contracts_are_read(fixtures_dir: Path) -> None:
    path = fixtures_dir / "contracts" / "contracts.jsonl.xz"
    items = list(read_inputs([path]))
    with lzma.open(path, "rt") as lines:
        expected = [json.loads(line) for line in lines]
    assert [(i.label, i.code.hex()) for i in items if isinstance(i, ContractSource)] == [
        (record["label"], record["code"].removeprefix("0x")) for record in expected
    ]
    assert len(items) == len(expected) == 218


def test_all_benchmarks_are_read(fixtures_dir: Path) -> None:
    contracts, problems = read(fixtures_dir / "bench")
    assert not problems
    assert len(contracts) == 58
    assert {label.partition("/")[0] for label in contracts} >= {"snailtracer", "weth", "burntpix", "onchain_lm_v2"}


def test_all_vm_tests_are_read(fixtures_dir: Path) -> None:
    items = list(read_inputs([fixtures_dir / "vmtests.jsonl.xz"]))
    assert all(isinstance(item, ContractSource) for item in items)
    assert len(items) >= 609
