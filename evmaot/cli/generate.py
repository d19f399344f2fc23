"""Man pages, completion scripts, JSON Schemas and the C header, generated from the commands and the ABI's rows.

Job: `python -m evmaot.cli.generate` writes `man/`, `completions/`, `evmaot/schemas/` and `evmaot/abi/evmaot.h`; with
`--check` it compares and fails when one is stale.  Invariant: the same commands and manual give the same bytes; no
clock, no environment.  May import: click, `evmaot.abi`, `evmaot.cli`, `evmaot.config`, `evmaot.store.paths`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from evmaot import config
from evmaot.abi.header import c_header
from evmaot.cli import manual, roff
from evmaot.cli.failures import EXIT_CODES
from evmaot.cli.invocation import GlobalOption
from evmaot.cli.root import VERBS, root
from evmaot.cli.schemas import all_schemas
from evmaot.cli.verbs.completion import SHELLS, script
from evmaot.version import VERSION

SOURCE = f"evmaot {VERSION}"
_HEADER = "evmaot/abi/evmaot.h"
_FOLDERS = ("completions", "evmaot/schemas", "man")
"""Whose every file is generated."""


def page_names() -> list[str]:
    """What `evmaot man` takes: ``evmaot``, every verb, ``store``."""
    return ["evmaot", *VERBS, "store"]


def page_file(name: str) -> str:
    """File name of a page."""
    return {"evmaot": "evmaot.1", "store": "evmaot-store.5"}.get(name, f"evmaot-{name}.1")


def page(name: str) -> str:
    """A manual page as man(7) text.  `name` is one of `page_names()`."""
    rows = {"evmaot": _main_page, "store": _store_page}.get(name, lambda: _verb_page(name))()
    return "\n".join(rows) + "\n"


def _context(name: str) -> click.Context:
    """A context of the root, or of one verb."""
    top = _made(root, "evmaot", None)
    if name == "evmaot":
        return top
    command = root.get_command(top, name)
    if command is None:
        raise AssertionError(f"no verb {name}")
    return _made(command, name, top)


def _made(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # With the command's own settings, as a parse makes it: click remembers what it derives from the first context.
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _help_text(command: click.Command) -> str:
    """A command's help in the form that `roff.paragraphs` reads: literal blocks are indented."""
    blocks = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        rows = block.split("\n")
        if rows[0].strip() == "\b":
            rows = ["  " + row for row in rows[1:]]
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def _synopsis(context: click.Context) -> list[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return [f".B {roff.escaped(context.command_path)}", roff.escaped(pieces)]


def _options(context: click.Context, *, shared: bool) -> list[tuple[str, str]]:
    """Help records of a command's options, either its own or those of all commands."""
    records = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        general = isinstance(parameter, GlobalOption) or "--help" in parameter.opts
        if record is not None and general is shared and isinstance(parameter, click.Option):
            records.append(record)
    return records


def _name(name: str, summary: str) -> list[str]:
    return [
        roff.heading("name"),
        f"{roff.escaped(name)} \\- {roff.escaped(summary[:1].lower() + summary[1:].rstrip('.'))}",
    ]


def _settings_environment(names: Sequence[str]) -> list[tuple[str, str]]:
    rows = [config.ROWS[name] for name in names]
    return [(row.variable, f"{row.document[:1].upper()}{row.document[1:]}. File key {row.key}.") for row in rows]


def _see_also(names: Sequence[str]) -> list[str]:
    out = [roff.heading("see also")]
    for index, name in enumerate(names):
        page_name, section = page_file(name).rsplit(".", 1)
        comma = "," if index < len(names) - 1 else ""
        out.append(f".BR {roff.escaped(page_name)} ({section}){comma}")
    return out


def _main_page() -> list[str]:
    context = _context("evmaot")
    exit_codes = [(str(code), meaning[:1].upper() + meaning[1:] + ".") for code, meaning in EXIT_CODES.items()]
    verbs = [(f"evmaot-{row.name}(1)", row.summary) for row in VERBS.values()]
    return [
        roff.title("evmaot", 1, manual.PAGE_DATE, SOURCE),
        *_name("evmaot", root.help or ""),
        roff.heading("synopsis"),
        *_synopsis(context),
        roff.heading("description"),
        *roff.paragraphs(manual.DESCRIPTION),
        roff.heading("commands"),
        *roff.definitions(verbs),
        roff.heading("options"),
        *roff.paragraphs("Every command takes these options; they work before and after its name."),
        *roff.definitions(_options(context, shared=True)),
        roff.heading("environment"),
        *roff.definitions([*_settings_environment(list(config.ROWS)), *manual.ENVIRONMENT]),
        roff.heading("files"),
        *roff.definitions(manual.FILES),
        roff.heading("exit status"),
        *roff.definitions(exit_codes),
        roff.heading("examples"),
        *roff.examples(manual.EXAMPLES["evmaot"]),
        roff.heading("security"),
        *roff.paragraphs(manual.SECURITY),
        *_see_also([*VERBS, "store"]),
    ]


def _verb_page(name: str) -> list[str]:
    context = _context(name)
    command = context.command
    out = [
        roff.title(f"evmaot-{name}", 1, manual.PAGE_DATE, SOURCE),
        *_name(f"evmaot-{name}", VERBS[name].summary),
        roff.heading("synopsis"),
        *_synopsis(context),
        roff.heading("description"),
        *roff.paragraphs(_help_text(command)),
    ]
    if isinstance(command, click.Group):
        out.append(roff.heading("commands"))
        for child_name, child in command.commands.items():
            inner = _made(child, child_name, context)
            out += [roff.subheading(f"evmaot {name} {' '.join([child_name, *child.collect_usage_pieces(inner)])}")]
            out += [*roff.paragraphs(_help_text(child)), *roff.definitions(_options(inner, shared=False))]
    own = _options(context, shared=False)
    out.append(roff.heading("options"))
    out += roff.definitions(own)
    out += [".PP"] if own else []
    out += ["The options of all commands are described in", ".BR evmaot (1)."]
    if name == "config":
        out.append(roff.heading("keys"))
        out += roff.definitions(_key_rows())
    for title, text in manual.VERB_SECTIONS.get(name, {}).items():
        out += [roff.heading(title), *roff.paragraphs(text)]
    out += [roff.heading("exit status"), "As in", ".BR evmaot (1)."]
    out += [roff.heading("examples"), *roff.examples(manual.EXAMPLES[name])]
    return [*out, *_see_also(["evmaot", "store"])]


def _key_rows() -> list[tuple[str, str]]:
    defaults = config.Settings(store=Path("~/.cache/evmaot/store"))
    rows = []
    for name, row in config.ROWS.items():
        value = config.spelled(name, getattr(defaults, name)) or "none"
        place = "" if row.in_project else " Not in a project's evmaot.toml."
        rows.append((row.key, f"{row.document[:1].upper()}{row.document[1:]}. Default: {value}.{place}"))
    return rows


def _store_page() -> list[str]:
    from evmaot.store import paths

    tree = [line for line in (paths.__doc__ or "").split("\n") if line.startswith("    ")]
    out = [
        roff.title("evmaot-store", 5, manual.PAGE_DATE, SOURCE),
        *_name("evmaot-store", "the artifact store of evmaot"),
    ]
    for title, text in manual.STORE_SECTIONS.items():
        out += [roff.heading(title), *roff.paragraphs(text)]
        if title == "DESCRIPTION":
            out += [roff.heading("layout"), ".nf", *(roff.escaped(line[2:]) for line in tree), ".fi"]
    out += [roff.heading("files"), *roff.definitions(manual.FILES[:1])]
    out += [roff.heading("security"), *roff.paragraphs(manual.SECURITY)]
    return [*out, *_see_also(["evmaot", "build", "ls", "verify", "clear"])]


def outputs() -> dict[str, str]:
    """Every generated file: path below the repository's root, and text.  Pages are where `man -M man` finds them."""
    files = {f"completions/{file_name}": script(shell) for shell, file_name in SHELLS.items()}
    for name in page_names():
        file_name = page_file(name)
        files[f"man/man{file_name[-1]}/{file_name}"] = page(name)
    for name, schema in all_schemas().items():
        files[f"evmaot/schemas/{name}.json"] = json.dumps(schema, indent=1) + "\n"
    return files | {_HEADER: c_header()}


def stale(directory: Path) -> list[str]:
    """Generated files below `directory` that are absent, different or left over."""
    expected = outputs()
    paths = [path for folder in _FOLDERS for path in (directory / folder).rglob("*") if path.is_file()]
    paths += [path for path in (directory / _HEADER,) if path.exists()]
    found = {path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or compare them with --check.  Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evmaot.cli.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing, fail when stale")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parents[2], help="the repository's root")
    options = parser.parse_args(arguments)
    names = stale(options.directory)
    if options.check:
        for name in names:
            sys.stderr.write(f"stale: {name}; run: python -m evmaot.cli.generate\n")
        return 1 if names else 0
    expected = outputs()
    for name in names:
        path = options.directory / name
        if name in expected:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[name], encoding="utf-8")
        else:
            path.unlink()
        sys.stderr.write(f"{'wrote' if name in expected else 'removed'} {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
