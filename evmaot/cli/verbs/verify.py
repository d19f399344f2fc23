"""`evmaot verify`: is what lies in the store what was published.

Job: render the store's findings; exit 4 for an error among them.  Invariant: changes nothing.
May import: `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import fork_option
from evmaot.cli.output import Output, counted, human_seconds, human_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.hosts.exec_check import ExecutionReport
    from evmaot.store.directory import ArtifactDirectory
    from evmaot.store.findings import Finding

CORRUPTION = 4
"""Exit code when something is wrong."""


@click.command("verify", cls=Verb)
@click.option(
    "--level",
    type=click.Choice(["meta", "hash", "exec"]),
    default="hash",
    show_default=True,
    help="meta: documents, names, sizes, owners, modes. hash: the bytes of every library too. "
    "exec: that too, and results of the code against EELS's interpreter.",
)
@click.option("--sample", type=click.IntRange(min=1), help="exec: so many of the codes, chosen by --seed; all without.")
@click.option("--seed", type=int, default=1, show_default=True, help="exec: of the sample and of the generated calls.")
@click.option(
    "--calls", type=click.IntRange(min=1), default=8, show_default=True, help="exec: generated calls of each artifact."
)
@click.option(
    "--recorded", multiple=True, type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="exec: a file {name: {env, pre, transaction}} to run as well; may be repeated.",
)  # fmt: skip
@fork_option("exec: rules of recorded transactions that name none; the default fork where none is given.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    level: str,
    sample: int | None,
    seed: int,
    calls: int,
    recorded: tuple[Path, ...],
    fork: Fork | None,
) -> None:
    """Check what is on disk against what was published.

    Each finding is a line: the place in the store, what is wrong, and a code. Notes are allowed things, such as a file
    left by an interrupted build. Exit status 4 means that something is damaged; the runtime refuses it by itself, and a
    build replaces it after it was cleared.

    Level exec (extra evmaot[eels]) runs the stored code on generated calls and on recorded transactions, and compares
    each frame's gas, output, logs and state with EELS's interpreter. A wrong result is of the compiler, not of the
    disk: the runtime would use that code. The bytecode comes from the packs themselves.
    """
    from evmaot.cli.stores import finding_problem, open_store
    from evmaot.store.findings import Severity

    output = invocation.output
    start = time.monotonic()
    store = open_store(invocation)
    findings = store.verify("hash" if level == "exec" else level)
    execution = None
    if level == "exec":
        execution = _executed(invocation, store, sample, seed, calls, recorded, fork)
        findings += execution.findings
    seconds = time.monotonic() - start
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    packs = store.packs()
    totals = {
        "packs": len(packs),
        "contracts": sum(len(pack.manifest.members) for pack in packs),
        "size_bytes": sum(pack.manifest.object.size for pack in packs),
        "errors": len(errors),
        "notes": len(findings) - len(errors),
    }
    if output.as_json:
        ran = None
        if execution is not None:
            ran = {"artifacts": execution.artifacts, "calls": execution.calls, "frames": execution.frames}
        data = {"level": level, **totals, "execution": ran, "seconds": round(seconds, 3)}
        output.document("verify", data, [finding_problem(finding) for finding in findings], ok=not errors)
    else:
        for finding in findings:
            if finding.severity is Severity.ERROR or output.verbosity:
                output.data(f"{finding.severity.value}: {finding.subject}: {finding.message} [{finding.code}]")
    if execution is not None:
        ran_text = f"{counted(execution.calls, 'call')} of {counted(execution.artifacts, 'artifact')}"
        output.say(f"ran {ran_text} beside EELS's interpreter, {counted(execution.frames, 'frame')} compared")
    checked = f"{counted(totals['packs'], 'pack')} with {counted(totals['contracts'], 'artifact')}"
    size = f" ({human_size(totals['size_bytes'])})" if level != "meta" else ""
    output.say(f"checked {checked}{size} in {human_seconds(seconds)}")
    if totals["notes"] and not output.verbosity:
        output.say(f"{counted(totals['notes'], 'note')}; -v shows them")
    if errors:
        _say_errors(output, errors)
        context.exit(CORRUPTION)
    output.say("no damage found", style="green")


def _say_errors(output: Output, errors: list[Finding]) -> None:
    wrong = [finding for finding in errors if finding.code == "wrong_result"]
    if wrong:
        output.warn(f"error: {counted(len(wrong), 'wrong result')} of stored code [wrong_result]", style="error")
        output.warn("effect: the runtime uses that code: whoever reads this store computes wrong results")
        output.warn("hint: evmaot clear the named artifacts now, and report them with the finding")
    if len(errors) > len(wrong):
        damaged = counted(len(errors) - len(wrong), "damaged part")
        output.warn(f"error: {damaged} in the store [corruption]", style="error")
        output.warn("effect: what is damaged is never loaded; everything else is")
        output.warn("hint: evmaot clear --all, then evmaot build makes the store again")


def _executed(
    invocation: Invocation, store: ArtifactDirectory, sample: int | None, seed: int, calls: int,
    recorded: tuple[Path, ...], fork: Fork | None,
) -> ExecutionReport:  # fmt: skip
    """What running the stored code says."""
    try:
        from evmaot.hosts.exec_check import check_execution, stored_codes
    except ModuleNotFoundError as error:
        hint = "pip install 'evmaot[eels]'"
        text = "level exec compares with EELS, which is not installed"
        raise UsageError("eels_missing", text, cause=str(error), hint=hint) from error
    from evmaot.evm.forks import DEFAULT_FORK
    from evmaot.hosts.recorded import read_recorded

    codes, lacking = stored_codes(store, sample, seed)
    if lacking:
        text = f"warning: the bytecode of {counted(lacking, 'artifact')} is not in the store; only --recorded runs them"
        invocation.output.warn(text, style="yellow")
    tests = [test for path in recorded for test in read_recorded(path, fork.name if fork else DEFAULT_FORK)]
    return check_execution(store, codes, tests, calls=calls, seed=seed)
