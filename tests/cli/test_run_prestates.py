"""`evmaot run --prestate`: every form of it, the block that it carries, and the flags that describe a message."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evmaot.cli.scenario import blob_base_fee, parse_block, parse_transaction
from evmaot.evm.forks import FORKS
from evmaot.execution.prestate import Prestate
from tests.cli.conftest import Cli
from tests.support.assembly import assemble

TARGET, SENDER = "0x" + "22" * 20, "0x" + "33" * 20
CODE = (
    assemble(0, "CALLDATALOAD", 1, "SSTORE", "CALLER", 2, "SSTORE", "CALLVALUE", 3, "SSTORE")
    + assemble("NUMBER", 0, "MSTORE", "TIMESTAMP", 32, "MSTORE", "BASEFEE", 64, "MSTORE", "BLOBBASEFEE", 96, "MSTORE")
    + assemble(0, "BLOCKHASH", 128, "MSTORE", 160, 0, "RETURN")
)  # fmt: skip
ALLOC: dict[str, Any] = {
    TARGET: {"balance": "0x0", "nonce": "0x1", "code": "0x" + CODE.hex(), "storage": {"0x01": "0x05"}},
    SENDER: {"balance": "0x64", "nonce": 7},
}
ENV = {"currentNumber": "0x01", "currentTimestamp": "0x3e8", "currentBaseFee": "0x0a", "previousHash": "0x" + "0" * 62
       + "77", "currentExcessBlobGas": "0xa00000"}  # fmt: skip
ANVIL_BLOCK = {"number": "0x1", "timestamp": "0x3e8", "gas_limit": 30000000, "basefee": 10, "beneficiary": TARGET,
               "blob_excess_gas_and_price": {"excess_blob_gas": 0xA00000, "blob_gasprice": 1}}  # fmt: skip
BLOB_FEE = 8
"""Of 0xa00000 excess blob gas under Prague: e ** (10485760 / 5007716), rounded down."""

FORMS: dict[str, tuple[Any, bool]] = {
    "alloc": (ALLOC, False),
    "genesis": ({"alloc": {key.removeprefix("0x"): value for key, value in ALLOC.items()}}, False),
    "state test": ({"name": {"env": ENV, "pre": ALLOC, "transaction": {}, "post": {}}}, True),
    "prestateTracer": (ALLOC, False),
    "its answer": ({"jsonrpc": "2.0", "id": 1, "result": ALLOC}, False),
    "diff": ({"pre": ALLOC, "post": {}}, False),
    "anvil": ({"block": ANVIL_BLOCK, "accounts": ALLOC}, True),
}


def words(text: str) -> list[int]:
    data = bytes.fromhex(text.removeprefix("0x"))
    return [int.from_bytes(data[start : start + 32], "big") for start in range(0, len(data), 32)]


@pytest.mark.parametrize("name", FORMS)
def test_a_prestate_of_any_form_with_all_flags(cli: Cli, tmp_path: Path, name: str) -> None:
    document, has_block = FORMS[name]
    file = tmp_path / "prestate.json"
    file.write_text(json.dumps(document))
    done = cli(
        "run", "--prestate", file, "--to", TARGET, "--from", SENDER, "--value", "5", "--gas", "200000",
        "--calldata", "0x" + "00" * 31 + "09", "--fork", "prague", "--opt", "fast", "--no-store", "--json",
    )  # fmt: skip
    data = done.document["data"]
    assert data["status"] == "RETURN" and data["fork"] == "prague" and data["gas_used"] + data["gas_left"] == 200000
    assert data["state"][TARGET]["storage"] == {"0x1": "0x9", "0x2": "0x" + "33" * 20, "0x3": "0x5"}
    assert (data["state"][TARGET]["balance"], data["state"][SENDER]["balance"]) == ("0x5", "0x5f")
    number, timestamp, base_fee, blob_fee, block_hash = words(data["output"])
    if has_block:
        assert (number, timestamp, base_fee, blob_fee) == (1, 1000, 10, BLOB_FEE)
        assert block_hash == (0x77 if name == "state test" else 0)
    else:
        assert (number, timestamp, base_fee, blob_fee) == (0, 0, 0, 0)


def test_anvil_dump_state_is_read_and_a_block_env_stands_before_its_block(cli: Cli, tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps({"block": ANVIL_BLOCK, "accounts": ALLOC}).encode())
    (tmp_path / "dump.hex").write_text(f"0x{packed.hex()}")
    (tmp_path / "env.json").write_text(json.dumps({"number": 9}))
    run = ("run", "--prestate", tmp_path / "dump.hex", "--to", TARGET, "--opt", "fast", "--no-store", "--json")
    assert words(cli(*run).document["data"]["output"])[:2] == [1, 1000]
    both = cli(*run, "--block-env", tmp_path / "env.json")
    assert words(both.document["data"]["output"])[:2] == [9, 0]


@pytest.mark.parametrize(
    ("fork", "excess", "fee"),
    [("london", 10**9, 0), ("cancun", 0, 1), ("cancun", 0xA00000, 23), ("prague", 0xA00000, BLOB_FEE)],
)
def test_the_blob_base_fee_follows_from_excess_blob_gas_by_fork(fork: str, excess: int, fee: int) -> None:
    """EIP-4844, and EIP-7691's update fraction from Prague on."""
    assert blob_base_fee(FORKS[fork], excess) == fee


def test_the_hash_of_the_parent_is_that_of_the_block_before() -> None:
    assert parse_block({"number": 9, "parentHash": "0x05"}).block_hashes == {8: 5}
    assert parse_block({"currentNumber": 9, "previousHash": "0x05"}).block_hashes == {0: 5}


def test_a_secret_key_tells_the_sender() -> None:
    pytest.importorskip("coincurve")
    key = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"
    call = parse_transaction({"to": TARGET, "secretKey": key}, Prestate())
    assert call.sender == 0xA94F5374FCE5EDBC8E2A8697C15331677E6EBF0B
