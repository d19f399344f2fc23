"""`evmaot completion SHELL`: the shell's completion script as text.

Job: what `completions/` holds, generated from click.  May import: `evmaot.cli`, click.
"""

from __future__ import annotations

import click

from evmaot.cli.invocation import Verb, print_text

SHELLS = {"bash": "evmaot.bash", "zsh": "_evmaot", "fish": "evmaot.fish"}
"""Shells, and the file name each one looks for."""


def script(shell: str) -> str:
    """The completion script of a shell; it asks `evmaot` for the words."""
    from click.shell_completion import get_completion_class

    from evmaot.cli.root import root

    complete_class = get_completion_class(shell)
    if complete_class is None:
        raise AssertionError(f"click does not know the shell {shell}")
    return complete_class(root, {}, "evmaot", "_EVMAOT_COMPLETE").source().strip() + "\n"


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print the completion script of a shell; put it where the shell looks for completions."""
    print_text("completion", "shell", shell, script(shell))
