"""Long runs: threads that do everything at random, and faults in a row.

    python -W error -m tests.jit.stress --seconds 60
    python -W error -m tests.jit.stress --faults 1000

The tests run both for a short time; the figures of a long run are printed as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from evmaot.errors import EvmaotError
from evmaot.jit import AotRequest, Compiled, JitBackend, OutcomeStatus, RuntimeConfig, RuntimeTuning
from evmaot.jit.crew import CrewSettings
from evmaot.runtime import EnvironmentRecord, FramePool, Status
from evmaot.runtime.memory import SMALLEST_RESERVE_BYTES
from tests.jit import pretend
from tests.jit.conftest import eventually, numbered, request_of
from tests.runtime.packs import CODE, Contract, make_library

LONGEST_WAIT_SECONDS = 150.0
"""Longer than a worker that is stopped by somebody may take to start."""
KEYS = [numbered(number) for number in range(40)] + [
    pretend.told(CODE, word + b":" + tier) for word in (b"fail", b"kill") for tier in (b"fast", b"optimised")
]


def pretended_compiler() -> Callable[[Any], Any]:
    contract = Contract()
    library = make_library((contract,), bytes.fromhex(pretend.profile("fast").digest))
    return partial(pretend.run_job, library, contract.code_sha256, bytes.fromhex(contract.rules_digest))


def make(function: Callable[[Any], Any], store: Path | None, **tuning: Any) -> JitBackend:
    config = RuntimeConfig(
        enabled=True, store=store, on_event=lambda _: None, tuning=RuntimeTuning(jit_worker_count=2, **tuning)
    )
    return JitBackend(config, _crew=CrewSettings(config, function, ("tests.jit.pretend",), b""))


class Runner:
    """Runs programs, in one thread."""

    def __init__(self) -> None:
        self._pool = FramePool(reserve_bytes=SMALLEST_RESERVE_BYTES)
        self._environment = EnvironmentRecord()

    def check(self, program: Any) -> None:
        frame = self._pool.acquire()
        frame.start(
            gas=1000, code=b"", input=b"", recipient=0, sender=0, value=0, is_static=False, depth=0,
            environment_address=self._environment.address,
        )  # fmt: skip
        assert program.call(frame) is Status.RETURN
        assert int.from_bytes(frame.output(), "big") == 42
        frame.release()


class Stress:
    """Threads that share a backend, which one of them closes and replaces now and then."""

    def __init__(self, store: Path, seed: int) -> None:
        self.compiler = pretended_compiler()
        self.store = store
        self.seed = seed
        self.backend = self.make()
        self.done: Counter[str] = Counter()
        self.complaints: list[str] = []

    def make(self) -> JitBackend:
        return make(
            self.compiler,
            self.store,
            jit_hot_threshold=2,
            jit_timeout=2.0,
            aot_timeout=2.0,
            compiler_recycle_threshold=50,
            event_drain_interval=0.005,
            eviction_sweep_interval=0.05,
            idle_evict_duration=0.3,
            resident_code_cache_bytes=30 * 20_000,
        )

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._act, args=(number, end), daemon=True) for number in range(6)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()) + 2 * LONGEST_WAIT_SECONDS)
                if thread.is_alive():
                    faulthandler.dump_traceback(sys.__stderr__ or 2)
                    raise AssertionError("a thread hangs; all stacks are in the standard error")
        finally:
            self.backend.close()
        assert not self.complaints, self.complaints[0]

    def _act(self, number: int, end: float) -> None:
        chance, runner = random.Random(self.seed * 100 + number), Runner()
        actions = [self._look_up] * 60 + [self._compile] * 12 + [self._wait] * 6 + [self._prepare] * 4
        actions += [self._clear, self._pause, self._pause, self._switch, self._statistics, self._statistics]
        if number == 0:
            actions += [self._replace, self._harm, self._harm]
        if number == 1:
            actions += [self._fork]
        while time.monotonic() < end:
            action = chance.choice(actions)
            try:
                action(chance, runner)
            except EvmaotError as error:
                if error.reference != "backend_closed":
                    self.complaints.append(f"{action.__name__}: {error!r}")
            except BaseException as error:
                self.complaints.append(f"{action.__name__}: {error!r}")
            self.done[action.__name__.strip("_")] += 1

    def _look_up(self, chance: random.Random, runner: Runner) -> None:
        request = request_of(chance.choice(KEYS), chance.choice(("osaka", "shanghai", "paris")))
        for _ in range(20):
            decision = self.backend.lookup(request)
        if isinstance(decision, Compiled):
            runner.check(decision.program)

    def _compile(self, chance: random.Random, runner: Runner) -> None:
        self.backend.compile_jit(request_of(chance.choice(KEYS)))

    def _wait(self, chance: random.Random, runner: Runner) -> None:
        outcome = self.backend.compile_jit(request_of(chance.choice(KEYS))).result(LONGEST_WAIT_SECONDS)
        if outcome.program is not None:
            runner.check(outcome.program)

    def _prepare(self, chance: random.Random, runner: Runner) -> None:
        code = chance.choice(KEYS)
        future = self.backend.prepare_aot(AotRequest(request_of(code).key.code_hash, code, "osaka"))
        if chance.random() < 0.5:
            future.result(LONGEST_WAIT_SECONDS)

    def _clear(self, chance: random.Random, runner: Runner) -> None:
        backend = self.backend
        chance.choice((backend.clear_resident, backend.clear_all, backend.clear_persisted))()

    def _pause(self, chance: random.Random, runner: Runner) -> None:
        backend = self.backend
        backend.pause()
        threading.Event().wait(chance.random() * 0.01)
        backend.resume()

    def _switch(self, chance: random.Random, runner: Runner) -> None:
        backend = self.backend
        backend.set_enabled(False)
        backend.set_enabled(True)

    def _statistics(self, chance: random.Random, runner: Runner) -> None:
        statistics = self.backend.stats()
        assert statistics.pending_jobs >= 0
        assert statistics.resident_bytes >= 0

    def _replace(self, chance: random.Random, runner: Runner) -> None:
        if chance.random() < 0.2:
            old, self.backend = self.backend, self.make()
            if chance.random() < 0.5:
                old.close()

    def _harm(self, chance: random.Random, runner: Runner) -> None:
        """As if by somebody else."""
        processes = self.backend.worker_process_ids
        if processes:
            send_to_child(chance.choice(processes), signal.SIGKILL if chance.random() < 0.9 else signal.SIGSTOP)

    def _fork(self, chance: random.Random, runner: Runner) -> None:
        if chance.random() < 0.2:
            backend = self.backend
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # what it warns of is what is tested
                process = os.fork()
            if process == 0:
                is_right = not backend.enabled and backend.stats().pending_jobs == 0
                os._exit(0 if is_right else 1)
            eventually(lambda: os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT), LONGEST_WAIT_SECONDS)
            assert os.waitpid(process, 0)[1] == 0


def send_to_child(process: int, number: signal.Signals) -> None:
    """Send a signal, but never to a stranger that has the number by now."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(process)
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def run_stress(seconds: float, seed: int = 1) -> dict[str, Any]:
    """All actions at random; answers what was done and what was left."""
    before = held()
    with tempfile.TemporaryDirectory() as folder:
        stress = Stress(Path(folder) / "store", seed)
        try:
            stress.run(seconds)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        done = dict(stress.done)
        del stress
        gc.collect()
        eventually(lambda: held()["threads"] <= before["threads"])
    after = held()
    assert after["descriptors"] <= before["descriptors"], (before, after)
    assert after["children"] == 0
    return {"seconds": seconds, "actions": sum(done.values()), "done": done, "before": before, "after": after}


FAULTS = [b"kill", b"crash", b"hang", b"eat"]


def run_faults(count: int, kinds: list[bytes] | None = None) -> dict[str, Any]:
    """So many jobs in a row whose worker dies, each between jobs that must not be lost."""
    kinds = kinds or FAULTS
    start = time.monotonic()
    backend = make(
        pretended_compiler(),
        None,
        jit_timeout=2.0,  # a busy machine needs most of it to eat up the memory
        jit_worker_memory_limit_bytes=128 << 20,
        jit_opt_level="fast",
        # Memory that grows is then somebody's fault.
        resident_code_cache_bytes=64 * 20_000,
    )
    measured: list[dict[str, int]] = []
    reasons: Counter[str] = Counter()
    with backend:
        for number in range(count):
            code = pretend.told(numbered(number), kinds[number % len(kinds)])
            futures = [backend.compile_jit(request_of(one)) for one in (code, numbered(number % 500))]
            faulty, good = (future.result(LONGEST_WAIT_SECONDS) for future in futures)
            assert faulty.status is OutcomeStatus.FAILED
            assert good.succeeded, good
            reasons[str(faulty.reason)] += 1
            del futures, faulty, good
            if number % max(1, count // 10) == 0:
                measured.append(held())
        statistics = backend.stats()
        assert statistics.compilations_failed == count
        assert statistics.pending_jobs == 0
    gc.collect()
    after = held()
    measured.append(after)
    assert after["children"] == 0
    return {
        "faults": count,
        "seconds": round(time.monotonic() - start, 1),
        "reasons": dict(reasons),
        "restarts": statistics.worker_restarts,
        "measured": measured,
    }


def held() -> dict[str, int]:
    """What this process has: descriptors, threads, children, resident memory."""
    children = 0
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            children += len(Path(f"/proc/self/task/{task}/children").read_text().split())
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[1])
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": children,
        "resident_kib": pages * resource.getpagesize() // 1024,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    figures = [run_stress(chosen.seconds, chosen.seed)] if chosen.seconds else []
    figures += [run_faults(chosen.faults)] if chosen.faults else []
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
