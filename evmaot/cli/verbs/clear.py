"""`evmaot clear`: remove artifacts from the store.

Job: select, ask, remove, tell.  Invariant: without a selector nothing is removed, and without a
terminal nothing is removed unasked.  May import: `evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import Invocation, SettingType, Verb, pass_invocation
from evmaot.cli.options import profiles_option
from evmaot.cli.output import counted, human_size, is_terminal
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.store.removal import RemovalReport, Selector


@click.command("clear", cls=Verb)
@click.argument("pattern", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option(
    "--fork",
    "forks",
    type=SettingType("forks", "FORK"),
    multiple=True,
    metavar="FORK",
    help="What was built for the fork, or for each of a range; what builds for other forks use too stays for them.",
)
@profiles_option("What belongs to the profile with these first digits.")
@click.option("--include-pinned", is_flag=True, help="Also what is pinned.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def command(
    invocation: Invocation,
    pattern: str | None,
    everything: bool,
    forks: tuple[tuple[str, ...], ...],
    profiles: tuple[str, ...],
    include_pinned: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove artifacts from the store.

    PATTERN is the beginning of a code hash (0x...) or a glob of labels. Several selectors together select what
    matches all of them. What is pinned stays, unless it is included. On a terminal the command asks first; elsewhere
    it needs --yes.

    Forks of equal rules share an artifact. Builds note for which forks they need it, also where they find it there;
    --fork takes the fork from these, and removes the artifact when none is left. Without --fork an artifact goes for
    all forks. The runtime notes nothing: what it alone uses under a fork is compiled again.
    """
    from evmaot.cli.stores import open_layers, open_store
    from evmaot.evm.forks import forks_selected
    from evmaot.store.removal import Selector

    names = frozenset(fork.name for parts in forks for part in parts for fork in forks_selected(part))
    selector = Selector(everything, names, tuple(text.lower() for text in profiles), pattern)
    if selector.is_empty:
        hint = "name what to remove: --all, --fork, --profile or a pattern"
        raise UsageError("nothing_selected", "nothing is selected", hint=hint)
    if everything and (names or profiles or pattern):
        raise UsageError("all_and_more", "--all selects everything already", hint="leave out --all")
    store = open_store(invocation)
    below = sum(layer.clear(selector, include_pinned=True, dry_run=True).members_removed
                for layer in open_layers(invocation))  # fmt: skip
    plan = store.clear(selector, include_pinned=include_pinned, dry_run=True)
    if dry_run or not _agreed(invocation, selector, plan, yes):
        _tell(invocation, plan, "would remove" if dry_run else "removed nothing; it would have been", below, done=False)
        return
    _tell(invocation, store.clear(selector, include_pinned=include_pinned), "removed", below, done=True)


def _agreed(invocation: Invocation, selector: Selector, plan: RemovalReport, yes: bool) -> bool:
    if yes or _is_nothing(plan):
        return True
    if not is_terminal(sys.stdin) or not is_terminal(sys.stderr) or invocation.output.as_json:
        raise UsageError(
            "needs_yes", "nothing was removed: there is no one to ask", hint="repeat with --yes, or --dry-run"
        )
    whole = selector.everything and not plan.members_kept_for_pins
    what = "everything in" if whole else f"{_amount(plan)} from"
    return click.confirm(f"Remove {what} {invocation.settings.store}?", default=False, err=True)


def _is_nothing(report: RemovalReport) -> bool:
    return not (report.members_removed or report.members_kept_for_other_forks or report.records_removed)


def _amount(report: RemovalReport) -> str:
    packs = f" and {counted(report.packs_removed, 'whole pack')}" if report.packs_removed else ""
    return f"{counted(report.members_removed, 'artifact')}{packs}"


def _tell(invocation: Invocation, report: RemovalReport, verb: str, below: int, *, done: bool) -> None:
    output = invocation.output
    if output.as_json:
        data = {
            "done": done,
            "artifacts_removed": report.members_removed,
            "artifacts_kept_for_other_forks": report.members_kept_for_other_forks,
            "artifacts_kept_for_pins": report.members_kept_for_pins,
            "artifacts_in_layers": below,
            "packs_removed": report.packs_removed,
            "failures_forgotten": report.records_removed,
            "bytes_freed": report.bytes_freed,
        }
        output.document("clear", data)
        return
    if below:
        output.say(f"{counted(below, 'artifact')} in layers left: layers are only read (evmaot --store LAYER clear)")
    if report.members_kept_for_pins:
        output.say(
            f"{counted(report.members_kept_for_pins, 'pinned artifact')} kept; --include-pinned removes them too"
        )
    if _is_nothing(report) and not report.bytes_freed:
        output.say("nothing else matches" if report.members_kept_for_pins else "nothing in the store matches")
        return
    output.say(f"{verb} {_amount(report)}, {human_size(report.bytes_freed)}")
    if report.members_kept_for_other_forks:
        output.say(f"{counted(report.members_kept_for_other_forks, 'artifact')} kept for other forks")
    if report.records_removed:
        output.say(f"{counted(report.records_removed, 'remembered failure')} forgotten")
