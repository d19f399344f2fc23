"""`evmaot man [PAGE]`: a manual page as text for man(1).

Job: what `man/` holds.  May import: `evmaot.cli`, click.
"""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from evmaot.cli.invocation import AnyType, Verb, print_text
from evmaot.errors import UsageError


class PageType(AnyType):
    """The name of a page: ``evmaot``, a verb, ``store``; also as ``evmaot-build``."""

    name = "PAGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The short name.  Raises UsageError `unknown_page`."""
        from evmaot.cli.generate import page_names

        name = str(value)
        short = name if name == "evmaot" else name.removeprefix("evmaot-").split("(")[0]
        if short not in page_names():
            hint = "one of: " + ", ".join(page_names())
            raise UsageError("unknown_page", f"no manual page {name!r}", hint=hint)
        return short

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of pages."""
        from evmaot.cli.root import VERBS

        return [CompletionItem(name) for name in ("evmaot", *VERBS, "store") if name.startswith(incomplete)]


@click.command("man", cls=Verb)
@click.argument("page", type=PageType(), default="evmaot")
def command(page: str) -> None:
    """Print a manual page, as text that man(1) formats.

    PAGE is evmaot, a command's name, or store for the description of the store's files.
    """
    from evmaot.cli import generate

    print_text("man", "page", page, generate.page(page))
