"""`evmaot path`: where things are.

Job: print paths for scripts; creates nothing.  May import: `evmaot.config`, `evmaot.cli`, click.
"""

from __future__ import annotations

from pathlib import Path

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation


@click.command("path", cls=Verb)
@click.argument("what", type=click.Choice(["store", "config", "project"]), default="store")
@pass_invocation
def command(invocation: Invocation, what: str) -> None:
    """Print the path of the store, of the user's configuration file, or of the project's evmaot.toml.

    The path is printed whether or not the file is there; a project's file only where there is one.
    """
    from platformdirs import user_config_path

    project = next((file.detail for file in invocation.configuration.files if file.kind == "project"), None)
    paths = {
        "store": str(invocation.settings.store),
        "config": str(user_config_path("evmaot") / "config.toml"),
        "project": project,
    }
    if invocation.output.as_json:
        data = {name: {"path": path, "exists": bool(path) and Path(str(path)).exists()} for name, path in paths.items()}
        invocation.output.document("path", data)
        return
    chosen = paths[what]
    if chosen is None:
        invocation.output.say("no evmaot.toml here or above, up to the repository's root")
    else:
        invocation.output.data(chosen)
