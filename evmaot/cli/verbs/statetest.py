"""`evmaot statetest`: official state tests on EELS with every frame native.

Job: select cases, run them in worker processes, print a table by fork and each failure with what
differed; with ``--trace-diff``, the first frame that differs from EELS's interpreter.  Invariant: a frame that is
not native is a failure.  May import: `evmaot.hosts`, `evmaot.evm`, `evmaot.cli`, click.
"""

from __future__ import annotations

import contextlib
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
    from evmaot.hosts.state_test_run import RunSettings
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
    "--mode", type=click.Choice(["jit", "aot"]), default="jit", show_default=True,
    help="jit: codes are compiled when they are called. aot: they are built into a store and loaded from it.",
)  # fmt: skip
@click.option(
    "--tag", type=click.Choice(["evm", "precompile", "all"]), default="evm", show_default=True,
    help="precompile: tests whose subject is a precompile, slow on a pure-Python host.",
)  # fmt: skip
@click.option(
    "--precompiles", type=click.Choice(["eels", "fast"]), default="eels", show_default=True,
    help="eels: its own, in Python. fast: the same on native libraries (extra evmaot[vectors]).",
)  # fmt: skip
@click.option("--name", default="", metavar="TEXT", help="Only tests whose name contains TEXT.")
@click.option("--index", type=click.IntRange(min=0), help="Only the case with this number of each test and fork.")
@click.option(
    "--trace-diff", is_flag=True,
    help="Show the first frame that differs from EELS's interpreter: of failures, with --name of all cases.",
)  # fmt: skip
@click.option("--interpreter", is_flag=True, help="Run EELS's interpreter instead: shows that a case itself is sound.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Worker processes; all processors where not given.")
@click.option("--timeout", "timeout_seconds", type=float, default=300.0, show_default=True, help="Seconds for a case.")
@click.option(
    "--resume", type=click.Path(path_type=Path, dir_okay=False), help="File of results: read first, and added to."
)
@click.option(
    "--cache", type=click.Path(path_type=Path),
    help="Directory of compiled images, and of the store of aot, to share between runs.",
)  # fmt: skip
@click.pass_context
@pass_invocation
def command(invocation: Invocation, context: click.Context, /, **options: Any) -> None:
    """Run GeneralStateTests and EEST state tests natively.

    PATHS are .json, .jsonl and .jsonl.xz files, or directories of them. Transactions run on EELS (extra evmaot[eels])
    with the executor of evmaot in place of its interpreter; state root and logs must be those of the test. A frame that
    does not run natively is a failure. Exit status 3 means that a case failed.

    By default codes are compiled when they are called: that needs no build, and the machine code is the same. With
    --mode aot, what a release promises is tested: codes go through the build into a store, whose libraries are loaded
    with all checks; what a transaction creates is built before the case runs again, so that a result is of the store
    alone.
    """
    output = invocation.output
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        runs = _runs(invocation, options, stack)
        results = [result for run in runs for result in run.results()]
        failed = [result for result in results if not result.passed]
        traces = _traces(invocation, options, runs, failed) if options["trace_diff"] else []
    seconds = time.monotonic() - start
    from evmaot.hosts.state_tests import summarise

    rows = summarise(results)
    if output.as_json:
        data = {"forks": [asdict(row) for row in rows], "failures": [asdict(result) for result in failed]}
        document = {**data, "traces": traces, "cases": len(results), "seconds": round(seconds, 3)}
        output.document("statetest", document, ok=not failed)
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


class _Run:
    """The cases in one tier."""

    def __init__(
        self, invocation: Invocation, options: dict[str, Any], settings: RunSettings, store: Path | None
    ) -> None:
        self._invocation = invocation
        self._options = options
        self.settings = settings
        self._store = store

    def results(self) -> Iterator[CaseResult]:
        """Run, tell, and write to the resume file."""
        from evmaot.hosts.state_tests import read_results

        resume: Path | None = self._options["resume"]
        earlier = read_results(resume) if resume is not None else {}
        with resume.open("a", encoding="utf-8") if resume is not None else contextlib.nullcontext() as log:
            for result in _told(self._invocation, self._found(earlier)):
                if log is not None and (result.key, result.mode) not in earlier:
                    log.write(result.to_json() + "\n")
                yield result

    def _found(self, earlier: dict[tuple[CaseKey, str], CaseResult]) -> Iterator[CaseResult]:
        from evmaot.hosts.state_test_rounds import run_cases_ahead_of_time
        from evmaot.hosts.state_test_run import run_cases
        from evmaot.hosts.state_tests import read_tests, state_test_files

        files = state_test_files(self._options["paths"])
        wants = _selected(files, self._options)
        jobs, timeout_seconds = self._options["jobs"] or _processors(), self._options["timeout_seconds"]
        if self._store is None:
            return run_cases(
                read_tests(files), wants, self.settings, jobs=jobs, timeout_seconds=timeout_seconds, earlier=earlier
            )
        return run_cases_ahead_of_time(
            lambda: read_tests(files), wants, self.settings, self._store, jobs=jobs,
            timeout_seconds=timeout_seconds, earlier=earlier, tell=self._invocation.output.say,
        )  # fmt: skip


def _runs(invocation: Invocation, options: dict[str, Any], stack: contextlib.ExitStack) -> list[_Run]:
    try:
        from evmaot.hosts.state_test_run import INTERPRETER, RunSettings
    except ModuleNotFoundError as error:
        raise UsageError(
            "eels_missing",
            "state tests run on EELS, which is not installed",
            cause=str(error),
            hint="pip install 'evmaot[eels]'",
        ) from error
    from evmaot.hosts import fast_precompiles

    fast = options["precompiles"] == "fast"
    if fast and (missing := fast_precompiles.missing()):
        text = f"warning: EELS's own precompiles run for {', '.join(missing)}: pip install 'evmaot[vectors]'"
        invocation.output.warn(text, style="yellow")
    cache: Path | None = options["cache"]
    images = str(cache) if cache is not None else None
    tiers = ["fast", "optimised"] if options["tier"] == "both" else [options["tier"]]
    if options["interpreter"]:
        return [_Run(invocation, options, RunSettings(INTERPRETER, images, fast_precompiles=fast), None)]
    store = None
    if options["mode"] == "aot":
        store = cache / "store" if cache is not None else Path(stack.enter_context(_temporary_directory())) / "store"
    return [_Run(invocation, options, RunSettings(tier, images, fast_precompiles=fast), store) for tier in tiers]


def _temporary_directory() -> contextlib.AbstractContextManager[str]:
    import tempfile

    return tempfile.TemporaryDirectory(prefix="evmaot-statetest-")


def _traces(
    invocation: Invocation, options: dict[str, Any], runs: list[_Run], failed: list[CaseResult]
) -> list[dict[str, Any]]:
    """Trace the failures; with --name every selected case.  Says what it finds, answers it for --json."""
    from evmaot.cli.frame_traces import say_trace, trace_document
    from evmaot.hosts.state_test_run import INTERPRETER, trace_cases
    from evmaot.hosts.state_tests import read_tests, state_test_files

    files = state_test_files(options["paths"])
    wants = _selected(files, options)
    documents = []
    for run in runs:
        if run.settings.tier == INTERPRETER:
            continue
        chosen = {result.key for result in failed if result.mode.endswith(run.settings.tier)}
        if options["name"]:
            chosen = {key for test in read_tests(files) for key in test.cases() if wants(test, key)}
        for trace in trace_cases(read_tests(files), chosen, run.settings, options["timeout_seconds"]):
            documents.append(trace_document(trace))
            say_trace(invocation.output, trace)
    return documents


def _selected(files: list[Path], options: dict[str, Any]) -> _Wants:
    from evmaot.evm.forks import FORKS, forks_selected
    from evmaot.hosts.state_tests import TAGS, Selection, groups_of, read_tests, sample

    names = [fork.name for text in options["forks"] for fork in forks_selected(text)] or list(FORKS)
    tags = TAGS if options["tag"] == "all" else (options["tag"],)
    selection = Selection(frozenset(names), frozenset(tags), options["name"])
    index = options["index"]
    if options["sample"] is None:
        return _Wants(selection, None, index)
    groups = groups_of(read_tests(files), selection)
    kept = {name: keys for name, keys in groups.items() if name[1] != NOT_ON_EELS}
    return _Wants(selection, sample(kept, options["sample"], options["seed"]), index)


class _Wants:
    """Whether a case is to run."""

    def __init__(self, selection: Selection, chosen: frozenset[CaseKey] | None, index: int | None) -> None:
        self._selection = selection
        self._chosen = chosen
        self._index = index

    def __call__(self, test: StateTest, key: CaseKey) -> bool:
        if self._index is not None and key.index != self._index:
            return False
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
