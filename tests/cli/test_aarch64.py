"""`evmaot build --target aarch64-linux` on another machine: right artifacts, which run under emulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evmaot.abi.layout import LOG_ENTRY
from evmaot.abi.status import Status
from evmaot.codegen.options import Tier
from evmaot.evm.keccak import keccak256
from evmaot.store.elf_rules import check_library
from evmaot.target import host_target
from tests.cli.conftest import Cli
from tests.support.aarch64 import Answer, contract_answer, emulator
from tests.support.assembler import asm
from tests.support.fixtures import FIXTURES_MISSING, REPOSITORY, find_fixtures
from tests.support.libraries import AARCH64
from tests.support.native import SELF, SENDER, run_code

elsewhere = pytest.mark.skipif(host_target() == AARCH64, reason="this machine is an aarch64 itself")
emulated = pytest.mark.skipif(emulator() is None, reason="qemu-aarch64 is not installed (qemu-user-static)")
TIERS = pytest.mark.parametrize("tier", [tier.value for tier in Tier])
GAS = 1_000_000_000
FIBONACCI = bytes.fromhex((REPOSITORY / "examples" / "fibonacci.hex").read_text(encoding="ascii").strip()[2:])
STORING = asm(
    "0 CALLDATALOAD 7 EXP 0 MSTORE 32 0 KECCAK256 DUP1 32 MSTORE 0 MLOAD 32 MLOAD 97 NOT MULMOD DUP1 64 MSTORE "
    "DUP1 DUP3 SSTORE 0 DUP3 SSTORE DUP2 SLOAD POP 1 DUP2 SSTORE 9 96 0 LOG1 96 0 RETURN"
)
"""Hashes, wide arithmetic, storage with a refund, a log, and three words of output."""


def built(cli: Cli, home: Path, code: bytes, tier: str) -> tuple[bytes, tuple[str, str]]:
    """The library that the command line stores for a code, and the contract's entry in it."""
    (home / "code.hex").write_text(code.hex())
    arguments = ("--store", "arm", "build", "--target", "aarch64-linux", "--opt", tier, "--fork", "osaka", "code.hex")
    assert cli(*arguments).code == 0
    (row,) = cli("--store", "arm", "ls", "--contracts", "--json").document["data"]["contracts"]
    (library,) = (home / "arm" / "v1" / "objects").rglob("*.so")
    return library.read_bytes(), (row["code_sha256"], row["rules"])


def answer(cli: Cli, home: Path, code: bytes, tier: str, input: bytes, gas: int = GAS) -> Answer:
    library, entry = built(cli, home, code, tier)
    return contract_answer(library, code, entry, home, gas=gas, input=input, recipient=SELF, sender=SENDER)


@elsewhere
@TIERS
def test_artifacts_for_another_machine_obey_the_rules_and_are_not_loaded_here(cli: Cli, home: Path, tier: str) -> None:
    library, _ = built(cli, home, FIBONACCI, tier)
    assert check_library(library, architecture="aarch64") is None
    assert check_library(library, architecture="x86_64") == "machine"
    assert cli("--store", "arm", "verify").code == 0
    found = cli("--store", "arm", "explain", "0x" + keccak256(FIBONACCI).hex(), "--json").document["data"]
    assert (found["lookup"]["outcome"], found["lookup"]["reason"]) == ("miss", "architecture:aarch64")
    assert cli("--store", "arm", "preload", "--check", "--json").document["data"]["programs"] == 0
    # It travels as it is, and the reason stays.
    assert cli("--store", "arm", "export", "arm.tar").code == 0
    report = cli("--store", "other", "import", "--allow-unsigned", "arm.tar", "--json").document["data"]
    assert [pack["not_loadable"] for pack in report["new"]] == ["architecture:aarch64"]


@emulated
@TIERS
@pytest.mark.parametrize("argument", [0, 200])
def test_a_contract_of_a_store_for_aarch64_gives_the_same_result_and_gas(
    cli: Cli, home: Path, tier: str, argument: int
) -> None:
    input = argument.to_bytes(32, "big")
    here = run_code(FIBONACCI, "osaka", tier, gas=GAS, input=input)
    there = answer(cli, home, FIBONACCI, tier, input)
    assert (there.output, there.gas_left, there.refund) == (here.output, here.gas_left, here.refund)
    assert there.status == Status.RETURN


@emulated
@TIERS
def test_hashes_storage_refunds_and_logs_are_the_same_on_aarch64(cli: Cli, home: Path, tier: str) -> None:
    input = (1 << 200 | 12345).to_bytes(32, "big")
    here = run_code(STORING, "osaka", tier, gas=GAS, input=input)
    there = answer(cli, home, STORING, tier, input)
    assert here.refund
    assert (there.output, there.gas_left, there.refund) == (here.output, here.gas_left, here.refund)
    assert (there.slots, there.log_bytes) == (2, LOG_ENTRY.size_bytes + 32 + 96)


@emulated
def test_running_out_of_gas_is_the_same_on_aarch64(cli: Cli, home: Path) -> None:
    there = answer(cli, home, FIBONACCI, "fast", (200).to_bytes(32, "big"), gas=500)
    assert there.status == Status.OUT_OF_GAS
    assert run_code(FIBONACCI, "osaka", "fast", gas=500, input=(200).to_bytes(32, "big")).outcome == "halt"


def fixture(name: str) -> tuple[bytes, bytes]:
    """Code and call data of a transaction of the benchmarks, whose contract has no storage before it."""
    fixtures = find_fixtures()
    if fixtures is None:
        pytest.skip(FIXTURES_MISSING)
    document: dict[str, Any] = json.loads((fixtures / "bench" / f"{name}.json").read_text())
    ((_, case),) = document.items()
    (transaction,) = case["transaction"]
    account = case["pre"][transaction["to"]]
    assert not account.get("storage")
    return bytes.fromhex(account["code"][2:]), bytes.fromhex(transaction["data"][2:])


@emulated
@pytest.mark.parametrize("name", ["factorial", "hash_10k", "snailtracer"])
def test_published_contracts_give_the_same_result_and_gas_on_aarch64(cli: Cli, home: Path, name: str) -> None:
    code, input = fixture(name)
    here = run_code(code, "osaka", gas=GAS, input=input)
    there = answer(cli, home, code, "optimised", input)
    assert (there.output, there.gas_left, there.refund) == (here.output, here.gas_left, here.refund)
