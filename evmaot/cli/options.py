"""Options that several verbs share.

Job: one definition of `--fork`, `--profile` and their completions.  May import: click, `evmaot.cli`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from evmaot.cli import complete
from evmaot.cli.invocation import AnyCommand, AnyType, flags_of, setting_option

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork


class ForkType(AnyType):
    """The name or alias of one fork."""

    name = "FORK"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fork:
        """The fork.  Raises UsageError `unknown_fork`."""
        from evmaot.evm.forks import Fork, fork_named

        return value if isinstance(value, Fork) else fork_named(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of forks."""
        from evmaot.evm.forks import FORKS

        return [item for item in complete.fork_names(incomplete) if item.value in FORKS]


class StoredName(AnyType):
    """A name that a store's directory listing can complete: of a profile, a pack or a pin."""

    name = "NAME"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """First digits of profiles and packs, names of pins; whatever goes wrong means no candidates."""
        from evmaot import config

        try:
            given = flags_of(ctx).get("store")
            directory = Path(given or config.load({}, os.environ, Path.cwd()).settings.store)
            names = complete.stored_names(directory, self.kinds)
        except Exception:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def fork_option(help: str) -> Callable[[AnyCommand], AnyCommand]:
    """`--fork F`: one fork, passed as `fork: Fork | None`."""
    return click.option("--fork", type=ForkType(), metavar="FORK", help=help)


def node_options() -> Callable[[AnyCommand], AnyCommand]:
    """The options of commands that ask a node: which one, how, and about which block.

    `block: str` and `follow_proxies: bool` are passed, the rest are settings.
    """
    options = (
        setting_option("rpc_url", "--rpc", metavar="URL", help="Node to ask: JSON-RPC over HTTP."),
        click.option("--block", default="latest", metavar="BLOCK", help="Number, hash or tag.", show_default=True),
        click.option("--follow-proxies", is_flag=True, help="Also the code that proxies and delegations run."),
        setting_option("rpc_timeout_seconds", "--rpc-timeout", metavar="TIME", help="Limit of one request."),
        setting_option("rpc_retries", "--rpc-retries", metavar="N", help="Further attempts of a request."),
        setting_option("rpc_batch", "--rpc-batch", metavar="N", help="Calls in one request."),
        setting_option("rpc_rate", "--rpc-rate", metavar="N", help="Calls in a second at most; 0: no limit."),
    )

    def add(body: AnyCommand) -> AnyCommand:
        for option in reversed(options):
            body = option(body)
        return body

    return add


def profile_option() -> Callable[[AnyCommand], AnyCommand]:
    """`--profile ID`: first digits of a profile's digest, passed as `profile: str | None`."""
    return click.option("--profile", type=StoredName("profiles"), metavar="ID", help="Only this profile.")


def profiles_option(help: str) -> Callable[[AnyCommand], AnyCommand]:
    """`--profile ID`, repeatable, passed as `profiles: tuple[str, ...]`."""
    return click.option("--profile", "profiles", type=StoredName("profiles"), multiple=True, metavar="ID", help=help)
