"""`evmaot statetest`: official state tests on EELS with every frame native.

Job: select cases, run them in worker processes, print a table by fork and each failure with what
differed.  Invariant: a frame that is not native is a failure.
May import: `evmaot.hosts`, `evmaot.evm`, `evmaot.cli`, click.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.output import Column, counted, human_seconds
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.hosts.state_tests import CaseKey, CaseResult, Selection, StateTest

PARTIAL = 3
"""Exit code when a case failed."""
NOT_ON_EELS = "Constantinople"
"""EIP-1283 was never live on mainnet: EELS has no such fork."""


@click.command("statetest", cls=Verb)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--fork", "forks", multiple=True, metavar="FORK", help="Forks or ranges to run; all where none is given.")
@click.option("--sample", type=click.IntRange(min=1), help="About so many cases, from every file and fork.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the sample.")
@click.option(
    "--tier", type=click.Choice(["fast", "optimised", "both"]), default="optimised", show_default=True,
    help="Which compiled code runs.",
)  # fmt: skip
@click.option(
    "--tag", type=click.Choice(["evm", "precompile", "all"]), default="evm", show_default=True,
    help="precompile: tests whose subject is a precompile, slow on a pure-Python host.",
)  # fmt: skip
@click.option("--name", default="", metavar="TEXT", help="Only tests whose name contains TEXT.")
@click.option("--interpreter", is_flag=True, help="Run EELS's interpreter instead: shows that a case itself is sound.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Worker processes; all processors where not given.")
@click.option("--timeout", "timeout_seconds", type=float, default=300.0, show_default=True, help="Seconds for a case.")
@click.option("--resume", type=click.Path(path_type=Path), help="File of results: read first, and added to.")
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of compiled images to share between runs.")
@click.pass_context
@pass_invocation
def command(invocation: Invocation, context: click.Context, /, **options: Any) -> None:
    """Run GeneralStateTests and EEST state tests natively.

    PATHS are .json, .jsonl and .jsonl.xz files, or directories of them. Transactions run on EELS (extra evmaot[eels])
    with the executor of evmaot in place of its interpreter; state root and logs must be those of the test. A frame that
    does not run natively is a failure. Exit status 3 means that a case failed.
    """
    output = invocation.output
    start = time.monotonic()
    results = _run(invocation, options)
    failed = [result for result in results if not result.passed]
    seconds = time.monotonic() - start
    from evmaot.hosts.state_tests import summarise

    rows = summarise(results)
    if output.as_json:
        data = {"forks": [asdict(row) for row in rows], "failures": [asdict(result) for result in failed]}
        output.document("statetest", {**data, "cases": len(results), "seconds": round(seconds, 3)}, ok=not failed)
    else:
        columns = [Column("fork"), *(Column(name, right=True) for name in _COUNTS)]
        output.table(columns, [[row.fork, *(_cell(getattr(row, name)) for name in _FIELDS)] for row in rows])
    output.say(f"{counted(len(results), 'case')}, {len(failed)} failed, in {human_seconds(seconds)}")
    if failed:
        context.exit(PARTIAL)


_FIELDS = ("cases", "passed", "failed", "native_frames", "seconds")
_COUNTS = ("cases", "passed", "failed", "native frames", "seconds")


def _cell(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _run(invocation: Invocation, options: dict[str, Any]) -> list[CaseResult]:
    try:
        from evmaot.hosts.state_test_run import INTERPRETER, RunSettings, run_cases
    except ModuleNotFoundError as error:
        raise UsageError(
            "eels_missing",
            "state tests run on EELS, which is not installed",
            cause=str(error),
            hint="pip install 'evmaot[eels]'",
        ) from error
    from evmaot.hosts.state_tests import read_results, read_tests, state_test_files

    files = state_test_files(options["paths"])
    wants = _selected(files, options)
    resume: Path | None = options["resume"]
    earlier = read_results(resume) if resume is not None else {}
    modes = ["fast", "optimised"] if options["tier"] == "both" else [options["tier"]]
    results: list[CaseResult] = []
    log = resume.open("a", encoding="utf-8") if resume is not None else None
    try:
        for mode in [INTERPRETER] if options["interpreter"] else modes:
            cache = str(options["cache"]) if options["cache"] is not None else None
            found = run_cases(
                read_tests(files),
                wants,
                RunSettings(mode, cache),
                jobs=options["jobs"] or _processors(),
                earlier=earlier,
                timeout_seconds=options["timeout_seconds"],
            )
            for result in _told(invocation, found):
                results.append(result)
                if log is not None and (result.key, mode) not in earlier:
                    log.write(result.to_json() + "\n")
    finally:
        if log is not None:
            log.close()
    return results


def _selected(files: list[Path], options: dict[str, Any]) -> _Wants:
    from evmaot.evm.forks import FORKS, forks_selected
    from evmaot.hosts.state_tests import TAGS, Selection, groups_of, read_tests, sample

    names = [fork.name for text in options["forks"] for fork in forks_selected(text)] or list(FORKS)
    tags = TAGS if options["tag"] == "all" else (options["tag"],)
    selection = Selection(frozenset(names), frozenset(tags), options["name"])
    if options["sample"] is None:
        return _Wants(selection, None)
    groups = groups_of(read_tests(files), selection)
    kept = {name: keys for name, keys in groups.items() if name[1] != NOT_ON_EELS}
    return _Wants(selection, sample(kept, options["sample"], options["seed"]))


class _Wants:
    """Whether a case is to run."""

    def __init__(self, selection: Selection, chosen: frozenset[CaseKey] | None) -> None:
        self._selection = selection
        self._chosen = chosen

    def __call__(self, test: StateTest, key: CaseKey) -> bool:
        if self._chosen is not None:
            return key in self._chosen
        return key.fork_name != NOT_ON_EELS and self._selection.wants(test, key)


def _told(invocation: Invocation, results: Iterator[CaseResult]) -> Iterator[CaseResult]:
    """Say failures as they come, and a line every ten seconds."""
    output = invocation.output
    failures = 0
    last = time.monotonic()
    for count, result in enumerate(results, 1):
        if not result.passed:
            failures += 1
            place = f"{result.test} {result.fork_name} {result.index} ({result.mode})"
            output.warn(f"failed: {place}: {result.problem}", style="error")
        now = time.monotonic()
        if now - last >= 10:
            last = now
            output.say(f"{counted(count, 'case')}, {failures} failed")
        yield result


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0))
