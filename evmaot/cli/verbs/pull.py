"""`evmaot pull`: what another machine exported, from a web server into the store.

Job: trust, fetch, judge, publish, tell.  Invariant: the rules of `evmaot import` hold.  May import: `evmaot.sharing`,
`evmaot.store`, `evmaot.cli`, click.
"""

from __future__ import annotations

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.sharing import parsed, trust_options
from evmaot.config_values import parse_duration


@click.command("pull", cls=Verb)
@click.argument("url", metavar="URL")
@trust_options()
@click.option(
    "--timeout",
    default="30s",
    metavar="TIME",
    callback=parsed(parse_duration),
    help="Give up a silent server.",
    show_default=True,
)
@click.option(
    "--retries",
    type=click.IntRange(0, 20),
    default=4,
    metavar="N",
    help="Further attempts for a file.",
    show_default=True,
)
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    url: str,
    keys: tuple[str, ...],
    allow_unsigned: bool,
    max_size_bytes: int,
    timeout: float,
    retries: int,
) -> None:
    """Import packs from a web server: a file of evmaot export, or a directory of evmaot export --directory.

    What is trusted and what is refused is as with evmaot import. Of a directory only what is not here yet is fetched.
    """  # fmt: skip
    from evmaot.cli.sharing import tell_import, trust_policy
    from evmaot.cli.stores import open_store
    from evmaot.inputs.live.endpoint import shown_url
    from evmaot.sharing.download import Fetcher, endpoint_of
    from evmaot.sharing.importing import Importer
    from evmaot.sharing.pulling import pull

    policy = trust_policy(invocation, keys, allow_unsigned=allow_unsigned)
    endpoint_of(url)
    store = open_store(invocation, create=True)
    importer = Importer(store, "pull", invocation.output.detail)
    by, report = pull(url, store, importer, policy, Fetcher(timeout, retries), max_size_bytes)
    tell_import(invocation, context, "pull", shown_url(url), by, report)
