"""Deployments as inputs of a build: what a template serves is not compiled again, and what is not served is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot.build import BuildReport, BuildRequest, UnitStatus, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import forks_selected
from evmaot.evm.keccak import keccak256
from evmaot.inputs.deny import DenyList
from evmaot.inputs.source import ContractSource, Hole
from evmaot.runtime import open_runtime
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.negative import NegativeRecord
from evmaot.toolchain import toolchain
from tests.support.assembler import asm

HOLES = (Hole(1, 32, "immutable"),)
ARTIFACT = "artifact"


def deployed(value: int, last: str = "RETURN") -> bytes:
    """A contract that loads a slot and returns an immutable: SLOAD has other prices from fork to fork."""
    return asm(f"PUSH32={value} 0 SLOAD ADD 0 MSTORE 32 0 {last}")


def artifact(holes: tuple[Hole, ...] = HOLES, code: bytes | None = None) -> ContractSource:
    return ContractSource(deployed(0) if code is None else code, ARTIFACT, "artifact.json", holes)


def plain(*values: int) -> list[ContractSource]:
    return [ContractSource(deployed(value), f"at {value}", f"dump#{value}") for value in values]


def built(
    store: ArtifactDirectory, sources: Sequence[ContractSource], forks: str = "osaka", **options: Any
) -> BuildReport:
    return build(BuildRequest(sources, forks_selected(forks), CompileOptions(Tier.FAST), **options), store)


def statuses(report: BuildReport) -> dict[str, str]:
    return {unit.label: unit.status.value for unit in report.units}


def serves(store: ArtifactDirectory, code: bytes, fork: str = "osaka") -> bool:
    return open_runtime(store.paths.root).lookup(keccak256(code), fork, code) is not None


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return ArtifactDirectory.open(tmp_path / "s", create=True)


def test_deployments_that_a_stored_template_serves_are_not_compiled(store: ArtifactDirectory) -> None:
    (template,) = built(store, [artifact()]).units
    report = built(store, plain(7, 9))
    (unit,) = report.units
    assert (unit.status, unit.unit_key, unit.pack) == (UnitStatus.CACHED, template.unit_key, template.pack)
    assert (unit.labels, unit.sources, unit.codes, unit.holes) == (("at 7", "at 9"), 2, 2, ((1, 32),))
    assert report.distinct_codes == 1
    assert len(store.index()) == 1


def test_deployments_beside_their_artifact_are_one_template_in_any_order(store: ArtifactDirectory) -> None:
    first, second = plain(7, 9)
    for sources in ([first, artifact(), second], [artifact(), second, first], [second, first, artifact()]):
        report = built(store, sources, dry_run=True)
        assert [(unit.codes, unit.sources, len(unit.holes)) for unit in report.units] == [(3, 3, 1)]
    assert statuses(built(store, [first, artifact(), second])) == {ARTIFACT: "compiled"}
    assert all(serves(store, source.code) for source in (first, second))


def test_heat_of_deployments_counts_for_their_template(store: ArtifactDirectory) -> None:
    other = ContractSource(asm("1 0 SSTORE STOP"), "other", "trace", count=4)
    hot = [ContractSource(deployed(value), f"at {value}", "trace", count=3) for value in (7, 9)]
    report = built(store, [other, *hot, artifact()], dry_run=True, rank=True, limit=1)
    assert [(unit.label, unit.heat) for unit in report.units] == [(ARTIFACT, 7)]


def test_an_artifact_of_the_deployment_itself_stands_before_a_template(store: ArtifactDirectory) -> None:
    (own,) = built(store, plain(7)).units
    built(store, [artifact()])
    assert {unit.unit_key for unit in built(store, plain(7)).units} == {own.unit_key}


def test_code_that_differs_outside_the_holes_is_compiled(store: ArtifactDirectory) -> None:
    built(store, [artifact()])
    other = ContractSource(deployed(7, "REVERT"), "other", "dump")
    assert statuses(built(store, [other])) == {"other": "compiled"}
    assert statuses(built(store, [artifact(), ContractSource(deployed(8, "REVERT"), "other", "dump")])) == {
        ARTIFACT: "cached",
        "other": "compiled",
    }


def test_a_template_that_lacks_a_fork_is_compiled_for_it_once(store: ArtifactDirectory) -> None:
    built(store, [artifact()], "berlin")
    report = built(store, plain(7, 9), "istanbul,berlin")
    assert sorted((unit.forks, unit.status.value, unit.codes) for unit in report.units) == [
        (("berlin",), "cached", 2),
        (("istanbul",), "compiled", 2),
    ]
    assert serves(store, deployed(11), "istanbul")


def test_only_the_forks_that_lack_an_artifact_go_to_a_template(store: ArtifactDirectory) -> None:
    built(store, plain(7), "istanbul")
    built(store, [artifact()], "berlin")
    report = built(store, plain(7), "istanbul,berlin")
    assert sorted((unit.forks, unit.status.value, len(unit.holes)) for unit in report.units) == [
        (("berlin",), "cached", 1),
        (("istanbul",), "cached", 0),
    ]


def test_force_takes_no_template_from_the_store(store: ArtifactDirectory) -> None:
    built(store, [artifact()])
    assert [(unit.status, unit.holes) for unit in built(store, plain(7), force=True).units] == [
        (UnitStatus.COMPILED, ())
    ]


def test_a_template_whose_library_is_gone_is_compiled_again(store: ArtifactDirectory) -> None:
    built(store, [artifact()])
    (pack,) = store.packs()
    pack.object_path.unlink()
    report = built(store, plain(7, 9))
    assert [(unit.status, unit.codes) for unit in report.units] == [(UnitStatus.COMPILED, 2)]
    assert serves(store, deployed(7))


def test_a_template_of_a_layer_serves(store: ArtifactDirectory, tmp_path: Path) -> None:
    built(store, [artifact()])
    upper = ArtifactDirectory.open(tmp_path / "upper", create=True)
    request = BuildRequest(plain(7), forks_selected("osaka"), CompileOptions(Tier.FAST))
    assert statuses(build(request, upper, layers=[store])) == {"at 7": "cached"}
    assert not upper.packs()


def test_where_a_template_of_the_inputs_is_refused_their_deployments_are_compiled(store: ArtifactDirectory) -> None:
    part_of_an_operand = (Hole(2, 31, "immutable"),)
    report = built(store, [*plain(7, 9), artifact(part_of_an_operand)])
    assert statuses(report) == {"at 7": "compiled", "at 9": "compiled", ARTIFACT: "compiled"}
    assert all(unit.template_refusal for unit in report.units)
    assert report.undeployed == 1


def test_a_denied_deployment_makes_its_template_none_and_the_others_own_artifacts(store: ArtifactDirectory) -> None:
    deny = DenyList(frozenset({keccak256(deployed(9)).hex()}))
    report = built(store, [artifact(), *plain(7, 9)], deny=deny)
    assert statuses(report) == {ARTIFACT: "compiled", "at 7": "compiled"}
    assert [problem.code for problem in report.problems] == ["denied"]
    assert [serves(store, deployed(value)) for value in (7, 9, 11)] == [True, False, False]


def test_no_template_is_compiled_for_a_fork_that_would_serve_a_denied_code(store: ArtifactDirectory) -> None:
    built(store, [artifact()], "berlin")
    deny = DenyList(frozenset({keccak256(deployed(9)).hex()}))
    report = built(store, plain(7, 9), "istanbul,berlin", deny=deny)
    assert sorted((unit.forks, unit.status.value, len(unit.holes)) for unit in report.units) == [
        (("berlin",), "cached", 1),
        (("istanbul",), "compiled", 0),
    ]
    assert not serves(store, deployed(9), "istanbul")


def test_a_deployment_that_is_itself_a_template_goes_to_the_one_with_more_holes(store: ArtifactDirectory) -> None:
    """A library with links: its own address is seen in the bytes, those that it links to only in the artifact."""
    code = asm("PUSH20=0 PUSH20=0 ADD 0 MSTORE 32 0 RETURN")
    filled = asm("PUSH20=5 PUSH20=6 ADD 0 MSTORE 32 0 RETURN")
    both, guard = (Hole(1, 20, "library"), Hole(22, 20, "library")), (Hole(1, 20, "library"),)
    deployment = ContractSource(filled, "deployed", "dump", guard)
    report = built(store, [deployment, artifact(both, code)])
    assert [(unit.codes, len(unit.holes), unit.status.value) for unit in report.units] == [(2, 2, "compiled")]
    assert statuses(built(store, [deployment])) == {"deployed": "cached"}


def test_a_refused_metadata_hole_leaves_the_immutables_open(store: ArtifactDirectory) -> None:
    """A computed jump might go into metadata, but the immutable is the operand of a PUSH."""

    def contract(value: int, filler: int) -> bytes:
        cbor = bytes.fromhex("a2646970667358221220") + bytes([filler]) * 32 + bytes.fromhex("64736f6c63430008180033")
        return asm(f"PUSH32={value} 0 MSTORE 0 CALLDATALOAD JUMP a: 32 0 RETURN INVALID") + cbor

    sources = [
        ContractSource(contract(value, filler), f"{value} {filler}", "test", HOLES)
        for value, filler in ((0, 1), (7, 1), (0, 2))
    ]
    report = built(store, sources, strip_metadata=True)
    assert sorted((unit.label, unit.codes, unit.holes) for unit in report.units) == [
        ("0 1", 2, ((1, 32),)),
        ("0 2", 1, ((1, 32),)),
    ]
    assert all("computed jump" in (unit.template_refusal or "") for unit in report.units)
    assert serves(store, contract(99, 2)) and not serves(store, contract(99, 3))


def test_deployments_of_a_stored_template_are_not_even_decoded(store: ArtifactDirectory) -> None:
    built(store, [artifact()])
    decoded: list[bytes] = []
    options = CompileOptions(Tier.FAST)
    real = toolchain(options)

    def reachable_opcodes(code: bytes) -> frozenset[int]:
        decoded.append(code)
        return real.reachable_opcodes(code)

    tools = replace(real, reachable_opcodes=reachable_opcodes)
    report = build(BuildRequest(plain(*range(50)), forks_selected("osaka"), options), store, tools=tools)
    assert [(unit.status, unit.codes) for unit in report.units] == [(UnitStatus.CACHED, 50)]
    assert decoded == []


def test_a_failure_of_the_code_by_itself_does_not_hide_the_template_that_serves_it(store: ArtifactDirectory) -> None:
    options = CompileOptions(Tier.FAST)
    (unit,) = built(store, plain(7), dry_run=True).units
    profile = toolchain(options).profile
    record = NegativeRecord(
        unit.unit_key, unit.code_sha256, unit.code_size_bytes, unit.rules, "at 7", "unsupported", "no", 300.0,
        4 << 30, "2026-01-01T00:00:00Z", keccak256(deployed(7)).hex(),
    )  # fmt: skip
    store.remember_failure(profile, record)
    assert statuses(built(store, plain(7))) == {"at 7": "failed"}
    built(store, [artifact()])
    assert statuses(built(store, plain(7))) == {"at 7": "cached"}
