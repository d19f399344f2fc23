"""How long a look-up takes, alone and while all CPUs compile; how soon a hot key has code.

    python bench/lookup.py [--seconds 5]

Prints a line for each figure.  CPU time is that of the thread that looks up.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evmaot.execution.hashing import keccak256
from evmaot.jit import Compiled, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning

SMALL = bytes.fromhex("602a5f5260205ff3")
ROUNDS = 20_000
REPEATS = 25
HOT_SIZES = (2800, 3200)


def request_of(code: bytes) -> LookupRequest:
    """A look-up of a code under Osaka."""
    return LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code)


def say(text: str) -> None:
    """One figure."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def nanoseconds(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """CPU time of one call: the best of several series, for whatever else runs only adds."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.thread_time_ns()
        for _ in range(rounds):
            action()
        best = min(best, (time.thread_time_ns() - start) / rounds)
    return best


def contracts() -> list[bytes]:
    """Codes of the fixtures, or one that is made up, by size."""
    named = os.environ.get("EVMAOT_FIXTURES")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "fixtures"
    path = root / "contracts" / "contracts.jsonl.xz"
    if not path.exists():
        return [SMALL * 375]
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return sorted({bytes.fromhex(json.loads(line)["code"]) for line in lines}, key=len)


def variants(code: bytes) -> Iterator[bytes]:
    """The code again and again, different behind its end."""
    number = 0
    while True:
        number += 1
        yield code + b"\xfe" + number.to_bytes(8, "big")


def measure_hits(backend: JitBackend) -> None:
    """A hit against a plain read of a dictionary."""
    request = request_of(SMALL)
    assert backend.compile_jit_sync(request).succeeded
    time.sleep(1.0)  # the second tier
    key = (request.key.code_hash, "osaka")
    plain = {key: 1}
    lookup = backend.lookup
    empty = nanoseconds(lambda: None)
    say(f"plain dictionary read  {nanoseconds(lambda: plain[key]) - empty:8.0f} ns")
    say(f"lookup, hit            {nanoseconds(lambda: lookup(request)) - empty:8.0f} ns")
    say(f"get_compiled           {nanoseconds(lambda: backend.get_compiled(*key)) - empty:8.0f} ns")
    missing = LookupRequest(RuntimeCacheKey(bytes(32), "osaka"), SMALL)
    say(f"lookup, miss           {nanoseconds(lambda: lookup(missing)) - empty:8.0f} ns")


def measure_latency(backend: JitBackend, seconds: float, label: str) -> None:
    """Wall time of single look-ups."""
    request = request_of(SMALL)
    lookup, clock = backend.lookup, time.perf_counter_ns
    found: list[int] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(1000):
            start = clock()
            lookup(request)
            found.append(clock() - start)
    found.sort()
    parts = ", ".join(f"{part:g} %: {found[int(len(found) * part / 100)] / 1000:.1f}" for part in (50, 99, 99.9, 99.99))
    say(f"{label:<22} {parts}, longest {found[-1] / 1000:.0f} us, of {len(found)} look-ups")


def measure_hot(backend: JitBackend, codes: list[bytes]) -> None:
    """From the first of the look-ups that make a key hot to the first that finds code."""
    for tier in ("fast", "optimised"):
        times = []
        for _, code in zip(range(5), codes, strict=False):
            request = request_of(code)
            start = time.monotonic()
            while True:
                decision = backend.lookup(request)
                if isinstance(decision, Compiled) and decision.program.tier in (tier, "optimised"):
                    break
                time.sleep(0.001)
            times.append((time.monotonic() - start) * 1000)
        size_bytes = len(codes[0])
        say(f"hot key, {tier:<9}     {statistics.median(times):8.0f} ms until code of {size_bytes} bytes is there")
        codes = [next(variants(code)) for code in codes]
        while backend.stats().pending_jobs:
            time.sleep(0.01)


def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    chosen = parser.parse_args()
    codes = contracts()
    middle = [code for code in codes if HOT_SIZES[0] <= len(code) <= HOT_SIZES[1]][:1] or codes[-1:]
    cpus = len(os.sched_getaffinity(0))
    tuning = RuntimeTuning(jit_worker_count=cpus, jit_timeout=60.0)
    with JitBackend(RuntimeConfig(enabled=True, tuning=tuning)) as backend:
        measure_hits(backend)
        measure_latency(backend, chosen.seconds, "nothing compiles")
        source = variants(middle[0])
        futures = [backend.compile_jit(request_of(next(source))) for _ in range(200)]
        measure_latency(backend, chosen.seconds, f"{cpus} workers compile")
        say(f"                       {sum(future.done() for future in futures)} compilations ended meanwhile")
        backend.clear_resident()
    with JitBackend(RuntimeConfig(enabled=True, tuning=tuning)) as backend:
        backend.compile_jit_sync(request_of(SMALL))
        while backend.stats().pending_jobs:
            time.sleep(0.01)
        measure_hot(backend, [next(variants(middle[0] + bytes([number]))) for number in range(5)])


if __name__ == "__main__":
    main()
