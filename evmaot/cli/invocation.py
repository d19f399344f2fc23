"""One invocation: its flags, its settings, its output; and the options every command has.

Job: global options that work before and after the verb, options that are backed by a row of
`evmaot.config`, and `pass_invocation`, which hands a command its resolved settings.
Invariant: nothing is read from files or environment before a command's body runs, so --help,
--version and TAB completion stay cheap and cannot fail.  May import: click, `evmaot.config`,
`evmaot.cli.output`, `evmaot.errors`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from evmaot import config
from evmaot.cli.output import Output
from evmaot.version import VERSION

_FLAGS = "evmaot.flags"

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """What a command's body gets."""

    configuration: config.Configuration
    output: Output
    verb: str

    @property
    def settings(self) -> config.Settings:
        """The resolved settings."""
        return self.configuration.settings


def flags_of(context: click.Context) -> dict[str, Any]:
    """The options given so far, by name of the setting; shared by a command and its parents."""
    flags: dict[str, Any] = context.meta.setdefault(_FLAGS, {})
    return flags


def early_output(flags: dict[str, Any]) -> Output:
    """An output that needs no configuration, for failures before or while reading it."""
    return Output(
        as_json=bool(flags.get("json")),
        plain=bool(flags.get("plain")),
        quiet=bool(flags.get("quiet")),
        verbosity=int(flags.get("verbose", 0)),
        color_choice=flags.get("color", "auto"),
    )


def current(context: click.Context) -> Invocation:
    """Resolve the settings of this invocation.  Raises UsageError `config_*`."""
    flags = flags_of(context)
    given = {name: value for name, value in flags.items() if name in config.ROWS}
    configuration = config.load(given, os.environ, Path.cwd(), flags.get("config"))
    output = early_output(flags)
    settings = configuration.settings
    output.color_choice, output.plain, output.progress = settings.color, settings.plain, settings.progress
    return Invocation(configuration, output, verb_of(context))


def verb_of(context: click.Context) -> str:
    """The verb as schemas name it: ``forks.diff`` for ``evmaot forks diff``."""
    names: list[str] = []
    walk: click.Context | None = context
    while walk is not None and walk.parent is not None:
        names.insert(0, walk.info_name or "")
        walk = walk.parent
    return ".".join(names)


def pass_invocation(
    body: Callable[Concatenate[Invocation, Parameters], Returned],
) -> Callable[Parameters, Returned]:
    """Call a command's body with the `Invocation` as its first argument."""

    @functools.wraps(body)
    def wrapper(*arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
        return body(current(click.get_current_context()), *arguments, **options)

    return wrapper


def print_text(verb: str, name: str, value: str, text: str) -> None:
    """Static text on stdout, with --json a document of it; asks no configuration, so it cannot fail."""
    output = early_output(flags_of(click.get_current_context()))
    if output.as_json:
        output.document(verb, {name: value, "text": text})
    else:
        sys.stdout.write(text)


if TYPE_CHECKING:
    AnyType = click.ParamType[Any]
else:
    # Generic since click 8.2 only, and only for type checkers.
    AnyType = click.ParamType


class SettingType(AnyType):
    """A value read as its row of `evmaot.config` says: the same text works in files and options."""

    def __init__(self, name: str, metavar: str) -> None:
        self.setting = name
        self.name = metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; click's BadParameter where it is none."""
        try:
            return config.ROWS[self.setting].parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Names of forks, targets and choices; reads no file."""
        from evmaot.cli.complete import setting_values

        return setting_values(self.setting, incomplete)


class GlobalOption(click.Option):
    """An option that every command has; its help stands in a section of its own."""


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is None or value == () or value is False or context.resilient_parsing:
            return
        flags = flags_of(context)
        flags[name] = flags.get(name, 0) + value if name == "verbose" else value

    return callback


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        sys.stdout.write(f"evmaot {VERSION}\n")
        context.exit()


def environment_note(name: str) -> str:
    """The bracket that ends the help of an option backed by a setting."""
    return f"[{config.ROWS[name].variable}]"


def setting_option(
    name: str, *spellings: str, metavar: str, help: str, multiple: bool = False
) -> Callable[[AnyCommand], AnyCommand]:
    """An option backed by the setting `name`: parsed by its row, resolved with files and environment.

    With `multiple`, each use adds to a tuple.  The value is not passed to the body: it is in
    `Invocation.settings`.
    """

    def collect(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        merged = tuple(part for parts in value for part in parts) if multiple and value else value
        _keep(name)(context, parameter, merged)

    return click.option(
        f"setting_{name}",
        *spellings,
        type=SettingType(name, metavar),
        metavar=metavar,
        multiple=multiple,
        expose_value=False,
        callback=collect,
        help=f"{help} {environment_note(name)}",
    )


def global_options() -> list[click.Parameter]:
    """Fresh instances of the options that every command has."""

    def option(name: str, *spellings: str, **more: Any) -> GlobalOption:
        return GlobalOption([f"global_{name}", *spellings], expose_value=False, callback=_keep(name), **more)

    def switch(name: str, *spellings: str, help: str, **more: Any) -> GlobalOption:
        return option(name, *spellings, is_flag=True, default=None, help=help, **more)

    def off(context: click.Context, _parameter: click.Parameter, value: bool | None) -> None:
        if value and not context.resilient_parsing:
            flags_of(context)["progress"] = False

    return [
        option("store", "--store", type=SettingType("store", "DIR"), metavar="DIR",
               help=f"The artifact store. {environment_note('store')}"),
        option("config", "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
               help="Read this configuration file and no other. [EVMAOT_CONFIG]"),
        switch("json", "--json", help="One JSON document on stdout."),
        switch("plain", "--plain", help=f"Plain text, as in a pipe. {environment_note('plain')}"),
        switch("quiet", "-q", "--quiet", help="Only data and failures."),
        option("verbose", "-v", "--verbose", count=True, help="More words; -vv with tracebacks."),
        option("color", "--color", type=click.Choice(config.COLORS), metavar="WHEN",
               help=f"auto, always or never. {environment_note('color')}"),
        GlobalOption(["global_progress", "--no-progress"], is_flag=True, default=None, expose_value=False,
                     callback=off, help=f"No progress display. {environment_note('progress')}"),
        switch("read_only", "--read-only", help=f"Write nothing to the store. {environment_note('read_only')}"),
        option("lock_timeout_seconds", "--lock-timeout", type=SettingType("lock_timeout_seconds", "TIME"),
               metavar="TIME", help=f"Wait so long for other processes. {environment_note('lock_timeout_seconds')}"),
        GlobalOption(["global_version", "--version"], is_flag=True, is_eager=True, expose_value=False,
                     callback=_print_version, help="Print the version."),
    ]  # fmt: skip


class _GlobalHelp(click.Command):
    """A command with the global options, in a section of their own in its help."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        settings = options.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["-h", "--help"])
        super().__init__(*arguments, **options)
        self.params = [*self.params, *global_options()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, then the global ones, then (of a group) its commands."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                is_help = "--help" in parameter.opts
                (shared if isinstance(parameter, GlobalOption) or is_help else own).append(record)
        for title, records in (("Options", own), ("Global options", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples of the manual, for a verb that has some."""
        from evmaot.cli.manual import EXAMPLES

        name = verb_of(ctx)
        if name in EXAMPLES:
            with formatter.section("Examples"):
                for example, meaning in EXAMPLES[name]:
                    formatter.write_text(meaning)
                    # Not write_text: a command that is broken into lines cannot be copied.
                    formatter.write(f"{'':>{formatter.current_indent + 2}}{example}\n")
        super().format_epilog(ctx, formatter)


class Verb(_GlobalHelp):
    """A command."""


class VerbGroup(_GlobalHelp, click.Group):
    """A command with commands of its own."""

    command_class = Verb

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, then commands."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)
