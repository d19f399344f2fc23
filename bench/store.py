"""The store's promises on speed, each beside the figure seen here.

    .venv/bin/python bench/store.py [--contracts 100000] [--quick]

Every figure is that of a process of its own, as a user starts it: the best of several runs, wall time and CPU time.
Manifests are synthetic: as many members, opcodes and forks as real ones have, behind libraries that are no machine
code.  Preload and the build with nothing to do use real libraries (`bench/preload.py` makes them).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "bench")]

from evmaot.codegen.options import CompileOptions  # noqa: E402
from evmaot.evm.forks import FORKS  # noqa: E402
from evmaot.evm.instruction_set import opcode_bitmap  # noqa: E402
from evmaot.store.directory import ArtifactDirectory  # noqa: E402
from evmaot.store.files import Durability  # noqa: E402
from evmaot.store.index import rules_digest  # noqa: E402
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest, sorted_members  # noqa: E402
from evmaot.toolchain import profile_of  # noqa: E402

PACK_SIZE = 256
KINDS = 400
"""Distinct sets of opcodes among the contracts: 218 published contracts have 190."""
REAL = 10_000
"""Contracts of the store with real libraries."""


@dataclass(frozen=True)
class Row:
    """A figure and its promise."""

    name: str
    arguments: tuple[str, ...]
    promise: str
    limit_seconds: float
    """0: none was promised."""
    by_cpu: bool = False
    exit_codes: tuple[int, ...] = (0,)


def kinds(source: random.Random) -> list[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]]:
    """Bitmaps of opcodes, each with its rules digests and the forks that share them."""
    plain = [value for value in range(256) if FORKS["osaka"].opcode_gas[value] is not None]
    found = []
    for _ in range(KINDS):
        bitmap = opcode_bitmap(source.sample(plain, source.randrange(20, 90)))
        groups: dict[str, list[str]] = {}
        for fork in ("london", "paris", "shanghai", "cancun", "prague", "osaka"):
            groups.setdefault(rules_digest(FORKS[fork], bitmap), []).append(fork)
        found.append((bitmap, tuple((rules, tuple(names)) for rules, names in groups.items())))
    return found


def make_synthetic(root: Path, count: int) -> None:
    """A store with that many artifacts whose libraries are nobody's machine code."""
    source = random.Random(20251125)
    profile = profile_of(CompileOptions())
    store = ArtifactDirectory.open(root, create=True, durability=Durability.NONE, library_rules=lambda _: None)
    of_kind = kinds(source)
    members: list[Member] = []
    for number in range(count):
        bitmap, groups = of_kind[number % KINDS]
        rules, forks = groups[number % len(groups)]
        members.append(
            Member(
                code_hash=hashlib.sha3_256(b"%d" % number).hexdigest(),
                code_sha256=hashlib.sha256(b"%d" % number).hexdigest(),
                compile_ms=source.randrange(5, 4000),
                forks=forks,
                holes=(),
                label=f"src/market/Contract{number}.sol:Contract{number}",
                length=source.randrange(50, 24576),
                opcodes=bitmap,
                rules=rules,
                slot=number % PACK_SIZE,
                symbol=f"u_{number:032x}",
            )
        )
    for start in range(0, count, PACK_SIZE):
        library = b"library %d" % start * 100
        sha256 = hashlib.sha256(library).hexdigest()
        record = ObjectRecord(sha256, len(library), f"evmaot-{sha256[:16]}.so", "evmaot_table")
        origin = Origin("build", "bench", "here")
        part = sorted_members(members[start : start + PACK_SIZE])
        store.publish(library, PackManifest(profile.digest, record, origin, store.files.now(), part), profile)


def measure(row: Row, environment: dict[str, str], times: int) -> tuple[float, float] | None:
    """Seconds of wall time and CPU of the best run, None where the command is not there."""
    best = (float("inf"), float("inf"))
    for _ in range(times):
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "evmaot", *row.arguments],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
        if process.returncode not in row.exit_codes:
            return None
        best = min(best, (wall, cpu), key=lambda pair: pair[1])
    return best


def index_seconds(root: Path, environment: dict[str, str], times: int) -> float:
    """Reading all manifests through the library, without the start of Python."""
    program = (
        "import sys, time; from evmaot.store.directory import ArtifactDirectory as D; s = D.open(sys.argv[1], "
        "read_only=True); t = time.process_time(); i = s.index(); print(time.process_time() - t, len(i))"
    )
    arguments = [sys.executable, "-c", program, str(root)]
    return min(float(subprocess.check_output(arguments, env=environment).split()[0]) for _ in range(times))


def rows_of_synthetic(count: int) -> list[Row]:
    """Commands on the synthetic store."""
    scale = f"{count:,}"
    hundredth = "0x" + hashlib.sha3_256(b"100").hexdigest()
    return [
        Row(f"ls, {scale}", ("ls",), "0.5 s", 0.5),
        Row(f"ls --contracts --limit 20, {scale}", ("ls", "--contracts", "--limit", "20"), "", 0),
        Row(f"ls --contracts --jsonl, {scale}", ("ls", "--contracts", "--jsonl"), "", 0),
        Row(f"stats, {scale}", ("stats",), "", 0),
        Row(f"verify --level meta, {scale}", ("verify", "--level", "meta"), "", 0),
        Row(f"gc --dry-run, {scale}", ("gc", "--dry-run"), "", 0),
        Row(f"explain, {scale}", ("explain", hundredth), "", 0),
    ]


def start_rows() -> list[Row]:
    """What happens at every prompt."""
    return [
        Row("evmaot --version", ("--version",), "0.1 s CPU", 0.1, by_cpu=True),
        Row("TAB: a fork", (), "0.1 s CPU", 0.1, by_cpu=True),
        Row("TAB: a pack", (), "0.1 s CPU", 0.1, by_cpu=True),
        Row("evmaot --help", ("--help",), "", 0),
    ]


COMPLETIONS = {
    "TAB: a fork": {"COMP_WORDS": "evmaot build --fork os", "COMP_CWORD": "3"},
    "TAB: a pack": {"COMP_WORDS": "evmaot show 1", "COMP_CWORD": "2"},
}


def real_rows(inputs: Path) -> list[Row]:
    """Commands on the store of real libraries."""
    return [
        Row(f"preload, {REAL:,}", ("preload", "--check"), "1 s", 1.0),
        Row(f"build, nothing to do, {REAL:,}", ("build", "--fork", "osaka", str(inputs)), "2 s", 2.0),
    ]


def show(row: Row, seen: tuple[float, float] | None) -> None:
    """One line of the table."""
    if seen is None:
        sys.stdout.write(f"{row.name:<36} not measured: the command failed\n")
        return
    wall, cpu = seen
    verdict = ""
    if row.limit_seconds:
        kept = (cpu if row.by_cpu else wall) <= row.limit_seconds
        # On a machine that does something else, CPU time tells what wall time can't.
        verdict = "kept" if kept else "kept in CPU time, on a busy machine" if cpu <= row.limit_seconds else "MISSED"
    sys.stdout.write(f"{row.name:<36} {wall:8.3f} {cpu:8.3f}  {row.promise:<10} {verdict}\n")
    sys.stdout.flush()


def make_real(root: Path, inputs: Path) -> None:
    """A store of real libraries, and the codes that it was built of as an input of a build."""
    import preload

    kept: list[bytes] = []
    original = preload.keccak256

    def remembering(code: bytes) -> bytes:
        kept.append(code)
        return original(code)

    preload.keccak256 = remembering
    preload.make_store(root, REAL)
    preload.keccak256 = original
    inputs.write_text("\n".join("0x" + code.hex() for code in kept) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make both stores where they are not there yet, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contracts", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="keep the stores here, and use them again")
    parser.add_argument("--quick", action="store_true", help="without the store of real libraries")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.directory or Path(temporary)
        folder.mkdir(exist_ok=True)
        root, real, inputs = folder / f"synthetic-{chosen.contracts}", folder / "real", folder / "codes.txt"
        if not root.exists():
            make_synthetic(root, chosen.contracts)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("EVMAOT_")}
        environment = plain | {"PYTHONPATH": str(REPOSITORY), "EVMAOT_STORE": str(root)}
        manifests = sum(path.stat().st_size for path in root.glob("v1/profiles/*/packs/*.json"))
        load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
        head = f"{chosen.contracts:,} artifacts, {manifests / 1e6:.0f} MB of manifests; best of {chosen.runs}; {load}"
        sys.stdout.write(head + "\n")
        sys.stdout.write(f"{'':<36} {'wall, s':>8} {'CPU, s':>8}  promise\n")
        seconds = index_seconds(root, environment, chosen.runs)
        sys.stdout.write(f"{f'index alone, {chosen.contracts:,}':<36} {'':>8} {seconds:8.3f}\n")
        for row in rows_of_synthetic(chosen.contracts):
            show(row, measure(row, environment, chosen.runs))
        for row in start_rows():
            more = {"_EVMAOT_COMPLETE": "bash_complete", **COMPLETIONS[row.name]} if row.name in COMPLETIONS else {}
            show(row, measure(row, environment | more, chosen.runs))
        if not chosen.quick:
            if not real.exists():
                make_real(real, inputs)
            for row in real_rows(inputs):
                show(row, measure(row, environment | {"EVMAOT_STORE": str(real)}, chosen.runs))


if __name__ == "__main__":
    main()
