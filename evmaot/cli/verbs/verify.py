"""`evmaot verify`: is what lies in the store what was published.

Job: render the store's findings; exit 4 for an error among them.  Invariant: changes nothing.
May import: `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import time

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.output import counted, human_seconds, human_size

CORRUPTION = 4
"""Exit code when something is wrong."""


@click.command("verify", cls=Verb)
@click.option(
    "--level",
    type=click.Choice(["meta", "hash"]),
    default="hash",
    show_default=True,
    help="meta: documents, names, sizes, owners, modes. hash: the bytes of every library too.",
)
@click.pass_context
@pass_invocation
def command(invocation: Invocation, context: click.Context, level: str) -> None:
    """Check what is on disk against what was published.

    Each finding is a line: the place in the store, what is wrong, and a code. Notes are allowed things, such as a file
    left by an interrupted build. Exit status 4 means that something is damaged; the runtime refuses it by itself, and a
    build replaces it after it was cleared.
    """
    from evmaot.cli.stores import finding_problem, open_store
    from evmaot.store.findings import Severity

    output = invocation.output
    start = time.monotonic()
    store = open_store(invocation)
    findings = store.verify(level)
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
        data = {"level": level, **totals, "seconds": round(seconds, 3)}
        output.document("verify", data, [finding_problem(finding) for finding in findings], ok=not errors)
    else:
        for finding in findings:
            if finding.severity is Severity.ERROR or output.verbosity:
                output.data(f"{finding.severity.value}: {finding.subject}: {finding.message} [{finding.code}]")
    checked = f"{counted(totals['packs'], 'pack')} with {counted(totals['contracts'], 'artifact')}"
    size = f" ({human_size(totals['size_bytes'])})" if level == "hash" else ""
    output.say(f"checked {checked}{size} in {human_seconds(seconds)}")
    if totals["notes"] and not output.verbosity:
        output.say(f"{counted(totals['notes'], 'note')}; -v shows them")
    if errors:
        output.warn(f"error: {counted(len(errors), 'damaged part')} in the store [corruption]", style="error")
        output.warn("effect: what is damaged is never loaded; everything else is")
        output.warn("hint: evmaot clear --all, then evmaot build makes the store again")
        context.exit(CORRUPTION)
    output.say("no damage found", style="green")
