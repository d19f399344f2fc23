"""`evmaot doctor`: is everything here that evmaot needs, and what to do where it is not.

Job: render the rows of `evmaot.cli.checks`.  Invariant: writes nothing to the store.  May import: `evmaot.cli`, click.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.output import counted, wrapped

if TYPE_CHECKING:
    from evmaot.cli.checks import Check

_NARROW = 60
"""Columns below which a check's words go below its name."""
_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}


@click.command("doctor", cls=Verb)
@click.pass_context
@pass_invocation
def command(invocation: Invocation, context: click.Context) -> None:
    """Check this machine, the compiler and the store, and say what to do where something is wrong.

    A contract of eight bytes is compiled, linked, loaded and run. Libraries are hashed up to 64 MiB, chosen by chance;
    evmaot verify hashes all. The exit status is 0 unless a check is an error: 77
    where the store is not trusted, 73 where the disk is full, 4 where manifests are damaged, else 6.
    """
    from evmaot.cli.checks import Health, all_checks

    output = invocation.output
    checks = []
    for check in all_checks(invocation):
        checks.append(check)
        if not output.as_json:
            _tell(invocation, check)
    errors = [check for check in checks if check.health is Health.ERROR]
    warnings = [check for check in checks if check.health is Health.WARNING]
    if output.as_json:
        rows = [
            {"name": check.name, "health": check.health.value, "message": check.message, "hint": check.hint}
            for check in checks
        ]
        data = {"checks": rows, "errors": len(errors), "warnings": len(warnings)}
        output.document("doctor", data, [_problem(check) for check in [*errors, *warnings]], ok=not errors)
    if errors:
        output.warn(f"error: {counted(len(errors), 'check')} failed [unhealthy]", style="error")
        context.exit(errors[0].exit_code)
    output.say(f"healthy, with {counted(len(warnings), 'warning')}" if warnings else "healthy", style="green")


def _problem(check: Check) -> dict[str, str | None]:
    return {
        "code": check.name.replace(" ", "_"),
        "severity": check.health.value,
        "subject": None,
        "message": check.message,
        "cause": None,
        "hint": check.hint,
    }


def _tell(invocation: Invocation, check: Check) -> None:
    output = invocation.output
    width = output.width()
    indent = 20 if not width or width >= _NARROW else 4
    mark = output.styled(check.health.value.ljust(7), _STYLES[check.health.value])
    lines = [check.message, *([f"hint: {check.hint}"] if check.hint else [])]
    pieces = [piece for line in lines for piece in (wrapped(line, width - indent) if width else [line])]
    if indent < 20:
        output.data(f"{mark} {check.name}")
    else:
        output.data(f"{mark} {check.name:<11} {pieces.pop(0)}")
    for piece in pieces:
        output.data(" " * indent + piece)
