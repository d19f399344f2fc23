"""Compare generated programs on EELS and natively, for as long as it takes.

    python -m tests.differential --family all --programs 200000 --seed 1 -j 2 --resume run.jsonl --report run.txt

Stops when each family has compared so many distinct programs.  With `--resume` it goes on where it was stopped, as
long as the sources are the same: results of other sources do not count.  Differences are written down, made smaller,
and do not end the run.  `--replay FILE` runs the cases of a report or of `tests/data/differential` again.

Exit status: 0 if all is equal and each opcode of each fork was executed, 1 if not, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evmaot.codegen.driver import compiler_digest
from tests.differential.chunks import Chunk, sources_digest
from tests.differential.compare import Comparison
from tests.differential.families import COMMON, FAMILIES
from tests.differential.report import Report
from tests.differential.reproduction import Trial, from_json
from tests.differential.workers import Workers

PROGRESS_SECONDS = 60
OPTIMISED_EVERY = {"both": 16, "optimised": 1, "fast": 0}


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__.splitlines()[0])
    parser.add_argument("--family", action="append", choices=["all", *FAMILIES], help="default: all")
    parser.add_argument("--programs", type=int, default=2_000, help="distinct programs for each family")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--tier", choices=list(OPTIMISED_EVERY), default="both", help="both: a sixteenth optimised")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="results are kept here, one chunk a line")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the tables here; cases beside it as .json")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep compiled batches for later runs")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the cases of a file again, at both tiers")
    return parser.parse_args()


def earlier(path: Path | None, seed: str, every: int) -> Iterator[dict[str, Any]]:
    """Results of this seed that the same sources gave before; a torn last line is cut off."""
    if path is None or not path.exists():
        return
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) != len(text):
        os.truncate(path, len(whole))
    other = 0
    for line in whole.splitlines():
        result = json.loads(line)
        if (result["sources"], result["seed"], result["every"]) == (sources_digest(), seed, every):
            yield result
        else:
            other += 1
    if other:
        print(f"{path}: {other} chunks of other sources or another seed do not count", file=sys.stderr)


def wanted(report: Report, families: list[str], programs: int, seed: str, every: int) -> Iterator[Chunk]:
    """Chunks of the families that lack programs, in turn; two common ones a round, if all families are wanted."""
    kinds = [*families, COMMON, COMMON] if len(families) == len(FAMILIES) else families
    numbers = dict.fromkeys(kinds, 0)
    while True:
        for kind in kinds:
            lacking = [family for family in families if len(report.programs[family]) < programs]
            if not lacking:
                return
            if kind in lacking or (kind == COMMON and len(lacking) == len(families)):
                while (kind, numbers[kind]) in report.done:
                    numbers[kind] += 1
                yield Chunk(seed, kind, numbers[kind], every)
                numbers[kind] += 1


def run(options: argparse.Namespace) -> int:
    """The run itself; its exit status."""
    families = list(FAMILIES) if not options.family or "all" in options.family else options.family
    every = OPTIMISED_EVERY[options.tier]
    report = Report()
    for result in earlier(options.resume, options.seed, every):
        report.add(result)
    sources_digest()  # now: the children inherit the answer, and files may change while they run
    comparison = Comparison(cache=options.cache)
    compiler_digest()
    for family in families:
        for fork in FAMILIES[family]:
            comparison.eels(fork)
    for native in comparison.natives.values():
        native.programs.prepare([])
    gc.freeze()  # what the children inherit is not searched for garbage
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = shown = time.monotonic()
    try:
        for result in Workers(comparison, options.jobs).run(
            wanted(report, families, options.programs, options.seed, every)
        ):
            report.add(result)
            if options.resume:
                with options.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
            for row in result["found"]:
                print(f"DIFFERENCE {row['fork']} {row['tier']} {row['seed']}: {row['words']}", flush=True)
            if time.monotonic() - shown > PROGRESS_SECONDS:
                shown = time.monotonic()
                counts = ", ".join(f"{family} {len(report.programs[family]):,}" for family in families)
                print(f"{shown - begun:,.0f} s: {counts}; {len(report.found)} differences", flush=True)
    finally:
        finish(report, options.report)
    return 0 if report.is_good else 1


def finish(report: Report, path: Path | None) -> None:
    """Print the tables; write them, and the cases of the differences, to files."""
    text = report.text()
    print(text, end="", flush=True)
    if path:
        path.write_text(f"sources {sources_digest()}\n\n{text}", encoding="utf-8")
        if report.found:
            path.with_suffix(".json").write_text(json.dumps(report.found, indent=1), encoding="utf-8")


def replay(path: Path) -> int:
    """Run cases again; 1 if one differs."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    comparison = Comparison()
    failed = 0
    for row in rows if isinstance(rows, list) else [rows]:
        if "case" not in row:
            continue
        call, fork = from_json(row["case"])
        for tier, native in comparison.natives.items():
            words = Trial(fork, comparison.eels(fork), native).words(call)
            failed += bool(words)
            print(f"{fork} {tier} {row.get('about') or row.get('seed')}: {words or 'equal'}")
    return 1 if failed else 0


def main() -> int:
    """Parse and run."""
    options = arguments()
    if options.replay:
        return replay(options.replay)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
