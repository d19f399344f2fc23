"""`evmaot build`: inputs x forks to stored libraries.

Job: options to builds, their reports to a summary, a document and an exit code.  Invariant: all decisions are
`evmaot.build`'s.  May import: `evmaot.build_report`, `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.files import check_replaceable, replaced_file
from evmaot.cli.invocation import Invocation, Verb, flags_of, pass_invocation, setting_option
from evmaot.cli.options import StoredName, node_options
from evmaot.errors import EvmaotError, StoreError

if TYPE_CHECKING:
    from evmaot.cli.build_runs import BuildOptions, BuildRun
    from evmaot.store.directory import ArtifactDirectory

PARTIAL, EMPTY, INTERRUPTED, TERMINATED = 3, 7, 130, 143
"""Exit codes (see `evmaot.cli.failures.EXIT_CODES`)."""


def _keep_going(context: click.Context, _parameter: click.Parameter, value: bool | None) -> None:
    if value is not None and not context.resilient_parsing:
        flags_of(context)["keep_going"] = value


@click.command("build", cls=Verb)
@click.argument("inputs", nargs=-1, type=click.Path(), metavar="[INPUT]...")
@setting_option(
    "forks", "--fork", metavar="FORK", multiple=True, help="A fork, a range (london..osaka) or all; may be repeated."
)
@setting_option("input_format", "--format", metavar="FORMAT", help="Format of the inputs, if not recognised.")
@setting_option("jobs", "-j", "--jobs", metavar="N", help="Worker processes; 0: one per CPU.")
@setting_option("tiers", "--opt", metavar="TIER", multiple=True, help="fast or optimised; may be repeated.")
@setting_option("targets", "--target", metavar="TARGET", multiple=True, help="Machine to compile for; may be repeated.")
@setting_option("linker", "--linker", metavar="LINKER", help="own, ld, lld, cc or zig.")
@setting_option("scheduler", "--scheduler", metavar="ADDRESS", help="Compile on a Dask cluster: tcp://HOST:PORT.")
@setting_option("timeout_seconds", "--timeout", metavar="TIME", help="Limit of one contract's compilation.")
@setting_option("memory_limit_bytes", "--memory-limit", metavar="SIZE", help="Limit of one worker process.")
@setting_option("pack_size", "--pack-size", metavar="N", help="Contracts in one library.")
@click.option(
    "--keep-going/--fail-fast",
    default=None,
    expose_value=False,
    callback=_keep_going,
    help="Go on when something fails (the default), or stop. [EVMAOT_KEEP_GOING]",
)
@click.option("--address", "addresses", multiple=True, metavar="A|@LIST", help="Code of an account, by --rpc.")
@node_options()
@click.option("--rank", is_flag=True, help="The most frequent codes first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the N most frequent codes.")
@click.option("--deny", type=click.Path(path_type=Path), metavar="FILE", help="Not these hashes, addresses, labels.")
@click.option("--strip-metadata", is_flag=True, help="One artifact where only metadata at the end differs.")
@click.option("--from-init", is_flag=True, help="Run constructors where an input has only the init code.")
@click.option("--dry-run", is_flag=True, help="Only say what would be compiled.")
@click.option("--print-keys", is_flag=True, help="Only print the keys of all artifacts that the inputs need.")
@click.option("--check", is_flag=True, help="Only say what the store lacks; exit with 3 if it lacks something.")
@click.option("--force", is_flag=True, help="Compile also what is stored, or is known to fail.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report of --json to a file.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Into a portable directory, a store of its own, instead of the store.",
)
@click.option("--pin", type=StoredName("pins"), metavar="NAME", help="Keep what the build needs under this name.")
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where the inputs hold no contract.")
@click.pass_context
@pass_invocation
def command(invocation: Invocation, context: click.Context, /, inputs: tuple[str, ...], **options: Any) -> None:
    """Compile contracts for forks and store the libraries.

    An INPUT is a file, a directory, - for standard input, or @LIST for a file with one input per line. Formats are
    recognised by content: raw code, hex, output of Foundry, Hardhat, solc and Vyper, chain dumps, traces and more.
    With --address the code of accounts is asked of a node. Without both, the inputs of the configuration are built.

    Only what the store lacks is compiled. Forks whose rules a contract cannot tell apart share one artifact. What
    fails costs only itself: the rest is stored, and the exit status is 3.

    An artifact that has only the init code is left out, with a hint. With --from-init its constructor is run here,
    under the last of the forks, with limits, in two worlds that differ in all that it can ask for: what it deploys is
    built, with holes where the two differ. A constructor that takes arguments is not run.

    --rank and --limit go by how often a code occurs in the inputs; traces of blocks and lists with counts tell it.
    Of a contract with immutables or libraries that are not linked, a template is compiled: it serves every deployment,
    whatever its constructor wrote there. Where that can't be proved right, the code is compiled as the input has it. A
    deployment, given as its code, is not compiled where a template of the store or of the same inputs serves it.

    With --output the libraries go to DIR, and the user's store is not touched: a whole store, which can be copied to
    another machine and used there with --store or EVMAOT_STORE_PATH, or served for evmaot pull. A repeated build adds.

    A line of the --deny file is the Keccak-256 of a code, an address, or a pattern of labels. The hash of a deployment
    denies a template only where the deployment is an input, too: a compiler's output does not tell which codes it will
    be deployed as. The label denies it in any case.
    """
    from evmaot.cli import build_summary
    from evmaot.cli.build_care import check_pin, take_care
    from evmaot.cli.build_runs import BuildOptions, run_builds
    from evmaot.cli.portable import complete, redirect, say_use

    chosen = BuildOptions(inputs=inputs, **options)
    check_pin(chosen)
    if chosen.output is not None:
        redirect(invocation, chosen.output)
    if chosen.report is not None:
        check_replaceable(chosen.report)
    store = _store(invocation, create=not chosen.only_plans)
    runs: list[BuildRun] = []
    try:
        with _announced_interrupt(invocation) as received:
            run_builds(invocation, chosen, store, runs)
    except EvmaotError as failure:
        # What was stored until then must not be lost to who reads the report: scheduler lost, disk full.
        begun = [run for run in runs if run.report.profile_id]
        if any(run.report.packs for run in begun):
            failure.context.setdefault("effect", build_summary.kept(begun))
        if chosen.report is not None and begun:
            _write_report(chosen.report, build_summary.document(invocation, begun, chosen, failure))
        raise
    if store is not None and not chosen.only_plans:
        if chosen.output is not None:
            complete(store)
        take_care(invocation, store, chosen, [run.report for run in runs])
    data = build_summary.document(invocation, runs, chosen)
    if chosen.report is not None:
        _write_report(chosen.report, data)
    if invocation.output.as_json:
        invocation.output.data(data)
    build_summary.tell(invocation, runs, chosen)
    if chosen.output is not None and any(run.report.packs for run in runs):
        say_use(invocation, chosen.output)
    context.exit(_exit_code(runs, received, chosen))


def _write_report(path: Path, data: str) -> None:
    with replaced_file(path) as stream:
        stream.write(data + "\n")


def _exit_code(runs: Sequence[BuildRun], received: list[int], chosen: BuildOptions) -> int:
    from evmaot.build_report import UnitStatus

    reports = [run.report for run in runs]
    if any(report.interrupted for report in reports):
        return TERMINATED if signal.SIGTERM in received else INTERRUPTED
    if any(report.is_partial or (chosen.check and report.count(UnitStatus.PLANNED)) for report in reports):
        return PARTIAL
    return EMPTY if chosen.error_if_empty and not any(report.distinct_codes for report in reports) else 0


def _store(invocation: Invocation, *, create: bool) -> ArtifactDirectory | None:
    """The store to build into; made where it is missing, unless nothing is to be written."""
    from evmaot.cli.stores import open_store

    try:
        return open_store(invocation, create=create, by_policy=True)
    except StoreError as error:
        if not create and error.reference == "store_missing":
            return None
        raise


@contextlib.contextmanager
def _announced_interrupt(invocation: Invocation) -> Iterator[list[int]]:
    """Say what happens on the first Ctrl-C or SIGTERM; both interrupt the build.  Yields the signals received."""
    from evmaot.cli.root import Terminated

    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            with contextlib.suppress(OSError):
                invocation.output.warn("stopping: storing what is compiled; once more to stop at once")
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before: dict[int, Any] = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
