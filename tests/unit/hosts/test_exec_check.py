"""Verification by execution: a sound store has no finding, a wrong artifact is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.build import BuildRequest, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import InputError
from evmaot.evm.forks import FORKS
from evmaot.hosts.exec_check import CheckedCode, check_execution, generated_call, stored_codes
from evmaot.hosts.recorded import read_recorded
from evmaot.inputs.source import ContractSource, Hole
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Severity
from tests.support.assembly import assemble, return_word
from tests.support.wrong_compiler import wrong_toolchain

OPTIONS = CompileOptions(Tier.FAST)
SUM = assemble("CALLER", 7, "ADD", 5, "SSTORE", "CALLER", 9, "SUB", 6, "SSTORE", 5, "SLOAD") + return_word()
SOUND = assemble(0, "CALLDATALOAD", 3, "MUL", 2, "SSTORE", 2, "SLOAD", 0, 0, "LOG1", "ADDRESS") + return_word()


def built(path: Path, *, wrongly: bool, forks: tuple[str, ...] = ("berlin", "osaka")) -> ArtifactDirectory:
    store = ArtifactDirectory.open(path, create=True)
    sources = [ContractSource(code, label, "-") for code, label in ((SUM, "sum"), (SOUND, "sound"))]
    request = BuildRequest(sources=sources, forks=tuple(FORKS[fork] for fork in forks), options=OPTIONS)
    report = build(request, store, tools=wrong_toolchain(OPTIONS) if wrongly else None)
    assert not report.is_partial
    return store


def recording(path: Path, code: bytes) -> Path:
    target = "0x" + "22" * 20
    case = {
        "pre": {target: {"balance": "0x0", "nonce": "0x1", "code": f"0x{code.hex()}", "storage": {}}},
        "transaction": [{"to": target, "data": "0x", "gasLimit": "0x186a0"}],
    }
    path.write_text(json.dumps({"one": case}))
    return path


def test_a_sound_store_has_no_findings(tmp_path: Path) -> None:
    store = built(tmp_path / "store", wrongly=False)
    codes, lacking = stored_codes(store)
    assert {code.code for code in codes} == {SUM, SOUND} and lacking == 0
    tests = read_recorded(recording(tmp_path / "one.json", SUM), "osaka")
    report = check_execution(store, codes, tests, calls=6)
    assert report.findings == []
    assert report.artifacts >= 2 and report.calls == 6 * report.artifacts + 1 and report.frames >= report.calls


def test_a_wrong_artifact_is_found_by_generated_and_by_recorded_calls(tmp_path: Path) -> None:
    store = built(tmp_path / "store", wrongly=True)
    report = check_execution(store, stored_codes(store)[0], calls=6)
    assert report.findings and all(found.code == "wrong_result" for found in report.findings)
    (pack, *_) = store.packs()
    assert report.findings[0].subject.startswith(store.files.subject(pack.object_path).split("/")[0])
    assert "(sum)" in report.findings[0].message and "native" in report.findings[0].message
    by_record = check_execution(store, (), read_recorded(recording(tmp_path / "one.json", SUM), "osaka"))
    assert [found.code for found in by_record.findings] == ["wrong_result"]
    assert "one.json#one" in by_record.findings[0].subject


@pytest.mark.parametrize("wrongly", [False, True])
def test_a_template_runs_with_its_holes_filled(tmp_path: Path, wrongly: bool) -> None:
    code = assemble("CALLER") + b"\x7f" + bytes(32) + assemble("ADD", 9, "SUB") + return_word()
    source = ContractSource(code, "template", "-", (Hole(2, 32, "immutable"),))
    store = ArtifactDirectory.open(tmp_path / "store", create=True)
    request = BuildRequest(sources=[source], forks=(FORKS["osaka"],), options=OPTIONS)
    report = build(request, store, tools=wrong_toolchain(OPTIONS) if wrongly else None)
    assert [unit.holes for unit in report.units] == [((2, 32),)]
    codes, lacking = stored_codes(store)
    checked = check_execution(store, codes, calls=4)
    assert (lacking, checked.artifacts, len(codes)) == (0, 1, 1)
    assert [found.code for found in checked.findings] == (["wrong_result"] if wrongly else [])
    assert len({codes[0].deployment(1, number) for number in range(8)}) > 2


def test_what_the_store_lacks_is_a_note(tmp_path: Path) -> None:
    store = built(tmp_path / "store", wrongly=False, forks=("osaka",))
    report = check_execution(store, [], read_recorded(recording(tmp_path / "one.json", assemble(1, "POP")), "osaka"))
    assert [(found.code, found.severity) for found in report.findings] == [("not_loaded", Severity.NOTE)]
    assert check_execution(store, [CheckedCode(assemble(5))]).artifacts == 0


def test_a_sample_and_its_calls_depend_on_the_seed(tmp_path: Path) -> None:
    store = built(tmp_path / "store", wrongly=False, forks=("osaka",))
    chosen = {seed: stored_codes(store, 1, seed)[0][0].code for seed in range(20)}
    assert set(chosen.values()) == {SUM, SOUND} and stored_codes(store, 1, 3)[0][0].code == chosen[3]
    one, again, other = (generated_call(SUM, "osaka", seed, 0).content for seed in (1, 1, 2))
    assert one == again != other


def test_a_call_uses_what_occurs_in_the_code() -> None:
    helper = 0x00112233445566778899AABBCCDDEEFF00112233
    code = assemble(b"\x63\xa9\x05\x9c\xbb", b"\x73" + helper.to_bytes(20, "big"))
    calls = [generated_call(code, "osaka", 1, number).content for number in range(10)]
    assert any(call["transaction"]["data"][0].startswith("0xa9059cbb") for call in calls)
    assert all(f"0x{helper:040x}" in call["pre"] for call in calls)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"pre": {}}}'])
def test_a_bad_recording_is_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError) as caught:
        read_recorded(tmp_path / "bad.json", "osaka")
    assert caught.value.reference == "bad_recording"
