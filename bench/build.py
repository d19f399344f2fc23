"""How a large build uses the machine: processors kept busy, and the memory of the process that plans and publishes.

    python bench/build.py [--contracts 1000] [--opt fast|optimised] [--jobs N] [--least-bytes 0]

The contracts are the fixtures' (`EVMAOT_FIXTURES`), or generated ones without them, made distinct by bytes behind their
code.  Printed are contracts a second, processor time over wall time (on a busy machine also with the time spent in the
queue for a processor: what it would be alone), what of the machine was idle, and the parent's memory each time that a
pack is stored: it does not grow with the number of contracts, but for their code and their lines in the report.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evmaot.build import BuildEvent, BuildRequest, EventKind, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import forks_selected
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource
from evmaot.store.directory import ArtifactDirectory
from evmaot.target import target_named

GENERATED = "5f35" + "8060011c0180" * 200 + "5f5260205ff3"
"""Where there are no fixtures: arithmetic on the first word of the input."""


def base_codes(least_bytes: int) -> list[bytes]:
    """The fixtures' contracts of at least that size."""
    directory = os.environ.get("EVMAOT_FIXTURES")
    path = Path(directory or "../shared/fixtures") / "contracts" / "contracts.jsonl.xz"
    if not path.exists():
        return [bytes.fromhex(GENERATED)]
    found = [item.code for item in read_inputs([path]) if isinstance(item, ContractSource)]
    return [code for code in found if len(code) >= least_bytes]


def contracts(number: int, least_bytes: int) -> Iterator[ContractSource]:
    """Distinct contracts: the number of each stands behind its code, where nothing runs."""
    codes = base_codes(least_bytes)
    for index in range(number):
        code = codes[index % len(codes)] + b"\x00\xfe" + index.to_bytes(8, "big")
        yield ContractSource(code, f"contract {index}", f"bench#{index}")


def memory_mib(field: str = "VmRSS") -> float:
    """Of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def machine_ticks() -> tuple[int, int]:
    """All ticks of all processors, and the idle ones."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(values), values[3] + values[4]


class Demand:
    """Time that this process and its workers ran or stood in the queue for a processor: use, had they been alone."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def sample(self) -> None:
        """Look at every process that is there; what a worker had before it ended is kept."""
        own = os.getpid()
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        for process in (own, *map(int, children)):
            with contextlib.suppress(OSError):
                threads = Path(f"/proc/{process}/task").glob("*/schedstat")
                ticks = [sum(map(int, path.read_text().split()[:2])) for path in threads]
                self._seconds[process] = sum(ticks) / 1e9

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return sum(self._seconds.values())


def processor_seconds() -> float:
    """Of this process and the children that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Build into a temporary store and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contracts", type=int, default=1000)
    parser.add_argument("--opt", choices=[tier.value for tier in Tier], default="fast")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--least-bytes", type=int, default=0)
    options = parser.parse_args()
    samples: list[tuple[int, float]] = []
    demand = Demand()
    demand.sample()
    demand_before = demand.seconds

    def observe(event: BuildEvent) -> None:
        demand.sample()
        if event.kind in (EventKind.PLANNED, EventKind.PUBLISHED):
            samples.append((event.counts.published, memory_mib()))
            print(f"{event.counts.published:6,} stored: {memory_mib():7.1f} MiB", flush=True)

    with tempfile.TemporaryDirectory(prefix="evmaot-bench-") as directory:
        store = ArtifactDirectory.open(Path(directory) / "store", create=True)
        request = BuildRequest(
            sources=contracts(options.contracts, options.least_bytes),
            forks=forks_selected("osaka"),
            options=CompileOptions(Tier(options.opt), target_named("host")),
            jobs=options.jobs,
        )
        ticks, idle = machine_ticks()
        start, before = time.perf_counter(), processor_seconds()
        report = build(request, store, observe)
        wall, used = time.perf_counter() - start, processor_seconds() - before
        all_ticks, idle_ticks = (now - then for now, then in zip(machine_ticks(), (ticks, idle), strict=True))
    compiled = len(report.units) - len(report.failed)
    rate = f"{wall:.1f} s: {compiled / wall:.1f} a second"
    print(f"{compiled:,} of {len(report.units):,} compiled ({options.opt}) in {rate}")
    print(f"processor time over wall time: {used / wall:.0%} with {options.jobs} jobs")
    print(f"with the time in which they waited for a processor: {(demand.seconds - demand_before) / wall:.0%}")
    print(f"idle time of all processors: {idle_ticks / all_ticks:.0%}; load {os.getloadavg()[0]:.1f}")
    first = next((mib for count, mib in samples if count), samples[0][1])
    print(f"the parent's memory: {first:.1f} MiB with the first pack, {samples[-1][1]:.1f} with the last,", end=" ")
    print(f"{memory_mib('VmHWM'):.1f} at most; planned: {samples[0][1]:.1f}")


if __name__ == "__main__":
    main()
