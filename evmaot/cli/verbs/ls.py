"""`evmaot ls`: what the store holds.

Job: render the store's index.  Invariant: reads manifests only, never a library.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import fork_option, profile_option
from evmaot.cli.output import Column, counted, human_size
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.cli.listing import Selection
    from evmaot.cli.stores import Place
    from evmaot.evm.forks import Fork
    from evmaot.store.index import Entry, StoreIndex
    from evmaot.store.summaries import StoreSummary

EMPTY = 7
"""Exit code of --error-if-empty."""
_ORDERS: dict[str, Callable[[Entry], Any]] = {
    "label": lambda entry: (
        entry.member.label,
        entry.member.code_hash,
        entry.pack.manifest.profile,
        entry.member.rules,
    ),
    "hash": lambda entry: (entry.member.code_hash, entry.pack.manifest.profile, entry.member.rules),
    "length": lambda entry: (-entry.member.length, entry.member.code_hash),
    "time": lambda entry: (-entry.member.compile_ms, entry.member.code_hash),
    "created": lambda entry: (entry.pack.manifest.created, entry.member.code_hash),
}


@click.command("ls", cls=Verb)
@click.argument("pattern", required=False)
@click.option("--contracts", is_flag=True, help="A row for each contract.")
@fork_option("Only what serves this fork.")
@profile_option()
@click.option("--stale", is_flag=True, help="Only what another version of the compiler made.")
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    help="Order of --contracts (default: label); length and time begin with the largest.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many rows of --contracts.")
@click.option("--jsonl", is_flag=True, help="One JSON record a line, and a summary last.")
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where nothing matches.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    pattern: str | None,
    contracts: bool,
    fork: Fork | None,
    profile: str | None,
    stale: bool,
    sort: str | None,
    limit: int | None,
    jsonl: bool,
    error_if_empty: bool,
) -> None:
    """List what the store holds: a row for each profile and fork.

    A profile is everything besides the code and the fork that an artifact depends on: compiler, target, tier. HOLDS
    is the number of artifacts that serve the fork. LOADS says whether the runtime loads them here, or why not. The
    sizes of forks that share libraries overlap.

    PATTERN is the beginning of a code hash (0x...) or a glob of labels; it lists contracts.

    With layers (EVMAOT_STORE_PATH) the column STORE says where something lies. In parentheses: a
    store above it holds the same artifact, and answers.
    """
    from evmaot.cli.listing import Selection
    from evmaot.cli.stores import places, say_layers, warn_of_refusals

    stores = places(invocation)
    found: list[StoreIndex] | list[StoreSummary]
    if contracts or pattern is not None:
        found = [place.index() for place in stores]
        selection = Selection(pattern, fork, profile, _stale_profiles(found) if stale else None)
        number = _contracts(invocation, stores, found, selection, sort or "label", limit, jsonl)
    else:
        if sort is not None or limit is not None:
            hint = f"evmaot ls --contracts {'--sort ' + sort if sort else f'--limit {limit}'}"
            raise UsageError("needs_contracts", "--sort and --limit are of rows of contracts", hint=hint)
        found = [place.summary() for place in stores]
        selection = Selection(None, fork, profile, _stale_profiles(found) if stale else None)
        number = _profiles(invocation, stores, found, selection, jsonl)
    if not invocation.output.as_json and number:
        say_layers(invocation, stores)
    for held in found:
        warn_of_refusals(invocation, held)
    if error_if_empty and not number:
        context.exit(EMPTY)


def _stale_profiles(found: Sequence[StoreIndex | StoreSummary]) -> frozenset[str]:
    from evmaot.toolchain import stale_in

    return frozenset(one.digest for held in found for one in held.profiles.values() if stale_in(one.profile))


def _profiles(
    invocation: Invocation, stores: list[Place], found: list[StoreSummary], selection: Selection, jsonl: bool
) -> int:
    """Answers the number of rows."""
    from evmaot.cli.listing import profile_data, profile_rows
    from evmaot.cli.stores import refusal_problems

    rows = [
        {**profile_data(row), "store": str(place.path)}
        for place, summary in zip(stores, found, strict=True)
        for row in profile_rows(summary, selection.fork)
        if selection.has_profile(row.profile.digest)
    ]
    packs = [pack for summary in found for held in summary.packs.values() for pack in held.values()]
    artifacts, size_bytes = sum(pack.members for pack in packs), sum(pack.size_bytes for pack in packs)
    totals = {"contracts": artifacts, "packs": len(packs), "size_bytes": size_bytes}
    output = invocation.output
    if jsonl:
        _write_lines(invocation, "ls.profile", rows, totals)
        return len(rows)
    if output.as_json:
        problems = [problem for summary in found for problem in refusal_problems(summary)]
        output.document("ls", {"profiles": rows, "totals": totals}, problems)
        return len(rows)
    if not rows:
        _say_empty(invocation, artifacts)
        return 0
    columns = (
        Column("PROFILE"),
        Column("TIER", drop_rank=2),
        Column("TARGET", shrinks=True, drop_rank=3),
        Column("FORK"),
        Column("HOLDS", right=True),
        Column("PACKS", right=True, drop_rank=4),
        Column("SIZE", right=True, drop_rank=1),
        Column("LOADS", shrinks=True, least=13),
        *_STORE_COLUMN[: len(stores) > 1],
    )
    names = {str(place.path): place.name for place in stores}
    cells = [
        (
            row["profile"][:8],
            row["tier"],
            row["target"],
            row["fork"],
            f"{row['contracts']:,}",
            str(row["packs"]),
            human_size(row["size_bytes"]),
            (row["not_loadable"] or "yes").partition(":")[0],
            *(names[row["store"]],)[: len(stores) > 1],
        )
        for row in rows
    ]
    output.table(columns, cells)
    output.say(f"{counted(artifacts, 'artifact')} in {counted(len(packs), 'pack')}, {human_size(size_bytes)}")
    _say_why_not(invocation, rows)
    return len(rows)


_STORE_COLUMN = (Column("STORE"),)
"""Where there are layers."""
_REASONS = (
    ("profile_other", "another compiler version made it: evmaot build, evmaot gc --stale"),
    ("abi_mismatch", "for another native ABI: evmaot build, evmaot gc --stale"),
    ("architecture:", "for another processor, and used there"),
    ("isa_missing:", "for a better CPU: evmaot build --target host"),
)
"""What a reason in the column LOADS means, and what to do."""


def _say_why_not(invocation: Invocation, rows: list[dict[str, Any]]) -> None:
    found = {row["not_loadable"] for row in rows if row["not_loadable"] is not None}
    for prefix, words in _REASONS:
        for reason in sorted(one for one in found if one.startswith(prefix)):
            invocation.output.say(f"{reason}: {words}")


def _contracts(
    invocation: Invocation,
    stores: list[Place],
    found: list[StoreIndex],
    selection: Selection,
    sort: str,
    limit: int | None,
    jsonl: bool,
) -> int:
    """Answers the number of contracts that match."""
    from evmaot.cli.listing import fork_ranges, held_data, shadowing
    from evmaot.cli.stores import refusal_problems
    from evmaot.store.serving import ServedForks

    served, first = ServedForks(), shadowing(stores, found)
    entries = [(entry, place) for place, index in zip(stores, found, strict=True) for entry in selection.of(index)]
    # Sorted before anything is computed for them: the keys of 100,000 artifacts take a second.
    order = _ORDERS[sort]
    entries.sort(key=lambda pair: order(pair[0]))
    shown = [held_data(entry, served, place, first) for entry, place in entries[:limit]]
    totals = {"contracts": len(entries), "shown": len(shown)}
    output = invocation.output
    if jsonl:
        _write_lines(invocation, "ls.contract", shown, totals)
        return len(entries)
    if output.as_json:
        problems = [problem for index in found for problem in refusal_problems(index)]
        output.document("ls", {"contracts": shown, "totals": totals}, problems)
        return len(entries)
    if not shown:
        _say_empty(invocation, sum(len(index) for index in found))
        return 0
    columns = (
        Column("CODE HASH"),
        Column("BYTES", right=True, drop_rank=2),
        Column("FORKS", shrinks=True, least=16, drop_rank=int(len(stores) > 1)),
        Column("TIER", drop_rank=2),
        Column("PACK", drop_rank=3),
        Column("COMPILED", right=True, drop_rank=4),
        Column("LABEL", shrinks=True, least=16),
        *_STORE_COLUMN[: len(stores) > 1],
    )
    names = {str(place.path): place.name for place in stores}
    cells = [
        (
            row["code_hash"][:14],
            str(row["length_bytes"]),
            fork_ranges(row["forks"]),
            row["tier"],
            row["pack"][:8],
            f"{row['compile_seconds']:.2f} s",
            (row["label"] or "-") + (" (template)" if row["holes"] else ""),
            *(f"({names[row['store']]})" if row["shadowed_by"] else names[row["store"]],)[: len(stores) > 1],
        )
        for row in shown
    ]
    output.table(columns, cells)
    more = f", {len(entries) - len(shown):,} more not shown" if len(shown) < len(entries) else ""
    output.say(f"{counted(len(shown), 'artifact')}{more}")
    if any(row["shadowed_by"] for row in shown):
        output.say("in parentheses: a store above holds the same artifact, and answers")
    return len(entries)


def _say_empty(invocation: Invocation, artifacts: int) -> None:
    if artifacts:
        invocation.output.say("nothing in the store matches")
    else:
        invocation.output.say(f"the store is empty: {invocation.settings.store}")
        invocation.output.say("hint: evmaot build --fork osaka INPUT...")


def _write_lines(invocation: Invocation, kind: str, rows: list[dict[str, Any]], totals: dict[str, Any]) -> None:
    for row in rows:
        invocation.output.record(kind, row)
    invocation.output.record("ls.summary", totals)
