"""Which codes of the inputs are built: heat, limit, deny list, and what is said about the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot.build import build
from evmaot.build_inputs import MAX_PROBLEMS, Gathered, gather
from evmaot.errors import UsageError
from evmaot.evm.keccak import keccak256
from evmaot.inputs.deny import DenyList, read_deny_list
from evmaot.inputs.problems import make_problem
from evmaot.inputs.source import ContractSource, Hole, Problem
from tests.support.store_samples import open_store
from tests.support.stub_toolchain import code, request, source, tools

SOURCES = [
    ContractSource(code(number), f"c{number}", f"trace#{number}", count=count)
    for number, count in ((1, 2), (2, 9), (3, 1), (2, 3), (4, 9))
]
"""Heat of 1 to 4: 2, 12, 1, 9."""


def labels(found: Gathered) -> list[str]:
    return [code.labels[0] for code in found.codes]


def reasons(found: Gathered) -> list[tuple[str, str, str]]:
    return [(problem.code, problem.severity, problem.subject) for problem in found.problems]


def test_heat_is_the_sum_over_all_sources_of_a_code() -> None:
    assert [(code.labels[0], code.sources, code.heat) for code in gather(request(*SOURCES)).codes] == [
        ("c1", 1, 2), ("c2", 2, 12), ("c3", 1, 1), ("c4", 1, 9),
    ]  # fmt: skip


def test_rank_puts_the_most_frequent_first() -> None:
    assert labels(gather(request(*SOURCES, rank=True))) == ["c2", "c4", "c1", "c3"]


def test_a_limit_keeps_the_most_frequent_and_names_the_rest() -> None:
    found = gather(request(*SOURCES, limit=2))
    assert labels(found) == ["c2", "c4"]
    assert reasons(found) == [("over_limit", "skip", "trace#1"), ("over_limit", "skip", "trace#3")]
    assert found.sources == 5


def test_of_equally_frequent_codes_the_first_of_the_inputs_is_kept() -> None:
    assert labels(gather(request(source(5), source(6), limit=1))) == ["c005"]


def test_with_rank_the_most_frequent_code_is_compiled_and_stored_first(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    started: list[str] = []

    def observe(event: Any) -> None:
        if event.kind.value == "started":
            started.append(event.subject)

    report = build(request(*SOURCES, rank=True, pack_size=1, jobs=1), store, observe, tools=tools())
    assert started == ["c2", "c4", "c1", "c3"]
    assert {unit.label: unit.heat for unit in report.units} == {"c1": 2, "c2": 12, "c3": 1, "c4": 9}


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(limit: int) -> None:
    with pytest.raises(UsageError) as caught:
        build(request(source(1), limit=limit), None, tools=tools())
    assert caught.value.reference == "bad_build_option"


def test_denied_codes_and_labels_are_left_out_by_name(tmp_path: Path) -> None:
    path = tmp_path / "deny"
    path.write_text(f"# not these\n0x{keccak256(code(1)).hex().upper()}\n\nC3 # by label\n*mock*\n")
    mock = ContractSource(code(9), "src/Mock.sol:Mock", "out#9")
    found = gather(request(*SOURCES, mock, deny=read_deny_list(path)))
    assert labels(found) == ["c2", "c4"]
    assert sorted(reasons(found)) == [
        ("denied", "skip", "out#9"), ("denied", "skip", "trace#1"), ("denied", "skip", "trace#3"),
    ]  # fmt: skip


def test_an_address_is_denied_whatever_its_case() -> None:
    address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    assert DenyList(patterns=(address.lower(),)).has_label(address)


def test_another_source_of_a_denied_label_s_code_is_built() -> None:
    found = gather(request(source(1, label="bad"), source(1, label="good"), deny=DenyList(patterns=("bad",))))
    assert labels(found) == ["good"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"0" * ((16 << 20) + 1)])
def test_a_list_that_can_not_be_read_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "deny"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_deny_list(path)
    assert caught.value.reference == "deny_list_unreadable"


@pytest.mark.parametrize("entry", ["0x12", "0x" + "1" * 41, "0x" + "1" * 65, "0x" + "g" * 40])
def test_a_cut_hash_in_a_list_is_refused_and_not_ignored(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "deny"
    path.write_text(f"*mock*\n{entry} # cut\n")
    with pytest.raises(UsageError) as caught:
        read_deny_list(path)
    assert (caught.value.reference, "line 2" in caught.value.message) == ("bad_deny_entry", True)
    path.write_text(f"{entry}*\n")
    assert read_deny_list(path).patterns == (f"{entry}*",)


def test_problems_are_bounded_and_counted() -> None:
    def problems() -> Iterator[Problem]:
        for number in range(MAX_PROBLEMS + 5):
            yield make_problem("delegation", f"dump#{number}", "a delegation")
        yield make_problem("odd_hex", "dump#x", "an odd number of digits")

    found = gather(request(*problems(), source(1)))
    assert len(found.problems) == MAX_PROBLEMS + 1
    assert dict(found.omitted) == {"delegation": 5}
    report = build(replace(request(dry_run=True), sources=found), None, tools=tools())
    assert report.is_partial
    assert report.problems_omitted == {"delegation": 5}


def test_code_that_lacks_what_deployment_writes_is_counted() -> None:
    hole = Hole(20, 8, "immutable")
    filled = bytearray(code(2))
    filled[20] = 1
    sources = [
        ContractSource(code(1), "compiled", "out#1", holes=(hole,)),
        ContractSource(bytes(filled), "deployed", "out#2", holes=(hole,)),
        source(3),
    ]
    assert build(request(*sources, dry_run=True), None, tools=tools()).undeployed == 1


def test_inputs_that_were_gathered_once_serve_several_builds() -> None:
    again = replace(request(dry_run=True), sources=gather(request(*SOURCES)))
    assert [len(build(again, None, tools=tools()).units) for _ in range(2)] == [4, 4]


def test_denied_hashes_that_are_of_no_input_are_counted() -> None:
    deny = DenyList(frozenset({keccak256(code(1)).hex(), "12" * 32, "34" * 32}))
    found = gather(request(*SOURCES, deny=deny))
    assert (found.denied_unmatched, found.denied) == (2, [code(1)])
