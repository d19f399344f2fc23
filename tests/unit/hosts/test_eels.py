"""EELS as a host: the same results as its interpreter, what falls back, and that everything is put back."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ethereum.forks")

from ethereum import trace
from ethereum_spec_tools import forks as hardforks
from ethereum_spec_tools.evm_tools import create_parser
from ethereum_spec_tools.evm_tools.t8n import T8N, ForkCache

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import HostError, UsageError
from evmaot.evm.forks import FORKS
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import ProgramSource
from evmaot.hosts import eels
from evmaot.runtime.program import CompiledProgram
from tests.support.assembly import assemble, call, deploying, store_bytes
from tests.support.eels import SELF, Machine

SECRET_KEY = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"
SENDER = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"
TARGET, OTHER = 0x1000, 0x2000
PROGRAMS = JitPrograms(CompileOptions(Tier.FAST))
T8N_FORKS = {
    "frontier": "Frontier",
    "homestead": "Homestead",
    "tangerine_whistle": "TangerineWhistle",
    "spurious_dragon": "SpuriousDragon",
    "byzantium": "Byzantium",
    "petersburg": "ConstantinopleFix",
    "istanbul": "Istanbul",
    "berlin": "Berlin",
    "london": "London",
    "paris": "Paris",
    "shanghai": "Shanghai",
    "cancun": "Cancun",
    "prague": "Prague",
    "osaka": "Osaka",
}
"""Names that t8n takes."""


class NoPrograms:
    """Nothing is compiled."""

    def program_for(self, code: bytes, code_hash: bytes | None, fork: object) -> CompiledProgram | None:
        return None


@pytest.fixture(autouse=True)
def _off_afterwards() -> Iterator[None]:
    yield
    eels.disable()
    trace.set_evm_trace(trace.discard_evm_trace)


def busy_contract() -> bytes:
    """Storage, logs, a precompile, calls that work, calls that fail, a create and its destruction."""
    init_code = deploying(assemble(OTHER, "SELFDESTRUCT"))
    created = store_bytes(init_code) + assemble(len(init_code), 0, 3, "CREATE")
    return (
        assemble(0, 1, "SSTORE", 7, 2, "SSTORE", 0, 2, "SSTORE")
        + call("CALL", 2, input=(0, 32), output=(0, 32))
        + assemble(0, "MLOAD", 3, "SSTORE", 0x11, 0x22, 32, 0, "LOG2")
        + call("CALL", OTHER, value=5)
        + call("CALLCODE", OTHER)
        + call("CALL", 0xDEAD, value=1)
        + call("CALL", 0x3000)
        + created
        + assemble(4, "SSTORE", 0, 0, 0, 0, 0, 4, "SLOAD", 50_000, "CALL", "GAS", 5, "SSTORE")
    )


def alloc() -> dict[str, Any]:
    return {
        SENDER: {"balance": hex(10**18), "nonce": "0x0", "code": "0x", "storage": {}},
        f"0x{TARGET:040x}": {
            "balance": "0x64", "nonce": "0x1", "code": "0x" + busy_contract().hex(), "storage": {"0x01": "0x05"},
        },
        f"0x{OTHER:040x}": {"balance": "0x0", "nonce": "0x1", "code": "0x" + assemble(9, 9, "SSTORE").hex()},
        f"0x{0x3000:040x}": {"balance": "0x0", "nonce": "0x1", "code": "0xfe", "storage": {}},
    }  # fmt: skip


def t8n(
    fork: str, *extra: str, to: int | None = TARGET, data: bytes = b"", blobs: Path | None = None
) -> dict[str, Any]:
    """One transaction by EELS's own t8n: alloc and result.  With `blobs`, t8n clones the fork."""
    transaction = {
        "type": "0x0", "nonce": "0x0", "gasPrice": "0x64", "gas": "0x100000", "value": "0x7",
        "to": f"0x{to:040x}" if to is not None else None, "input": "0x" + data.hex(), "secretKey": SECRET_KEY,
    }  # fmt: skip
    env = {
        "currentCoinbase": "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba", "currentGasLimit": "0x1000000",
        "currentNumber": "0x1", "currentTimestamp": "0x3e8", "currentDifficulty": "0x20000", "currentBaseFee": "0xa",
        "currentRandom": "0x0", "currentExcessBlobGas": "0x0", "withdrawals": [],
        "blockHashes": {"0x0": "0x" + "11" * 32},
        "parentBeaconBlockRoot": "0x" + "00" * 32,
    }  # fmt: skip
    stdin = io.StringIO(json.dumps({"alloc": alloc(), "env": env, "txs": [transaction]}))
    out = io.StringIO()
    arguments = [
        "t8n", "--input.alloc", "stdin", "--input.env", "stdin", "--input.txs", "stdin", "--output.result", "stdout",
        "--output.alloc", "stdout", "--state.fork", fork, "--state-test", *extra,
    ]  # fmt: skip
    if blobs is not None:
        blobs.write_text(json.dumps({"target": "0x6", "max": "0x9", "baseFeeUpdateFraction": "0x4c6964"}))
        arguments += ["--input.blobParams", str(blobs)]
    # Not as a context manager: at its end it would delete the fork that a test's own clone gives.
    with contextlib.nullcontext(ForkCache()) as cache:
        tool = T8N(create_parser().parse_args(arguments), out, stdin, cache)
        assert tool.run() == 0
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


@pytest.mark.parametrize("fork", list(T8N_FORKS))
def test_t8n_gives_the_same_alloc_and_result_natively(fork: str) -> None:
    interpreted = t8n(T8N_FORKS[fork])
    with eels.native(PROGRAMS, strict=True) as statistics:
        natively = t8n(T8N_FORKS[fork])
        assert statistics.native_messages == 1 and statistics.native_frames > 5
    assert natively == interpreted
    assert int(natively["result"]["gasUsed"], 16) < 0x100000


@pytest.mark.parametrize("fork", list(T8N_FORKS))
@pytest.mark.parametrize("runtime", [assemble(1, 2, "ADD"), b"\xef", b""])
def test_creating_transactions_are_the_same(fork: str, runtime: bytes) -> None:
    data = deploying(runtime) if runtime else assemble(0, 0, "SSTORE", "INVALID")
    interpreted = t8n(T8N_FORKS[fork], to=None, data=data)
    with eels.native(PROGRAMS, strict=True):
        assert t8n(T8N_FORKS[fork], to=None, data=data) == interpreted


def test_a_fork_that_t8n_clones_runs_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # EELS's own way of cloning rewrites the sources, for minutes; a copy is what matters here.
    osaka = Path(importlib.import_module("ethereum.forks.osaka").__file__ or "").parent
    shutil.copytree(osaka, tmp_path / "osaka_clone42", ignore=shutil.ignore_patterns("__pycache__"))

    def clone(**_changes: object) -> Any:
        return hardforks.Hardfork.discover([str(tmp_path)])[0]

    monkeypatch.setattr(hardforks.Hardfork, "clone", staticmethod(clone))
    interpreted = t8n("Osaka", blobs=tmp_path / "blobs.json")
    for name in [name for name in sys.modules if "osaka_clone42" in name]:
        monkeypatch.delitem(sys.modules, name)
    with eels.native(PROGRAMS, strict=True) as statistics:
        assert t8n("Osaka", blobs=tmp_path / "blobs.json") == interpreted
        assert statistics.native_messages == 1


def test_counting_opcodes_falls_back_and_is_counted(tmp_path: Path) -> None:
    expected = t8n("Osaka")
    with eels.native(PROGRAMS) as statistics:
        counted = t8n("Osaka", "--opcode.count", "stdout")
        assert statistics.fallbacks == {"tracer": 1} and statistics.native_messages == 0
    assert counted["result"] == expected["result"] and counted["opcodeCount"]["SSTORE"] >= 6


def test_strict_raises_instead_of_falling_back() -> None:
    with eels.native(PROGRAMS, strict=True), pytest.raises(HostError, match="tracer"):
        trace.set_evm_trace(lambda evm, event: None)
        t8n("Osaka")


def test_without_programs_eels_interprets_calls_and_creates() -> None:
    programs: ProgramSource = NoPrograms()
    creation = deploying(b"\x01")
    interpreted = t8n("Osaka"), t8n("Osaka", to=None, data=creation)
    with eels.native(programs) as statistics:
        assert (t8n("Osaka"), t8n("Osaka", to=None, data=creation)) == interpreted
        assert statistics.fallbacks == {"no_program": 2} and statistics.native_messages == 0


def test_disable_puts_everything_back_and_keeps_the_numbers() -> None:
    interpreter = importlib.import_module("ethereum.forks.osaka.vm.interpreter")
    hardfork = importlib.import_module("ethereum_spec_tools.forks").Hardfork
    before = (interpreter.process_message, interpreter.process_create_message, hardfork.clone)
    done = eels.enable(PROGRAMS)
    assert set(done) >= {"frontier", "osaka", "bpo1", "constantinople"}
    assert interpreter.process_message is not before[0]
    t8n("Osaka")
    statistics = eels.disable()
    assert statistics.native_messages == 1
    assert (interpreter.process_message, interpreter.process_create_message, hardfork.clone) == before
    assert eels.disable().native_messages == 0


def test_enabling_twice_is_refused() -> None:
    eels.enable(PROGRAMS, forks=["osaka"])
    with pytest.raises(UsageError) as caught:
        eels.enable(PROGRAMS)
    assert caught.value.reference == "eels_enabled"


def test_only_the_named_forks_are_switched() -> None:
    paris = importlib.import_module("ethereum.forks.paris.vm.interpreter").process_message
    assert eels.enable(PROGRAMS, forks=["osaka"]) == ("osaka",)
    assert importlib.import_module("ethereum.forks.paris.vm.interpreter").process_message is paris


def test_a_fork_that_eels_lacks_is_refused_and_nothing_stays_patched() -> None:
    before = importlib.import_module("ethereum.forks.osaka.vm.interpreter").process_message
    with pytest.raises(UsageError) as caught:
        eels.enable(PROGRAMS, forks=["osaka", "atlantis"])
    assert caught.value.reference == "eels_fork_missing"
    assert importlib.import_module("ethereum.forks.osaka.vm.interpreter").process_message is before


def test_a_fork_with_another_opcode_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = importlib.import_module("ethereum.forks.osaka.vm.interpreter")
    operations = dict(interpreter.op_implementation)
    operations.popitem()
    monkeypatch.setattr(interpreter, "op_implementation", operations)
    assert "osaka" not in eels.enable(PROGRAMS)
    eels.disable()
    with pytest.raises(UsageError, match="osaka"):
        eels.enable(PROGRAMS, forks=["osaka"])


@pytest.mark.parametrize(
    ("package", "fork"),
    [
        ("constantinople", "petersburg"),
        ("bpo2", "osaka"),
        ("dao_fork", "homestead"),
        ("cancun_clone123", "cancun"),
        ("amsterdam", None),
    ],
)
def test_rules_of_eels_packages(package: str, fork: str | None) -> None:
    assert eels.fork_of_package(package) is (FORKS[fork] if fork else None)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (assemble("INVALID"), "InvalidOpcode"),
        (assemble("POP"), "StackUnderflowError"),
        (assemble(1, "JUMP"), "InvalidJumpDestError"),
        (assemble("JUMPDEST", 0, "JUMP"), "OutOfGasError"),
        (assemble(0, 0, "REVERT"), "Revert"),
        (assemble(1, 0, 0, "RETURNDATACOPY"), "OutOfBoundsRead"),
    ],
)
def test_errors_are_those_of_the_fork(code: bytes, error: str) -> None:
    machine = Machine("osaka")
    machine.add_account(SELF, code=code)
    message = machine.frame([], gas=50_000, code=code).evm.message
    machine.state._snapshots.clear()
    interpreter = importlib.import_module("ethereum.forks.osaka.vm.interpreter")
    with eels.native(PROGRAMS, strict=True):
        evm = interpreter.process_message(message)
    assert type(evm.error).__name__ == error and type(evm.error).__module__ == "ethereum.forks.osaka.vm.exceptions"


def test_an_open_snapshot_falls_back() -> None:
    machine = Machine("osaka")
    message = machine.frame([], gas=50_000, code=assemble("STOP")).evm.message
    interpreter = importlib.import_module("ethereum.forks.osaka.vm.interpreter")
    with eels.native(PROGRAMS) as statistics:
        assert interpreter.process_message(message).error is None
        assert statistics.fallbacks == {"open_snapshot": 1}


def test_a_custom_precompile_gets_an_evm_of_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    mapping = importlib.import_module("ethereum.forks.osaka.vm.precompiled_contracts.mapping")

    def sha256(evm: Any) -> None:
        seen.append((bytes(evm.message.data), int(evm.message.depth), type(evm).__module__))
        evm.output = b"\x01" * 32

    monkeypatch.setitem(mapping.PRE_COMPILED_CONTRACTS, mapping.SHA256_ADDRESS, sha256)
    with eels.native(PROGRAMS, strict=True):
        answer = t8n("Osaka")
    assert seen == [(bytes(32), 1, "ethereum.forks.osaka.vm")]
    assert answer["alloc"][f"0x{TARGET:040x}"]["storage"]["0x" + "03".rjust(64, "0")] == hex(int("01" * 32, 16))
