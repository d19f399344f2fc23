"""A real node: contracts deployed on anvil are built and fetched with one command each."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evmaot.inputs.live.client import CallError, RpcClient, RpcOptions
from evmaot.inputs.live.endpoint import parse_endpoint
from tests.cli.conftest import Cli
from tests.support.assembler import asm

ANVIL = "@foundry-rs/anvil@1.7.1"
_START_SECONDS = 30
_INSTALL_SECONDS = 120

CONTRACT, DELEGATING, PROXY = ("0x" + digits * 20 for digits in ("c0", "d0", "e0"))
RUNTIME = "0x5f355f5260205ff3"
CODES = {
    CONTRACT: RUNTIME,
    DELEGATING: "0xef0100" + CONTRACT[2:],
    PROXY: "0x363d3d373d3d3d363d73" + CONTRACT[2:] + "5af43d82803e903d91602b57fd5bf3",
}


def anvil_program(directory: Path) -> str:
    """Of EVMAOT_ANVIL, of the PATH, or from npm; skips the test where there is none."""
    known = os.environ.get("EVMAOT_ANVIL") or shutil.which("anvil")
    if known:
        return known
    if shutil.which("npm") is None:
        pytest.skip("no anvil: neither EVMAOT_ANVIL, nor anvil or npm on the PATH")
    command = ["npm", "install", "--prefix", str(directory), "--prefer-offline", "--no-audit", "--no-fund"]
    # Its script only links the binary, which comes in a package of its own.
    command += ["--ignore-scripts", "--loglevel=error", ANVIL]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"no anvil: npm does not give {ANVIL} ({type(error).__name__})")
    found = sorted(directory.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    if not found:
        pytest.skip(f"no anvil: {ANVIL} has none for this machine")
    return str(found[0])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a fresh anvil on loopback."""
    program = anvil_program(tmp_path_factory.mktemp("npm"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--hardfork", "osaka"]
    home = {"HOME": str(tmp_path_factory.mktemp("home")), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=home) as process:
        assert process.stdout is not None
        try:
            # It says that it listens; the pipe ends where it can't.
            while (line := process.stdout.readline()) and "Listening on" not in line:
                pass
            assert line, "anvil ended before it listened"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


Ask = Callable[..., Any]


@pytest.fixture
def ask(node: str) -> Iterator[Ask]:
    """Calls a method; the codes are set before."""
    with RpcClient(parse_endpoint(node), RpcOptions(timeout_seconds=_START_SECONDS)) as client:

        def call(method: str, *parameters: Any) -> Any:
            answer = client.call(method, *parameters)
            assert not isinstance(answer, CallError), answer
            return answer

        for address, code in CODES.items():
            call("anvil_setCode", address, code)
        yield call


def test_deployed_contracts_are_built_from_the_node(node: str, ask: Ask, cli: Cli) -> None:
    addresses = ("--address", PROXY, "--address", DELEGATING)
    result = cli("build", "--rpc", node, *addresses, "--follow-proxies", "--opt", "fast", "--json")
    assert result.code == 0
    units = result.document["data"]["units"]
    assert {unit["label"]: unit["status"] for unit in units} == {CONTRACT: "compiled", PROXY: "compiled"}
    assert [problem["code"] for problem in result.document["problems"]] == ["delegation"]
    assert cli("build", "--rpc", node, *addresses, "--follow-proxies", "--opt", "fast", "--check").code == 0


def test_a_transaction_s_contract_is_fetched_and_built_offline(node: str, ask: Ask, cli: Cli, home: Path) -> None:
    (sender, *_) = ask("eth_accounts")
    size = len(RUNTIME[2:]) // 2
    # PUSH the runtime code, store it at 0, return its bytes, which end the word.
    creation = f"0x67{RUNTIME[2:]}5f52{'60' + f'{size:02x}'}{'60' + f'{32 - size:02x}'}f3"
    ask("evm_setAutomine", False)  # else the block is made at some later moment
    sent = ask("eth_sendTransaction", {"from": sender, "data": creation, "gas": "0x100000"})
    ask("evm_mine")
    receipt = ask("eth_getTransactionReceipt", sent)
    address = receipt["contractAddress"]
    result = cli("fetch", "--rpc", node, address, "-o", "codes.jsonl", "--block", receipt["blockNumber"])
    assert result.code == 0
    record = json.loads((home / "codes.jsonl").read_text())
    assert (record["code"], record["chain_id"]) == (RUNTIME, 31337)
    assert cli("build", "codes.jsonl", "--opt", "fast").code == 0
    # Before its block the contract was not there.
    before = str(int(receipt["blockNumber"], 16) - 1)
    assert "no_code_at_address" in cli("fetch", "--rpc", node, address, "--block", before).err


def test_deployments_with_other_immutables_are_served_by_the_artifact_s_template(
    node: str, ask: Ask, cli: Cli, home: Path
) -> None:
    runtime = asm("PUSH32=0 0 MSTORE 32 0 RETURN")
    size = len(runtime)
    # The argument stands behind the init code; the constructor writes it into what it returns.
    init = asm(f"{size} 19 0 CODECOPY 32 {19 + size} 1 CODECOPY {size} 0 RETURN") + runtime
    document = {
        "abi": [],
        "bytecode": {"object": "0x" + init.hex()},
        "deployedBytecode": {
            "object": "0x" + runtime.hex(),
            "immutableReferences": {"1": [{"start": 1, "length": 32}]},
        },
    }
    (home / "Vault.json").write_text(json.dumps(document))
    assert cli("build", "Vault.json", "--opt", "fast").code == 0
    (sender, *_) = ask("eth_accounts")
    addresses: list[str] = []
    ask("evm_setAutomine", False)
    for value in (7, 9):
        data = "0x" + init.hex() + value.to_bytes(32, "big").hex()
        sent = ask("eth_sendTransaction", {"from": sender, "data": data, "gas": "0x100000"})
        ask("evm_mine")
        addresses += ["--address", ask("eth_getTransactionReceipt", sent)["contractAddress"]]
    result = cli("build", "--rpc", node, *addresses, "--opt", "fast", "--json")
    (unit,) = result.document["data"]["units"]
    assert (result.code, unit["status"], unit["codes"], unit["holes"]) == (0, "cached", 2, [[1, 32]])
    assert cli("build", "--rpc", node, *addresses, "--opt", "fast", "--check").code == 0


def test_both_forms_of_its_state_are_inputs(node: str, ask: Ask, cli: Cli, home: Path) -> None:
    (home / "state.hex").write_text(ask("anvil_dumpState"))
    data = cli("build", "state.hex", "--dry-run", "--json").document["data"]
    assert {CONTRACT, PROXY} <= {label.lower() for unit in data["units"] for label in unit["labels"]}
