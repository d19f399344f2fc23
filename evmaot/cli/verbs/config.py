"""`evmaot config show`: the settings, and where each came from.

Job: render `evmaot.config`.  May import: `evmaot.config`, `evmaot.cli`, click.
"""

from __future__ import annotations

import click

from evmaot import config
from evmaot.cli.invocation import Invocation, Verb, VerbGroup, pass_invocation
from evmaot.cli.output import Column


@click.group("config", cls=VerbGroup)
def command() -> None:
    """Show the configuration.

    Values come from, the first that speaks: options, EVMAOT_* variables, the project's evmaot.toml,
    the user's config.toml, the system's config.toml, the defaults.  --config FILE replaces the files.
    """


@command.command("show", cls=Verb, short_help="Print the settings.")
@click.argument("key", required=False)
@click.option("--origin", is_flag=True, help="Also the origin of each value, and which files were read.")
@pass_invocation
def show(invocation: Invocation, key: str | None, origin: bool) -> None:
    """Print every setting as it applies here, or the one called KEY (for example build.timeout)."""
    configuration, output = invocation.configuration, invocation.output
    names = [name for name, row in config.ROWS.items() if key in (None, row.key)]
    if not names:
        raise config.unknown_key(key or "", None)
    if output.as_json:
        files = [{"kind": file.kind, "path": file.detail} for file in configuration.files]
        output.document("config.show", {"settings": [_as_data(configuration, name) for name in names], "files": files})
        return
    rows = []
    for name in names:
        row = config.ROWS[name]
        value = config.spelled(name, getattr(configuration.settings, name))
        rows.append((row.key, value or "-", str(configuration.origins[name]), row.variable, row.document))
    columns = [
        Column("KEY"),
        Column("VALUE", shrinks=True),
        Column("ORIGIN", shrinks=True),
        Column("VARIABLE", drop_rank=1),
        Column("WHAT", shrinks=True, drop_rank=2),
    ]
    shown = [0, 1, 2, 3, 4] if origin else [0, 1, 4]
    output.table([columns[index] for index in shown], [[row[index] for index in shown] for row in rows])
    if origin:
        for file in configuration.files:
            output.say(f"read: {file.detail} ({file.kind})")


def _as_data(configuration: config.Configuration, name: str) -> dict[str, object]:
    row, origin = config.ROWS[name], configuration.origins[name]
    value = getattr(configuration.settings, name)
    plain: object = value
    if not isinstance(value, (bool, int, float)):
        plain = list(value) if isinstance(value, tuple) else config.spelled(name, value)
    return {
        "key": row.key,
        "value": plain,
        "text": config.spelled(name, value),
        "origin": {"kind": origin.kind, "detail": origin.detail},
        "variable": row.variable,
        "in_project": row.in_project,
    }
