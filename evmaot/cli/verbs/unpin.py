"""`evmaot unpin`: remove pins.

Job: remove the documents of pins; artifacts stay until they are collected.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName


@click.command("unpin", cls=Verb)
@click.argument("names", nargs=-1, required=True, type=StoredName("pins"), metavar="NAME...")
@pass_invocation
def command(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Remove pins. What they kept stays in the store, and may be collected from now on."""
    from evmaot.cli.stores import open_store

    store = open_store(invocation)
    for name in names:
        store.unpin(name)
    if invocation.output.as_json:
        invocation.output.document("unpin", {"removed": list(names)})
    else:
        invocation.output.say(f"removed {', '.join(names)}")
