"""EELS's own tools, natively: the same output, and a line that says what ran how."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ethereum_spec_tools")

from ethereum import trace
from ethereum_spec_tools import evm_tools

from evmaot.hosts import eels, eels_tools
from tests.support.assembly import assemble
from tests.support.state_cases import SECRET_KEY, SENDER, content

T8N = (
    "t8n", "--input.alloc", "stdin", "--input.env", "stdin", "--input.txs", "stdin", "--output.result", "stdout",
    "--output.alloc", "stdout", "--state.fork", "Berlin", "--state-test",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_tracer() -> Iterator[None]:
    """EELS's tools leave the tracer that they set."""
    yield
    trace.set_evm_trace(trace.discard_evm_trace)


def request() -> str:
    """A transaction that stores, as t8n reads it."""
    case = content(code=assemble("CALLER", 1, "SSTORE"))
    transaction = {
        "type": "0x0", "nonce": "0x0", "gasPrice": "0x64", "gas": "0x100000", "value": "0x0", "input": "0x",
        "to": case["transaction"]["to"], "secretKey": SECRET_KEY,
    }  # fmt: skip
    env = {**case["env"], "withdrawals": [], "blockHashes": {}}
    return json.dumps({"alloc": case["pre"], "env": env, "txs": [transaction]})


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = eels_tools.main(arguments, out=out, input=io.StringIO(request()), err=err)
    assert eels.disable().native_messages == 0  # it was switched off again
    return status, out.getvalue(), err.getvalue()


def interpreted(*arguments: str) -> str:
    out = io.StringIO()
    assert evm_tools.main(arguments, out, io.StringIO(request())) == 0
    return out.getvalue()


def test_t8n_is_the_same_and_says_what_ran(tmp_path: Path) -> None:
    status, out, err = run("--cache", str(tmp_path), *T8N)
    assert status == 0 and json.loads(out) == json.loads(interpreted(*T8N))
    assert err == "evmaot-spec-evm: 1 native messages with 1 frames, 0 interpreted by EELS\n"
    assert list(tmp_path.rglob("*.image"))
    assert run("--quiet", *T8N)[2] == ""


def test_counting_opcodes_is_interpreted_and_said() -> None:
    arguments = (*T8N, "--opcode.count", "stdout")
    status, out, err = run(*arguments)
    assert status == 0 and json.loads(out) == json.loads(interpreted(*arguments))
    assert "0 native messages" in err and "1 interpreted by EELS (tracer: 1)" in err


def test_strict_fails_where_something_is_interpreted() -> None:
    status, _, err = run("--strict", *T8N, "--opcode.count", "stdout")
    assert status == 2 and "cannot run natively" in err


def test_what_a_store_lacks_is_compiled(tmp_path: Path) -> None:
    status, out, _ = run("--store", str(tmp_path / "none"), *T8N)
    assert status == 0 and json.loads(out)["result"]["gasUsed"]


def test_statetest_of_eels_runs_natively(tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    case: dict[str, Any] = content(("Berlin",))
    file.write_text(json.dumps({"one": case}))
    out, err = io.StringIO(), io.StringIO()
    assert eels_tools.main(["statetest", str(file)], out=out, input=io.StringIO(), err=err) == 0
    assert json.loads(out.getvalue())[0]["stateRoot"].startswith("0x") and "1 native messages" in err.getvalue()


def test_it_is_a_program() -> None:
    command = [sys.executable, "-m", "evmaot.hosts.eels_tools", *T8N]
    done = subprocess.run(command, input=request(), capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["alloc"][SENDER] and "1 native messages" in done.stderr
