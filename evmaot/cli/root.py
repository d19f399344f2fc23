"""The command `evmaot`: the table of verbs, loaded lazily, and the one place where failures end.

Job: `run`, which parses, runs one verb and turns every failure into words and an exit code.
Invariants: importing this module imports neither the compiler nor rich nor the store; a verb's
module is imported when that verb is used.  May import: click, `evmaot.cli.*`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import click

from evmaot.cli.invocation import VerbGroup, early_output, flags_of, verb_of


@dataclass(frozen=True, slots=True)
class VerbRow:
    """A verb: the module `evmaot.cli.verbs.<module>` holds its `command`."""

    name: str
    section: str
    summary: str
    module: str = ""


_STORE, _CODE, _SELF = "Artifacts", "Contracts and forks", "Setup and help"

VERBS: dict[str, VerbRow] = {
    row.name: row
    for row in (
        VerbRow("build", _STORE, "Compile contracts for forks and store the libraries."),
        VerbRow("fetch", _STORE, "Fetch the code of accounts from a node, for later builds."),
        VerbRow("ls", _STORE, "List what the store holds."),
        VerbRow("show", _STORE, "Show one artifact, pack or contract of the store."),
        VerbRow("explain", _STORE, "Say why a look-up hits or misses here."),
        VerbRow("verify", _STORE, "Check what is on disk against what was published."),
        VerbRow("gc", _STORE, "Keep the store within its limits."),
        VerbRow("pin", _STORE, "Keep artifacts, whatever the collector's limits say."),
        VerbRow("unpin", _STORE, "Remove a pin; what it kept may be collected."),
        VerbRow("pins", _STORE, "List the pins of the store."),
        VerbRow("clear", _STORE, "Remove artifacts from the store."),
        VerbRow("export", _STORE, "Export packs for other machines, signed."),
        VerbRow("import", _STORE, "Import packs that another machine exported.", "import_packs"),
        VerbRow("pull", _STORE, "Import packs from a web server."),
        VerbRow("keygen", _STORE, "Make a pair of keys that sign exports."),
        VerbRow("stats", _STORE, "Sum up what the store holds and takes."),
        VerbRow("preload", _STORE, "Start as the runtime does, and tell what is loaded."),
        VerbRow("path", _STORE, "Print where things are."),
        VerbRow("run", _CODE, "Execute a contract natively with calldata."),
        VerbRow("bench", _CODE, "Time a message, beside other interpreters."),
        VerbRow("dump", _CODE, "Print a stage of the compiler as text."),
        VerbRow("forks", _CODE, "Print the fork table."),
        VerbRow("statetest", _CODE, "Run official state tests natively, on EELS."),
        VerbRow("doctor", _SELF, "Check this machine, the store and the compiler."),
        VerbRow("config", _SELF, "Show the configuration and its origin."),
        VerbRow("completion", _SELF, "Print a shell completion script."),
        VerbRow("man", _SELF, "Print a manual page."),
    )
}
"""All verbs, in the order of the help.  A new verb is one file and one line here."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: the same orderly end as Ctrl-C, with exit code 143."""


class NoSuchVerb(click.UsageError):
    """A verb that there is not, and those that may have been meant."""

    def __init__(self, name: str, possibilities: Sequence[str], context: click.Context) -> None:
        super().__init__(f"no such command {name!r}", context)
        self.possibilities = possibilities


class RootGroup(VerbGroup):
    """The group of all verbs; imports a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command."""
        row = VERBS.get(cmd_name)
        if row is None:
            return None
        command: click.Command = importlib.import_module(f"evmaot.cli.verbs.{row.module or row.name}").command
        command.short_help = row.summary
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb of the arguments; an unknown one is refused with a suggestion."""
        if args and args[0] not in VERBS and not ctx.resilient_parsing and not args[0].startswith("-"):
            import difflib

            raise NoSuchVerb(args[0], difflib.get_close_matches(args[0], VERBS, 2, 0.5), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Sections of verbs from the table, without importing their modules."""
        for section in (_STORE, _CODE, _SELF):
            with formatter.section(section):
                formatter.write_dl([(row.name, row.summary) for row in VERBS.values() if row.section == section])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; its failures are told here, where the flags are known."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _silence_stdout()
            ctx.exit(0)
        except (click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            name = ctx.invoked_subcommand or verb_of(ctx)
            # What stands behind a wrong option was not parsed any more: --json is obeyed wherever it stands.
            ctx.exit(_failed(error, _flags_in(ctx.obj or ()) | flags_of(ctx), name))


@click.group("evmaot", cls=RootGroup, no_args_is_help=True, epilog="A verb's options: evmaot VERB --help.")
def root() -> None:
    """Compile EVM bytecode ahead of time, per hardfork, into native shared libraries."""


def _silence_stdout() -> None:
    # The reader is gone: what the interpreter flushes at exit must not fail again.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _flags_in(arguments: Sequence[str]) -> dict[str, Any]:
    """What a failing parse must know of the arguments, read without parsing them."""
    return {"json": "--json" in arguments, "verbose": 2 * ("-vv" in arguments)}


def _failed(error: BaseException, flags: dict[str, Any], verb: str) -> int:
    from evmaot.cli import failures

    return failures.report(error, early_output(flags), verb)


def run(arguments: Sequence[str], *, own_process: bool) -> int:
    """Run the command line.  Returns the exit code.

    In a process of its own, SIGTERM ends it in the same order as Ctrl-C does.
    """
    if own_process:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        result = root.main(list(arguments), prog_name="evmaot", standalone_mode=False, obj=tuple(arguments))
    except click.ClickException as error:
        return _failed(error, _flags_in(arguments), "evmaot")
    except (click.Abort, KeyboardInterrupt) as error:
        terminated = isinstance(error, Terminated) or isinstance(error.__cause__, Terminated)
        sys.stderr.write("terminated\n" if terminated else "interrupted\n")
        return 143 if terminated else 130
    return result if isinstance(result, int) else 0
