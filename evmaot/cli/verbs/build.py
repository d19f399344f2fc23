"""`evmaot build`: inputs x forks to stored libraries.

Job: settings to a `BuildRequest`, its report to a summary, a document and an exit code.  Invariant:
all decisions are `evmaot.build`'s.  May import: `evmaot.build`, `evmaot.inputs`, `evmaot.store`,
`evmaot.cli`, click.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, flags_of, pass_invocation, setting_option
from evmaot.errors import StoreError, UsageError

if TYPE_CHECKING:
    from evmaot.build_report import BuildReport, BuildRequest
    from evmaot.cli.progress import Display
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
@setting_option("tier", "--opt", metavar="TIER", help="fast or optimised.")
@setting_option("target", "--target", metavar="TARGET", help="Machine to compile for.")
@setting_option("linker", "--linker", metavar="LINKER", help="own, ld, lld, cc or zig.")
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
@click.option("--dry-run", is_flag=True, help="Only say what would be compiled.")
@click.option("--force", is_flag=True, help="Compile also what is stored, or is known to fail.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report of --json to a file.",
)
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where the inputs hold no contract.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    inputs: tuple[str, ...],
    dry_run: bool,
    force: bool,
    report: Path | None,
    error_if_empty: bool,
) -> None:
    """Compile contracts for forks and store the libraries.

    An INPUT is a file, a directory, - for standard input, or @LIST for a file with one input per line. Formats are
    recognised by content: raw code, hex, output of Foundry, Hardhat, solc and Vyper, chain dumps, traces and more.
    Without INPUT, the inputs of the configuration are built.

    Only what the store lacks is compiled. Forks whose rules a contract cannot tell apart share one artifact. What
    fails costs only itself: the rest is stored, and the exit status is 3.
    """
    from evmaot.build import build
    from evmaot.cli import build_summary
    from evmaot.cli.progress import display

    names = inputs or invocation.settings.inputs
    if not names:
        hint = "evmaot build --fork osaka out/ (or list build.inputs in evmaot.toml)"
        raise UsageError("no_input", "there is nothing to build", hint=hint)
    store = _store(invocation, dry_run=dry_run)
    with display(invocation.output) as show, _announced_interrupt(invocation) as received:
        request = _request(invocation, names, show, dry_run=dry_run, force=force)
        result = build(request, store, show.observe)
    data = build_summary.document(invocation, result, request)
    if report is not None:
        _write_report(report, data)
    if invocation.output.as_json:
        invocation.output.data(data)
    build_summary.tell(invocation, result, request)
    context.exit(_exit_code(result, received, error_if_empty=error_if_empty))


def _exit_code(result: BuildReport, received: list[int], *, error_if_empty: bool) -> int:
    if result.interrupted:
        return TERMINATED if signal.SIGTERM in received else INTERRUPTED
    if result.is_partial:
        return PARTIAL
    return EMPTY if error_if_empty and not result.sources else 0


def _store(invocation: Invocation, *, dry_run: bool) -> ArtifactDirectory | None:
    """The store to build into; made where it is missing, unless nothing is to be written."""
    from evmaot.cli.stores import open_store

    try:
        return open_store(invocation, create=not dry_run)
    except StoreError as error:
        if dry_run and error.reference == "store_missing":
            return None
        raise


def _request(
    invocation: Invocation, names: tuple[str, ...], show: Display, *, dry_run: bool, force: bool
) -> BuildRequest:
    from evmaot.build_report import BuildRequest
    from evmaot.cli.progress import counting
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import forks_selected
    from evmaot.inputs.reader import read_inputs
    from evmaot.target import target_named

    settings = invocation.settings
    return BuildRequest(
        sources=counting(read_inputs(names, format=settings.input_format), show),
        forks=forks_selected(",".join(settings.forks)),
        options=CompileOptions(Tier(settings.tier), target_named(settings.target)),
        linker=settings.linker,
        jobs=settings.jobs or len(os.sched_getaffinity(0)),
        pack_size=settings.pack_size,
        timeout_seconds=settings.timeout_seconds,
        memory_limit_bytes=settings.memory_limit_bytes,
        force=force,
        fail_fast=not settings.keep_going,
        dry_run=dry_run,
    )


def _write_report(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old report or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _announced_interrupt(invocation: Invocation) -> Iterator[list[int]]:
    """Say what happens on the first Ctrl-C or SIGTERM; both interrupt the build.  Yields the signals received."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            with contextlib.suppress(OSError):
                invocation.output.warn("stopping: storing what is compiled; once more to stop at once")
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before: dict[int, Any] = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
