"""Everything at once, for five seconds; `tests.jit.stress` does the same for as long as one likes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.jit.conftest import eventually
from tests.jit.stress import run_faults, run_stress
from tests.support.fixtures import REPOSITORY


def test_threads_that_do_everything_at_random() -> None:
    # Another seed each time: a failure names it.
    figures = run_stress(5.0, seed=random.SystemRandom().randrange(1 << 32))
    assert figures["actions"] > 100
    assert {"look_up", "compile", "wait", "prepare", "clear", "pause", "switch"} <= set(figures["done"])


def test_faults_in_a_row_leak_nothing() -> None:
    figures = run_faults(12)
    assert figures["reasons"] == {"compile_crash": 6, "compile_timeout": 3, "compile_memory": 3}
    first, last = figures["measured"][0], figures["measured"][-2]
    assert last["descriptors"] <= first["descriptors"] + 6
    assert last["children"] <= 2


def processes_with(mark: str) -> set[int]:
    """Processes that have the mark in their environment, so that one finds them whatever they do."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            is_ours = mark.encode() in Path(f"/proc/{process}/environ").read_bytes()
        except OSError:
            continue
        if is_ours:
            found.add(int(process))
    return found


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_host_that_is_killed_leaves_no_process(is_paused: bool) -> None:
    """Stopped workers too: they see no end of a socket, only the kernel can end them."""
    mark = uuid.uuid4().hex
    script = (
        "import threading\n"
        "from tests.jit import stress\n"
        "from tests.jit.conftest import numbered, request_of\n"
        "backend = stress.make(stress.pretended_compiler(), None)\n"
        "for number in range(50): backend.compile_jit(request_of(numbered(number))).result(60)\n"
        f"if {is_paused}:\n"
        "    backend.pause()\n"
        "    backend._core.control(lambda: None)\n"
        "    backend._core.control(lambda: None)\n"
        "print('started', flush=True)\n"
        "threading.Event().wait(120)\n"
    )
    environment = os.environ | {"EVMAOT_TEST_MARK": mark}
    host = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"started\n"
    assert len(processes_with(mark)) >= 2
    host.send_signal(signal.SIGKILL)
    host.communicate()
    eventually(lambda: not processes_with(mark))


def test_hosts_that_are_killed_at_random_leave_no_process() -> None:
    mark, chance = uuid.uuid4().hex, random.SystemRandom()
    command = [sys.executable, "-m", "tests.jit.stress", "--seconds", "60"]
    for _ in range(3):
        host = subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | {"EVMAOT_TEST_MARK": mark}, stderr=subprocess.DEVNULL
        )
        eventually(lambda: len(processes_with(mark)) > 1)
        with pytest.raises(subprocess.TimeoutExpired):
            host.wait(chance.random())
        host.kill()
        host.wait()
        eventually(lambda: not processes_with(mark))
