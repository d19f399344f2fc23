from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evmaot.codegen.builtins.module import builtins_object
from evmaot.evm.keccak import keccak256
from evmaot.jit import JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning
from evmaot.jit.compiler import COMPILER_MODULES, run_job
from evmaot.jit.crew import CrewSettings
from evmaot.runtime.events import RuntimeEvent
from evmaot.target import host_target
from tests.jit import pretend
from tests.runtime.conftest import answer_of as answer_of
from tests.runtime.conftest import root as root
from tests.runtime.packs import CODE, Contract, make_library

MakeBackend = Callable[..., JitBackend]
PATIENCE_SECONDS = 30.0
TUNING_NAMES = frozenset(RuntimeTuning.__dataclass_fields__)


def eventually(happens: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    turn = threading.Event()
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        turn.wait(0.002)


def request_of(code: bytes, fork: str = "osaka") -> LookupRequest:
    return LookupRequest(RuntimeCacheKey(keccak256(code), fork), code)


def numbered(number: int) -> bytes:
    """Different codes that do the same: what differs is never reached."""
    return CODE + b"\xfe" + number.to_bytes(4, "big")


class Gate:
    """A place where a pretended compilation waits for the test."""

    def __init__(self, path: Path, tiers: bytes) -> None:
        os.mkfifo(path)
        self.path = path
        self.code = pretend.told(CODE, b"gate:%s:%s" % (os.fsencode(path), tiers))
        self._descriptor: int | None = None
        self._opened = 0

    def wait_until_reached(self) -> None:
        """Until a worker stands before it, and the ones before are through."""

        def reached() -> bool:
            if pretend.count(self.path, "through") == self._opened:
                with contextlib.suppress(OSError):  # ENXIO: nobody reads yet
                    self._descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            return self._descriptor is not None

        eventually(reached)

    def open(self) -> None:
        assert self._descriptor is not None
        self._opened += 1
        os.close(self._descriptor)
        self._descriptor = None

    def lose(self) -> None:
        """Who stood before it is dead."""
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate", b"fast,optimised")


@pytest.fixture
def optimised_gate(tmp_path: Path) -> Gate:
    """Only the optimised tier waits at it."""
    return Gate(tmp_path / "optimised_gate", b"optimised")


@pytest.fixture(scope="session")
def pretended() -> Callable[[Any], Any]:
    """What workers run that compile nothing."""
    contract = Contract()
    library = make_library((contract,), bytes.fromhex(pretend.profile("fast").digest))
    return partial(pretend.run_job, library, contract.code_sha256, bytes.fromhex(contract.rules_digest))


@pytest.fixture
def events() -> list[RuntimeEvent]:
    return []


@pytest.fixture
def make_backend(pretended: Callable[[Any], Any], events: list[RuntimeEvent]) -> Iterator[MakeBackend]:
    """Make backends, with fields of configuration and tuning by name; all are closed, and leave nothing."""
    threads = set(threading.enumerate())
    made: list[JitBackend] = []

    def make(*, real: bool = False, **fields: Any) -> JitBackend:
        tuning = {name: fields.pop(name) for name in list(fields) if name in TUNING_NAMES}
        tuning.setdefault("jit_worker_count", 1)
        fields.setdefault("enabled", True)
        fields.setdefault("on_event", events.append)
        config = RuntimeConfig(tuning=RuntimeTuning(**tuning), **fields)
        if real:
            # The helpers' object is made once for all tests.
            crew = CrewSettings(config, run_job, COMPILER_MODULES, builtins_object(host_target()))
        else:
            crew = CrewSettings(config, pretended, ("tests.jit.pretend",), b"")
        backend = JitBackend(config, _crew=crew)
        made.append(backend)
        return backend

    yield make
    processes = [process for backend in made for process in backend.worker_process_ids]
    for backend in made:
        backend.close()
    eventually(lambda: set(threading.enumerate()) <= threads)
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
