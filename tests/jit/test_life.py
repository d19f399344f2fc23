"""Beginning and end: last reference, close, fork, exit of the interpreter, the environment."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evmaot.errors import UsageError
from evmaot.jit import Compiled, Interpret, InterpretReason, JitBackend, RuntimeConfig, RuntimeTuning
from evmaot.jit.crew import CrewSettings
from tests.jit.conftest import Gate, MakeBackend, eventually, request_of
from tests.runtime.packs import CODE, Contract, publish
from tests.support.fixtures import REPOSITORY


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_last_reference_ends_threads_and_processes(
    pretended: Callable[[Any], Any], gate: Gate, is_busy: bool
) -> None:
    threads = set(threading.enumerate())
    config = RuntimeConfig(enabled=True, tuning=RuntimeTuning(jit_worker_count=1))
    backend = JitBackend(config, _crew=CrewSettings(config, pretended, ("tests.jit.pretend",), b""))
    shared = backend
    future = backend.compile_jit(request_of(gate.code if is_busy else CODE))
    if is_busy:
        gate.wait_until_reached()
    else:
        future.result(30)
    (process_id,) = backend.worker_process_ids
    handle = weakref.ref(backend)
    del backend
    assert handle() is shared, "there is another reference"
    assert is_running(process_id)
    del shared
    gc.collect()
    assert handle() is None
    eventually(lambda: set(threading.enumerate()) <= threads)
    eventually(lambda: not is_running(process_id))
    assert future.result(30) is not None, "who waits is told"


def test_close_ends_what_runs_and_may_be_called_again(make_backend: MakeBackend, gate: Gate) -> None:
    threads = set(threading.enumerate())
    backend = make_backend()
    backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()
    backend.pause()
    (process_id,) = backend.worker_process_ids
    backend.close()
    backend.close(0.0)
    assert set(threading.enumerate()) <= threads
    assert not is_running(process_id)


def test_close_from_a_callback(make_backend: MakeBackend) -> None:
    made: list[JitBackend] = []
    made.append(make_backend(on_event=lambda _: made[0].close()))
    made[0].compile_jit(request_of(CODE)).result(30)
    eventually(lambda: made[0].lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED))


def test_a_context_manager_closes(make_backend: MakeBackend) -> None:
    with make_backend() as backend:
        backend.compile_jit_sync(request_of(CODE))
        processes = backend.worker_process_ids
    assert not any(is_running(process_id) for process_id in processes)


def in_child(check: Callable[[], object]) -> None:
    """Fork, run a check in the child, and expect that it passed."""
    read, write = os.pipe()
    # CPython 3.12 warns of every fork in a process with threads; it is what is tested here.
    process_id = os.fork()
    if process_id == 0:
        try:
            check()
        except BaseException as error:
            os.write(write, repr(error).encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        complaint = stream.read().decode()
    os.waitpid(process_id, 0)
    assert not complaint


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_fork_the_child_has_a_disabled_backend_with_its_map(
    make_backend: MakeBackend, gate: Gate, answer_of: Callable[..., int]
) -> None:
    backend = make_backend()
    backend.compile_jit_sync(request_of(CODE))
    eventually(lambda: backend.stats().pending_jobs == 0)
    future = backend.compile_jit(request_of(gate.code))
    gate.wait_until_reached()

    def check() -> None:
        assert not backend.enabled
        assert backend.lookup(request_of(CODE)) == Interpret(InterpretReason.DISABLED)
        assert backend.worker_process_ids == []
        program = backend.get_compiled(request_of(CODE).key.code_hash, "osaka")
        assert program is not None
        assert answer_of(program) == 42
        assert backend.stats().pending_jobs == 0
        # It can begin again, with workers of its own.
        backend.set_enabled(True)
        assert isinstance(backend.lookup(request_of(CODE)), Compiled)
        assert backend.compile_jit_sync(request_of(CODE + b"\x00")).program is not None
        backend.close()

    in_child(check)
    in_child(backend.close)
    # The parent's workers are as they were.
    assert not future.done()
    gate.open()
    assert future.result(30).program is not None


EXIT = """
import sys, threading
from evmaot.evm.keccak import keccak256
from evmaot.jit import JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning
code = bytes.fromhex("602a5f5260205ff3") * 2000
tuning = RuntimeTuning(jit_max_bytecode_len=0, jit_worker_count=1)
backend = JitBackend(RuntimeConfig(enabled=True, tuning=tuning, store=sys.argv[1], aot=True))
future = backend.compile_jit(LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code))
waiting = threading.Thread(target=future.result, daemon=True)
waiting.start()
while not backend.worker_process_ids:
    pass
print(*backend.worker_process_ids, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_interpreter_exits_with_jobs_running(tmp_path: Path, end: str) -> None:
    script = EXIT.replace("{end}", end)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", script, str(tmp_path / "store")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = -9 if "SIGKILL" in end else 0
    assert done.returncode == expected, done.stderr
    assert "Error" not in done.stderr
    assert "Warning" not in done.stderr
    for process_id in done.stdout.split():
        eventually(lambda process_id=process_id: not is_running(int(process_id)))  # type: ignore[misc]  # no types in lambdas


def test_variables_override_the_configuration(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    publish(root, Contract())
    monkeypatch.setenv("EVMAOT_ENABLED", "1")
    monkeypatch.setenv("EVMAOT_JIT_WORKER_COUNT", "0")
    with JitBackend(RuntimeConfig(store=root)) as backend:
        assert backend.enabled
        assert backend.jit_off == "no_workers"
        assert isinstance(backend.lookup(request_of(CODE)), Compiled)
    monkeypatch.setenv("EVMAOT_JIT_WORKER_COUNT", "many")
    with pytest.raises(UsageError) as caught:
        JitBackend()
    assert caught.value.reference == "bad_variable"


def test_many_beginnings_and_ends_leave_nothing(make_backend: MakeBackend) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        backend = make_backend(jit_opt_level="fast")
        backend.compile_jit_sync(request_of(CODE))
        backend.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
