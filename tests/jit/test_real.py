"""The compiler itself behind the backend: options that change what it does, and the documented example."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evmaot.jit
from evmaot.codegen.dump import STAGES
from evmaot.jit import AotRequest, CompiledProgram, JitBackend, OutcomeStatus, RuntimeConfig
from evmaot.runtime import EnvironmentRecord, FramePool, Status
from evmaot.runtime.memory import SMALLEST_RESERVE_BYTES
from tests.jit.conftest import MakeBackend, eventually, request_of
from tests.runtime.packs import CODE, GAS
from tests.support.fixtures import REPOSITORY

AnswerOf = Callable[[CompiledProgram], int]


def gas_of(program: CompiledProgram) -> int:
    frame = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES).acquire()
    environment = EnvironmentRecord()
    frame.start(
        gas=1000, code=CODE, input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0,
        environment_address=environment.address,
    )  # fmt: skip
    assert frame.run(program) is Status.RETURN
    used = 1000 - frame.gas
    frame.release()
    return used


def test_the_documented_example_runs(tmp_path: Path) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(
        evmaot.jit, "evmaot.jit", globs={"store_path": tmp_path / "store", "code": CODE}
    )
    assert len(example.examples) >= 9
    report: list[str] = []
    result = doctest.DocTestRunner().run(example, out=report.append)
    assert result.failed == 0, "".join(report)


def test_both_tiers_run(make_backend: MakeBackend, answer_of: AnswerOf) -> None:
    backend = make_backend(real=True)
    first = backend.compile_jit_sync(request_of(CODE)).program
    assert first is not None
    eventually(lambda: backend.stats().pending_jobs == 0)
    second = backend.get_compiled(first.code_hash, "osaka")
    assert second is not None
    assert (first.tier, second.tier) == ("fast", "optimised")
    assert [(answer_of(program), gas_of(program)) for program in (first, second)] == [(42, GAS), (42, GAS)]
    statistics = backend.stats()
    assert 0 < statistics.jit_code_bytes < statistics.resident_bytes


def test_a_custom_schedule_is_charged_and_is_part_of_the_key(make_backend: MakeBackend, tmp_path: Path) -> None:
    plain = make_backend(real=True, store=tmp_path / "store", aot=True)
    program = plain.compile_jit_sync(request_of(CODE)).program
    eventually(lambda: plain.stats().pending_jobs == 0)
    dear = make_backend(real=True, store=tmp_path / "store", gas_params={"PUSH1": 103, "PUSH0": 202})
    assert dear.get_compiled(request_of(CODE).key.code_hash, "osaka") is None, (
        "the plain artifact is not for this schedule"
    )
    other = dear.compile_jit_sync(request_of(CODE, "Osaka")).program
    assert program is not None
    assert other is not None
    assert gas_of(program) == GAS
    assert gas_of(other) == GAS + 2 * 100 + 2 * 200
    assert other.rules_digest != program.rules_digest


HALTS = {
    Status.INVALID_OPCODE: "fe",
    Status.STACK_UNDERFLOW: "01",
    Status.BAD_JUMP_DESTINATION: "600056",
    Status.OUT_OF_GAS: "62ffffff5163ffffffff51",
    Status.OUT_OF_BOUNDS_READ: "60015f5f3e",
}


def halt_of(program: CompiledProgram, code: bytes) -> Status:
    frame = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES).acquire()
    environment = EnvironmentRecord()
    frame.start(
        gas=1000, code=code, input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0,
        environment_address=environment.address,
    )  # fmt: skip
    status = frame.run(program)
    frame.release()
    return status


def test_all_exceptional_halts_have_one_status_where_that_is_asked_for(
    make_backend: MakeBackend, tmp_path: Path, answer_of: AnswerOf
) -> None:
    codes = {status: bytes.fromhex(text) for status, text in HALTS.items()}
    found: dict[bool, list[Status]] = {}
    for is_single in (False, True):
        backend = make_backend(real=True, store=tmp_path / "store", single_error=is_single)
        requests = [AotRequest(request_of(code).key.code_hash, code, "osaka") for code in (*codes.values(), CODE)]
        outcomes = backend.prepare_aot_batch(requests).result(60)
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.PUBLISHED}, "it is part of the key"
        programs = [outcome.program for outcome in outcomes if outcome.program is not None]
        found[is_single] = [halt_of(program, code) for program, code in zip(programs, codes.values(), strict=False)]
        assert answer_of(programs[-1]) == 42
        fast = backend.compile_jit_sync(request_of(codes[Status.INVALID_OPCODE] + b"\x00")).program
        assert fast is not None
        expected = Status.OUT_OF_GAS if is_single else Status.INVALID_OPCODE
        assert halt_of(fast, codes[Status.INVALID_OPCODE] + b"\x00") is expected
        backend.close()
    assert found == {False: list(codes), True: [Status.OUT_OF_GAS] * len(codes)}
    again = make_backend(store=tmp_path / "store")
    assert again.stats().preload_loaded == len(codes) + 1, "code of the other kind is not loaded"
    assert again.stats().preload_skipped == {"profile_other": 1}


def test_every_stage_is_dumped(make_backend: MakeBackend, tmp_path: Path) -> None:
    backend = make_backend(real=True, dump_dir=tmp_path / "dump", debug_assertions=True)
    assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED
    eventually(lambda: backend.stats().pending_jobs == 0)
    folder = tmp_path / "dump" / "osaka" / f"0x{request_of(CODE).key.code_hash.hex()}"
    expected = {f"{tier}.{stage}.txt" for tier in ("fast", "optimised") for stage in STAGES}
    assert {path.name for path in folder.iterdir()} == expected
    assert "PUSH1" in (folder / "fast.bytecode.txt").read_text()


def test_workers_share_the_cpus_that_they_are_given(make_backend: MakeBackend) -> None:
    backend = make_backend(real=True, jit_worker_cpu_count=1)
    backend.compile_jit_sync(request_of(CODE))
    (process_id,) = backend.worker_process_ids
    status = Path(f"/proc/{process_id}/status").read_text()
    (allowed,) = (line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
    assert allowed.isdecimal()
    expected = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert os.getpriority(os.PRIO_PROCESS, process_id) == expected, "it gives way"


@pytest.mark.parametrize("script", ["import evmaot.jit", "from evmaot.jit import JitBackend; JitBackend.disabled()"])
def test_neither_compiler_nor_terminal_is_loaded(script: str) -> None:
    check = "import sys; assert not {'llvmlite', 'click', 'rich', 'numpy', 'evmaot.codegen'} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", f"{script}\n{check}"], cwd=REPOSITORY, check=True)


def test_the_compiler_never_runs_in_this_process(tmp_path: Path) -> None:
    """What waits for LLVM's lock is a worker, never a thread of the host."""
    script = f"""
import sys
from evmaot.jit import *
from evmaot.evm.keccak import keccak256
code = bytes.fromhex({CODE.hex()!r})
with JitBackend(RuntimeConfig(enabled=True, store={str(tmp_path / "store")!r}, aot=True)) as backend:
    assert backend.compile_jit_sync(LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code)).succeeded
    assert backend.prepare_aot(AotRequest(keccak256(code), code, "paris")).result(60).succeeded
assert not any(name.split(".")[0] == "llvmlite" or name.startswith("evmaot.codegen") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=REPOSITORY, check=True)


def test_the_first_worker_makes_what_the_others_share() -> None:
    with JitBackend(RuntimeConfig(enabled=True)) as backend:
        assert backend.compile_jit_sync(request_of(CODE)).status is OutcomeStatus.COMPILED
        scheduler = backend._core.scheduler
        assert scheduler is not None
        assert scheduler.crew.has_shared_parts
