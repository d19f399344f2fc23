"""Contracts with immutables on the command line: the compiler's artifact, its deployments, and one template for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evmaot.evm.keccak import keccak256
from tests.cli.conftest import Cli
from tests.support.assembler import asm


def deployed(value: int) -> bytes:
    return asm(f"PUSH32={value} 0 MSTORE 32 0 RETURN")


def hash_of(value: int) -> str:
    return "0x" + keccak256(deployed(value)).hex()


@pytest.fixture
def artifact(home: Path) -> str:
    """As Foundry writes it: zeros where the constructor will write."""
    references = {"7": [{"start": 1, "length": 32}]}
    code = {"object": "0x" + deployed(0).hex(), "immutableReferences": references, "linkReferences": {}}
    (home / "Vault.json").write_text(json.dumps({"abi": [], "bytecode": {"object": "0x60"}, "deployedBytecode": code}))
    return "Vault.json"


@pytest.fixture
def deployments(home: Path) -> str:
    (home / "deployed").mkdir()
    for value in (7, 9):
        (home / "deployed" / f"{value}.hex").write_text(deployed(value).hex())
    return "deployed"


def test_deployments_of_a_stored_template_are_nothing_to_do(cli: Cli, artifact: str, deployments: str) -> None:
    assert cli("build", deployments, "--opt", "fast", "--check").code == 3
    assert cli("build", artifact, "--opt", "fast").code == 0
    assert cli("build", deployments, "--opt", "fast", "--check").code == 0
    assert cli("build", deployments, "--opt", "fast", "--dry-run").out == ""
    keys = cli("build", artifact, "--opt", "fast", "--print-keys").out
    assert cli("build", deployments, "--opt", "fast", "--print-keys").out == keys
    result = cli("build", deployments, "--opt", "fast", "--report", "report.json", "--pin", "live")
    assert result.code == 0
    assert "nothing to do: the store has the artifact" in result.err
    assert "1 template for codes that differ" in result.err and "2 of them are in the inputs" in result.err
    assert "duplicate" not in result.err
    assert "live keeps 1 artifact" in result.err
    (unit,) = cli("build", deployments, "--opt", "fast", "--json").document["data"]["units"]
    assert (unit["status"], unit["codes"], unit["sources"], unit["holes"]) == ("cached", 2, 2, [[1, 32]])


def test_a_build_of_the_artifact_and_its_deployments_makes_one_artifact(
    cli: Cli, artifact: str, deployments: str
) -> None:
    document = cli("build", deployments, artifact, "--opt", "fast", "--json").document
    assert [(unit["status"], unit["codes"]) for unit in document["data"]["units"]] == [("compiled", 3)]
    assert cli("build", deployments, "--opt", "fast", "--check").code == 0


def test_explain_sees_the_template_of_a_code_and_says_what_a_hash_can_not_tell(
    cli: Cli, artifact: str, deployments: str
) -> None:
    assert cli("build", artifact, "--opt", "fast").code == 0
    for code in ("deployed/7.hex", "0x" + deployed(9).hex()):
        data = cli("explain", code, "--opt", "fast", "--json").document["data"]
        assert (data["lookup"]["reason"], data["build"]["reason"]) == ("loaded", "cached")
        assert data["build"]["message"] == "a build would use the template that it is made of"
    data = cli("explain", hash_of(7), "--json").document["data"]
    assert data["lookup"]["reason"] == "not_in_store"
    assert (
        "whether it is made of the template that is stored is seen in the code, not in its hash"
        in (data["lookup"]["message"])
    )
    assert data["hint"] == "give the code, not its hash: evmaot explain FILE"
    assert "whether a template serves the code with that hash: evmaot explain FILE" in cli("show", hash_of(7)).err


def test_a_deployment_runs_on_the_stored_template(cli: Cli, artifact: str) -> None:
    assert cli("build", artifact, "--opt", "fast").code == 0
    data = cli("run", "0x" + deployed(7).hex(), "--json").document["data"]
    assert data["programs"] == {"stored": 1, "compiled": 0}
    assert data["output"] == "0x" + (7).to_bytes(32, "big").hex()


def test_a_denied_deployment_that_no_input_has_is_told_and_denied_by_its_label(
    cli: Cli, artifact: str, home: Path
) -> None:
    (home / "deny").write_text(hash_of(7) + "\n")
    result = cli("build", artifact, "--opt", "fast", "--deny", "deny", "--dry-run")
    assert "1 denied hash is of no code in the inputs" in result.err
    assert (
        "hint: the hash of a deployment is not that of a template that serves it: deny the contract's label"
        in result.err
    )
    document = cli("build", artifact, "--opt", "fast", "--deny", "deny", "--dry-run", "--json").document
    assert document["data"]["denied_unmatched"] == 1
    (home / "deny").write_text("*Vault*\n")
    result = cli("build", artifact, "--opt", "fast", "--deny", "deny")
    assert "1 denied" in result.err and "denied hash" not in result.err


@pytest.fixture
def only_init(home: Path) -> Path:
    """A directory with a contract that has its deployer in an immutable, one that needs arguments, and a plain code."""
    runtime = deployed(0)
    init = asm(f"PUSH2={len(runtime)} PUSH2=19 0 CODECOPY CALLER 1 MSTORE PUSH2={len(runtime)} 0 RETURN") + runtime
    (home / "out").mkdir()
    arguments = [{"type": "constructor", "inputs": [{"type": "address"}]}]
    for name, abi in (("Owned", []), ("Needy", arguments)):
        document = {"contractName": name, "abi": abi, "bytecode": "0x" + init.hex()}
        (home / "out" / f"{name}.json").write_text(json.dumps(document))
    (home / "out" / "plain.hex").write_text("0x6001600201")
    return home / "out"


def test_init_code_alone_is_left_out_with_a_hint_and_fails_no_build_of_a_directory(cli: Cli, only_init: Path) -> None:
    result = cli("build", only_init, "--opt", "fast", "--dry-run")
    assert result.code == 0
    assert "skipped 2: 2 init_code_only" in result.err
    assert "evmaot build --from-init" in result.err
    assert cli("build", only_init / "Owned.json", "--opt", "fast", "--dry-run").code == 3


def test_a_constructor_that_is_run_gives_the_template_of_every_deployment(
    cli: Cli, only_init: Path, deployments: str
) -> None:
    document = cli("build", only_init, "--opt", "fast", "--from-init", "--json").document
    units = {unit["label"]: (unit["status"], unit["holes"]) for unit in document["data"]["units"]}
    assert units == {"Owned": ("compiled", [[1, 32]]), "plain.hex": ("compiled", [])}
    assert [(problem["code"], problem["message"]) for problem in document["problems"]] == [
        ("constructor_failed", "Needy: the constructor takes 1 argument")
    ]
    assert cli("build", deployments, "--opt", "fast", "--check").code == 0
