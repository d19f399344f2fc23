"""`evmaot verify --level exec`: a store whose code computes something else is found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("ethereum.forks")

from evmaot.build import BuildRequest, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.inputs.source import ContractSource
from evmaot.store.directory import ArtifactDirectory
from tests.cli.conftest import Cli
from tests.support.assembly import assemble
from tests.support.wrong_compiler import wrong_toolchain

CODE = assemble("CALLER", 7, "ADD", 5, "SSTORE", "CALLER", 9, "SUB", 6, "SSTORE")
OPTIONS = CompileOptions(Tier.FAST)


def publish(path: Path, *, wrongly: bool) -> None:
    """A pack of one code, under the right key."""
    request = BuildRequest(sources=[ContractSource(CODE, "adds", "-")], forks=(FORKS["osaka"],), options=OPTIONS)
    store = ArtifactDirectory.open(path, create=True)
    assert not build(request, store, tools=wrong_toolchain(OPTIONS) if wrongly else None).is_partial


def test_code_that_computes_something_else_is_named_with_exit_code_4(cli: Cli, tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(store, wrongly=True)
    assert cli("--store", store, "verify").code == 0  # the bytes are what was published
    done = cli("--store", store, "verify", "--level", "exec", "--calls", "4", "--json")
    assert done.code == 4 and done.document["data"]["execution"]["artifacts"] == 1
    (problem,) = done.document["problems"]
    assert problem["code"] == "wrong_result" and "osaka" in problem["message"] and "adds" in problem["message"]
    told = cli("--store", store, "verify", "--level", "exec", "--calls", "4")
    assert told.code == 4 and "[wrong_result]" in told.out and "the runtime uses that code" in told.err


def test_sound_code_and_a_recorded_transaction_pass(cli: Cli, tmp_path: Path) -> None:
    store, target = tmp_path / "store", "0x" + "22" * 20
    publish(store, wrongly=False)
    case = {"pre": {target: {"balance": "0x0", "nonce": "0x1", "code": f"0x{CODE.hex()}"}},
            "transaction": {"to": target, "input": "0x", "gasLimit": "0x186a0"}}  # fmt: skip
    (tmp_path / "case.json").write_text(json.dumps({"one": case}))
    done = cli("--store", store, "verify", "--level", "exec", "--calls", "2", "--recorded", tmp_path / "case.json")
    assert done.code == 0, done.err
    assert "ran 3 calls of 1 artifact beside EELS's interpreter, 3 frames compared" in done.err
