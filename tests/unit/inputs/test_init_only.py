"""Artifacts that have only init code: left out with a hint, or what their constructors deploy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evmaot.inputs.context import ConstructorFailed, Deployed
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, Hole, Item, Problem

RUNTIME = bytes.fromhex("7f" + "00" * 32 + "00")
HOLES = (Hole(1, 32, "immutable"),)


def run(init_code: bytes) -> Deployed:
    """A constructor that deploys the same whatever it is, or nothing."""
    if init_code == b"\xfd":
        raise ConstructorFailed("it reverted")
    return Deployed(RUNTIME, HOLES)


def read(path: Path, document: dict[str, Any], *, runs: bool = True) -> Item:
    path.write_text(json.dumps(document))
    (item,) = read_inputs([path], run_constructor=run if runs else None, allow_unlinked=True)
    return item


@pytest.mark.parametrize(
    "document",
    [
        {"contractName": "A", "abi": [], "bytecode": "0x6000"},
        {"contractName": "A", "abi": [], "bytecode": {"object": "6000"}},
        {"contractName": "A", "creationCode": "0x6000"},
        {"contractName": "A", "abi": [{"type": "constructor", "inputs": []}], "bytecode": "0x6000"},
    ],
)
def test_what_a_constructor_deploys_is_the_contract(tmp_path: Path, document: dict[str, Any]) -> None:
    assert read(tmp_path / "a.json", document) == ContractSource(RUNTIME, "A", str(tmp_path / "a.json"), HOLES)
    left_out = read(tmp_path / "a.json", document, runs=False)
    assert isinstance(left_out, Problem)
    assert (left_out.code, left_out.severity) == ("init_code_only", "error")
    assert "--from-init" in (left_out.hint or "")


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ({"abi": [], "bytecode": "0xfd"}, "constructor_failed", "the constructor: it reverted"),
        (
            {"abi": [{"type": "constructor", "inputs": [{"type": "uint256"}]}], "bytecode": "0x6000"},
            "constructor_failed",
            "the constructor takes 1 argument",
        ),
        (
            {"abi": [], "bytecode": "0x60__$" + "ab" * 17 + "$__"},
            "constructor_failed",
            "lacks the address of the library",
        ),
        ({"abi": [], "bytecode": "0x600"}, "odd_hex", "odd number"),
        ({"abi": [], "bytecode": "0x" + "00" * 49_153}, "code_too_long", "49153 bytes of init code"),
        ({"abi": [], "bytecode": "0x"}, "no_runtime_code", "an interface"),
        ({"abi": [], "bytecode": None}, "no_runtime_code", "an interface"),
    ],
)
def test_what_deploys_nothing_says_why(tmp_path: Path, document: dict[str, Any], code: str, words: str) -> None:
    found = read(tmp_path / "a.json", document)
    assert isinstance(found, Problem)
    assert found.code == code and words in found.message


def test_in_a_directory_a_constructor_that_cannot_run_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"abi": [], "bytecode": "0xfd"}')
    for runs in (run, None):
        (found,) = read_inputs([tmp_path], run_constructor=runs)
        assert isinstance(found, Problem) and found.severity == "skip"
