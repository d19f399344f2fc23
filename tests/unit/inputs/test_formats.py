"""The contract suite of the input formats: what each sample yields, and that only one format takes it."""

from __future__ import annotations

import io
import lzma
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evmaot.inputs.context import Context
from evmaot.inputs.documents import Document, read_documents
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.rpc import unwrap
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.registry import FORMATS, sort_of
from evmaot.inputs.source import ContractSource, Hole, InputLimits, Problem
from evmaot.inputs.streams import open_stream

SAMPLES_DIR = Path(__file__).resolve().parents[2] / "data" / "inputs"


def code(number: int) -> str:
    """A code that no other sample has: SSTORE(0, number)."""
    return f"60{number:02x}60005500"


def address(byte: int) -> str:
    return "0x" + f"{byte:02x}" * 20


ZERO_IMMUTABLE = "7f" + "00" * 32 + "60005500"
IMMUTABLE = Hole(1, 32, "immutable")


@dataclass(frozen=True)
class Sample:
    file: str
    format: str
    contracts: dict[str, str]
    """Label to code."""
    problems: list[str] = field(default_factory=list)
    holes: dict[str, tuple[Hole, ...]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


SAMPLES = [
    Sample("raw.evm", "raw", {"raw.evm": code(1)}),
    Sample("text.hex", "hex", {"text.hex": code(2)}),
    Sample("list.hex", "hex", {"list.hex#L2": code(3), "list.hex#L4": code(4)}),
    Sample("assembly.asm", "assembly", {"assembly.asm": "5b600560005561000056fe"}),
    Sample(
        "foundry/src/Token.sol/Token.json",
        "foundry",
        {"src/Token.sol:Token": ZERO_IMMUTABLE},
        holes={"src/Token.sol:Token": (IMMUTABLE,)},
        targets={"src/Token.sol:Token": "cancun"},
    ),
    Sample("foundry/src/IToken.sol/IToken.json", "foundry", {}, ["no_runtime_code"]),
    Sample("hardhat2.json", "hardhat", {"contracts/Two.sol:Two": code(6)}),
    Sample(
        "hardhat3.json",
        "hardhat",
        {"contracts/Three.sol:Three": ZERO_IMMUTABLE + "07"},
        holes={"contracts/Three.sol:Three": (IMMUTABLE,)},
    ),
    Sample(
        "build-info-hardhat2.json",
        "build-info",
        {"contracts/B.sol:B": code(8)},
        targets={"contracts/B.sol:B": "paris"},
    ),
    Sample("build-info-hardhat3.json", "build-info", {}, ["no_code"]),
    Sample("build-info-hardhat3.output.json", "build-info", {"project/B.sol:B3": code(9)}),
    Sample(
        "solc-standard.json",
        "solc",
        {"a.sol:A": code(10), "a.sol:Lib": "73" + "00" * 20 + "301460806040"},
        ["no_runtime_code"],
        holes={"a.sol:Lib": (Hole(1, 20, "library"),)},
        targets={"a.sol:A": "prague"},
    ),
    Sample("solc-failed.json", "solc", {}, ["compilation_failed"]),
    Sample(
        "solc-combined.json", "solc-combined", {"b.sol:B": code(11)}, ["no_runtime_code"], targets={"b.sol:B": "london"}
    ),
    Sample("waffle-combined.json", "solc-combined", {"c.sol:C": code(48)}),
    Sample(
        "vyper-json.json",
        "vyper",
        {"v.vy:v": code(12) + "00" * 64},
        holes={"v.vy:v": (Hole(6, 64, "immutable"),)},
    ),
    Sample(
        "vyper-combined.json",
        "vyper-combined",
        {"v.vy": code(13) + "00" * 64, "w.vy": code(14)},
        holes={"v.vy": (Hole(6, 64, "immutable"),)},
    ),
    Sample("truffle.json", "truffle", {"Truffled": code(15)}, targets={"Truffled": "istanbul"}),
    Sample("Deployed.json", "hardhat-deploy", {"Deployed": code(16)}, targets={"Deployed": "berlin"}),
    Sample("zero-x.json", "0x", {"Zrx": code(17)}, targets={"Zrx": "constantinople"}),
    Sample("Waffled.json", "waffle", {"Waffled": code(18)}),
    Sample("Init.json", "init-only", {}, ["init_code_only"]),
    Sample("ape-manifest.json", "ape", {"Fund.sol:Fund": code(19)}, ["no_runtime_code"]),
    Sample("Ape.json", "ape", {"Ape.vy:Ape": code(20)}),
    Sample(
        "sourcify.json",
        "sourcify",
        {"s.sol:S": "7f" + "15" * 32 + "60005500"},
        holes={"s.sol:S": (IMMUTABLE,)},
        targets={"s.sol:S": "shanghai"},
    ),
    Sample("rpc-reply.json", "rpc", {address(0xCC): code(22)}),
    Sample("rpc-batch.json", "rpc", {"reply 1": code(23)}, ["no_runtime_code", "rpc_error"]),
    Sample("rpc-lines.jsonl", "rpc", {"reply 1": code(24), "reply 2": code(25)}),
    Sample("etherscan-error.json", "rpc", {}, ["rpc_error"]),
    Sample("anvil-state.json", "anvil", {address(1): code(26)}, ["delegation"]),
    Sample("anvil-rpc.hex", "anvil-rpc", {address(1): code(27)}),
    Sample("anvil-rpc-reply.json", "anvil-rpc", {address(1): code(27)}),
    Sample("geth-dump.json", "geth-dump", {address(4): code(28), f"pre(0x{'77' * 32})": code(29)}),
    Sample("geth-iterative.jsonl", "geth-dump", {address(6): code(30), "0x" + "88" * 32: code(31)}),
    Sample("genesis.json", "alloc", {"09" * 20: code(32)}),
    Sample("t8n-alloc.json", "alloc", {address(11): code(33)}),
    Sample("state-test.json", "state-test", {f"first/{address(13)}": code(34), f"second/{address(13)}": code(35)}),
    Sample("state-test-line.json", "state-test", {f"only/{address(13)}": code(36)}),
    Sample("vm-test.jsonl", "state-test", {f"vm/{address(13)}": code(37), "vm2/exec": code(38)}),
    Sample("prestate.json", "prestate", {address(15): code(39)}),
    Sample("prestate-diff.json", "prestate", {address(15): code(39), address(17): code(40)}),
    Sample(
        "prestate-block.json",
        "prestate",
        {address(15): code(39), address(17): code(40)},
        ["rpc_error"],
        counts={address(15): 2, address(17): 1},
    ),
    Sample("prestate-reply.json", "prestate", {address(15): code(39)}),
    Sample("witness.json", "witness", {"codes[0]": code(41)}),
    Sample("witness-map.json", "witness", {"0x" + "cd" * 32: code(42)}),
    Sample(
        "codes.jsonl",
        "code-list",
        {"First": code(43), address(18): code(44)},
        targets={address(18): "osaka"},
        counts={address(18): 7},
    ),
    Sample("codes.json", "code-list", {"codes.json#0": code(45), "Named": code(46)}),
    Sample("text.json", "code-list", {"text.json": code(47)}),
]
BY_FILE = [pytest.param(sample, id=sample.file) for sample in SAMPLES]


def check(sample: Sample, items: list[ContractSource | Problem]) -> None:
    contracts = [item for item in items if isinstance(item, ContractSource)]
    problems = [item for item in items if isinstance(item, Problem)]
    assert {(c.label, c.code.hex()) for c in contracts} == set(sample.contracts.items())
    assert len(contracts) == len(sample.contracts)
    assert sorted(p.code for p in problems) == sorted(sample.problems)
    assert {c.label: c.holes for c in contracts if c.holes} == sample.holes
    assert {c.label: c.evm_version for c in contracts if c.evm_version} == sample.targets
    assert {c.label: c.count for c in contracts if c.label in sample.counts} == sample.counts
    assert all(c.count == 1 for c in contracts if c.label not in sample.counts)


def documents(sample: Sample) -> list[object]:
    context = Context(str(SAMPLES_DIR / sample.file), InputLimits())
    with open(SAMPLES_DIR / sample.file, "rb") as file:
        found = list(read_documents(open_stream(file, context.limits), context))
    assert all(isinstance(document, Document) for document in found)
    values = [document.value for document in found if isinstance(document, Document)]
    return [value for document in values for value, _ in unwrap(document, context)]


@pytest.mark.parametrize("sample", BY_FILE)
def test_a_sample_yields_exactly_its_contracts_and_problems(sample: Sample) -> None:
    check(sample, list(read_inputs([SAMPLES_DIR / sample.file])))


@pytest.mark.parametrize("sample", BY_FILE)
def test_exactly_one_format_recognises_a_sample(sample: Sample) -> None:
    for document in documents(sample):
        takers = [row.name for row in FORMATS if row.sort == sort_of(document) and row.recognise(document)]
        assert takers == [sample.format]


@pytest.mark.parametrize("sample", BY_FILE)
def test_a_forced_format_reads_its_own_samples(sample: Sample) -> None:
    check(sample, list(read_inputs([SAMPLES_DIR / sample.file], format=sample.format)))


@pytest.mark.parametrize("sample", BY_FILE)
def test_standard_input_is_read_like_a_file(sample: Sample) -> None:
    # Labels may differ: a code without a name is called after its file.
    items = list(read_inputs(["-"], stdin=io.BytesIO((SAMPLES_DIR / sample.file).read_bytes())))
    codes = [item.code.hex() for item in items if isinstance(item, ContractSource)]
    assert sorted(codes) == sorted(sample.contracts.values())
    assert sorted(item.code for item in items if isinstance(item, Problem)) == sorted(sample.problems)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.format != "raw"], ids=lambda sample: sample.file)
def test_line_ends_and_a_byte_order_mark_change_nothing(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / sample.file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = (SAMPLES_DIR / sample.file).read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    check(sample, list(read_inputs([path])))


@pytest.mark.parametrize("sample", BY_FILE)
def test_a_compressed_sample_is_read_like_the_sample(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / f"{sample.file}.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress((SAMPLES_DIR / sample.file).read_bytes()))
    items = list(read_inputs([path]))
    assert sorted(i.code.hex() for i in items if isinstance(i, ContractSource)) == sorted(sample.contracts.values())
    assert sorted(i.code for i in items if isinstance(i, Problem)) == sorted(sample.problems)


@pytest.mark.parametrize("row", [row for row in FORMATS if row.sort == "json"], ids=lambda row: row.name)
def test_a_forced_format_says_so_where_nothing_fits(row: Format, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"unrelated": [1, 2]}')
    (item,) = read_inputs([path], format=row.name)
    assert isinstance(item, Problem)
    assert (item.code, item.severity) == ("wrong_format", "error")


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in SAMPLES} == {row.name for row in FORMATS}


def test_every_sample_file_is_tested() -> None:
    files = {path.relative_to(SAMPLES_DIR).as_posix() for path in SAMPLES_DIR.rglob("*") if path.is_file()}
    assert files == {sample.file for sample in SAMPLES}


def test_format_names_are_unique_and_fit_a_command_line() -> None:
    names = [row.name for row in FORMATS]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.replace("-", "").isalnum() for name in names)
    assert "auto" not in names
