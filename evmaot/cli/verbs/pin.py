"""`evmaot pin`: keep artifacts under a name.

Job: a selection to a pin.  Invariant: without a selector nothing is pinned.  May import:
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import StoredName, fork_option, profile_option
from evmaot.cli.output import counted
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork

EMPTY = 7
"""Exit code of --error-if-empty."""


@click.command("pin", cls=Verb)
@click.argument("name", type=StoredName("pins"))
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--all", "everything", is_flag=True, help="Everything that is stored now.")
@fork_option("What serves this fork.")
@profile_option()
@click.option("--add", is_flag=True, help="In addition to what the pin keeps already.")
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where nothing matches.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    name: str,
    patterns: tuple[str, ...],
    everything: bool,
    fork: Fork | None,
    profile: str | None,
    add: bool,
    error_if_empty: bool,
) -> None:
    """Keep artifacts under a NAME: neither gc nor clear removes them.

    PATTERN is the beginning of a code hash (0x...) or a glob of labels; --fork and --profile restrict it. The pin
    keeps what matches now, instead of what it kept before. build --pin NAME pins what a build needs.
    """
    from evmaot.cli.listing import Selection
    from evmaot.cli.stores import open_layers, open_store
    from evmaot.store import pins

    pins.check_pin_name(name)
    if everything == bool(patterns or fork or profile):
        hint = "name what to keep: --all, --fork, --profile or a pattern"
        raise UsageError("nothing_selected", "what is to be kept is not said, or twice", hint=hint)
    store = open_store(invocation)
    with store.shared_lock():
        index = store.index()
        selections = [Selection(pattern, fork, profile) for pattern in patterns or (None,)]
        keys = {entry.key for selection in selections for entry in selection.of(index)}
        pin = store.pin(name, keys, add=add) if keys else None
    indexes = [layer.index() for layer in open_layers(invocation)]
    below = {entry.key for index in indexes for selection in selections for entry in selection.of(index)} - keys
    output = invocation.output
    if output.as_json:
        data = None if pin is None else {"name": name, "created": pin.created, "artifacts": len(pin.members)}
        output.document("pin", data)
    elif pin is None:
        output.say("nothing in the store matches; nothing is pinned")
    else:
        output.say(f"{name} keeps {counted(len(pin.members), 'artifact')}")
    if below:
        output.say(f"{counted(len(below), 'artifact')} in layers not pinned: a pin keeps what the store itself holds")
    if pin is None and error_if_empty:
        context.exit(EMPTY)
