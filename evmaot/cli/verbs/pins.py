"""`evmaot pins`: what is kept, under which names.

Job: render the pins and what they keep.  Invariant: reads documents only.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.output import Column, counted, human_size

if TYPE_CHECKING:
    from evmaot.store.index import Entry, MemberKey
    from evmaot.store.pins import Pin


@click.command("pins", cls=Verb)
@pass_invocation
def command(invocation: Invocation) -> None:
    """List the pins of the store.

    MISSING counts artifacts that a pin keeps and the store does not hold: they were cleared, damaged, or the store is
    a copy without them. SIZE is that of the libraries that are kept; pins that share libraries overlap.
    """
    from evmaot.cli.stores import finding_hint, finding_problem, store_or_none
    from evmaot.store.pins import read_pins

    store = store_or_none(invocation)
    pins, findings = ([], []) if store is None else read_pins(store.files)
    entries = {} if store is None else {entry.key: entry for entry in store.index()}
    rows = [pin_data(pin, entries) for pin in pins]
    output = invocation.output
    if output.as_json:
        output.document("pins", {"pins": rows}, [finding_problem(finding) for finding in findings], ok=not findings)
        return
    if rows:
        columns = (
            Column("NAME"),
            Column("ARTIFACTS", right=True),
            Column("MISSING", right=True),
            Column("PACKS", right=True, drop_rank=2),
            Column("SIZE", right=True, drop_rank=1),
            Column("CREATED", drop_rank=3),
        )
        output.table(columns, [_cells(row) for row in rows])
    elif not findings:
        output.say("nothing is pinned")
        output.say("hint: evmaot pin NAME --all")
    for finding in findings:
        output.warn(f"error: {finding.subject}: {finding.message} [{finding.code}]", style="error")
        output.warn(f"hint: {finding_hint(finding)}")
    dangling = [row for row in rows if row["missing"]]
    if dangling:
        names = ", ".join(row["name"] for row in dangling)
        output.warn(
            f"warning: {counted(len(dangling), 'pin')} of what is not there: {names} [pin_dangling]", style="yellow"
        )
        output.warn("hint: evmaot build --pin NAME builds and pins again; evmaot unpin NAME forgets it")


def pin_data(pin: Pin, entries: dict[MemberKey, Entry]) -> dict[str, Any]:
    """A pin for JSON."""
    there = [entries[key] for key in pin.members if key in entries]
    packs = {entry.pack.manifest.object.sha256: entry.pack.manifest.object.size for entry in there}
    return {
        "name": pin.name,
        "created": pin.created,
        "artifacts": len(pin.members),
        "missing": len(pin.members) - len(there),
        "packs": len(packs),
        "size_bytes": sum(packs.values()),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = human_size(row["size_bytes"])
    return row["name"], f"{row['artifacts']:,}", f"{row['missing']:,}", str(row["packs"]), size, row["created"]
