"""From what the user names to files: paths, directories, `-`, and `@list` files.

Job: deterministic order, bounded depth, a named problem for what isn't there.  Invariant: nothing is
opened here but directories and lists.  May import: inputs.{problems,sniff,source,streams}.

In a directory these are read, in the order of their names, subdirectories in place: regular files
with a known suffix (`SUFFIXES`, also compressed).  These are not: hidden ones, `node_modules` and
`cache` directories, links to directories, `*.dbg.json`, configuration of JavaScript tools, and solc's
`X.bin` (init code) where `X.bin-runtime` is beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evmaot.inputs.problems import make_problem
from evmaot.inputs.sniff import plain_suffix
from evmaot.inputs.source import InputLimits, Problem

STANDARD_INPUT = "-"
SUFFIXES = (".json", ".jsonl", ".ndjson", ".hex", ".bin", ".bin-runtime", ".evm", ".txt", ".asm")
SKIPPED_DIRECTORIES = ("node_modules", "cache")
SKIPPED_NAMES = ("package.json", "package-lock.json", "composer.json", "deno.json", "jsconfig.json")
SKIPPED_PREFIXES = (".", "tsconfig")
SKIPPED_SUFFIXES = (".dbg.json",)

_LIST_SIZE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read."""

    path: str
    from_directory: bool = False
    is_stdin: bool = False
    """The path alone doesn't tell: a file may have the name `-`."""


Found: TypeAlias = "InputFile | Problem"


def find_files(inputs: Sequence[str | os.PathLike[str]], limits: InputLimits) -> Iterator[Found]:
    """The files behind the inputs, in order.  Only a str can be `-` or `@list`, a path object is a path."""
    for given in inputs:
        if isinstance(given, str):
            yield from _find(given, limits, 0)
        else:
            yield from _find_path(os.fspath(given))


def _find(given: str, limits: InputLimits, depth: int) -> Iterator[Found]:
    if given == STANDARD_INPUT:
        yield InputFile(given, is_stdin=True)
    elif given.startswith("@"):
        yield from _find_listed(given[1:], limits, depth)
    else:
        yield from _find_path(given)


def _find_path(path: str) -> Iterator[Found]:
    try:
        is_directory = os.path.isdir(path)
        exists = is_directory or os.path.exists(path)
    except ValueError:  # a NUL in the path
        is_directory = exists = False
    if is_directory:
        yield from _walk(path)
    elif exists:
        yield InputFile(path)
    else:
        yield _not_found(path)


def _not_found(path: str) -> Problem:
    hint = None
    if path[:2] in ("0x", "0X"):
        hint = "to compile a code that is written out, pipe it: printf %s 0x6000 | evmaot build -"
    elif path.lower().startswith(("http://", "https://")):
        hint = "a file of the web has to be downloaded first; a node is asked with --rpc URL --address A"
    return make_problem("not_found", path, "there is no such file or directory", hint=hint)


def _find_listed(path: str, limits: InputLimits, depth: int) -> Iterator[Found]:
    """The inputs of a list file: one per line, `#` begins a comment line."""
    if depth >= limits.list_depth:
        yield make_problem("list_too_deep", f"@{path}", f"lists inside lists, {depth} deep")
        return
    try:
        with open(path, "rb") as file:
            data = file.read(_LIST_SIZE_BYTES + 1)
        if len(data) > _LIST_SIZE_BYTES:
            yield make_problem("too_large", f"@{path}", f"a list of more than {_LIST_SIZE_BYTES} bytes")
            return
    except FileNotFoundError:
        yield make_problem("not_found", f"@{path}", "there is no such list of inputs")
        return
    except (OSError, ValueError) as error:
        yield make_problem("unreadable", f"@{path}", "the list of inputs cannot be read", cause=_cause(error))
        return
    for line in os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield from _find(entry, limits, depth + 1)


def _walk(root: str) -> Iterator[Found]:
    """The files below a directory, depth first; a stack of its own, since paths may be deep."""
    stack = [(root, True)]
    while stack:
        path, is_directory = stack.pop()
        if not is_directory:
            yield InputFile(path, from_directory=True)
            continue
        try:
            with os.scandir(path) as entries:
                chosen = _choose(list(entries))
        except OSError as error:
            yield make_problem("unreadable", path, "the directory cannot be read", cause=_cause(error))
            continue
        stack.extend((os.path.join(path, name), is_dir) for name, is_dir in sorted(chosen, reverse=True))


def _choose(entries: list[os.DirEntry[str]]) -> list[tuple[str, bool]]:
    """What of a directory is read, by the rules in the head of this file: name, and whether a directory."""
    names = {entry.name for entry in entries}
    chosen = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is(entry.is_dir):
            if entry.name not in SKIPPED_DIRECTORIES and not entry.is_symlink():
                chosen.append((entry.name, True))
        elif _is(entry.is_file) and _is_read(entry.name, names):
            chosen.append((entry.name, False))
    return chosen


def _is(question: Callable[[], bool]) -> bool:
    """The answer; no for what can't be told, such as a link in a circle."""
    try:
        return question()
    except OSError:
        return False


def _is_read(name: str, beside: set[str]) -> bool:
    if name in SKIPPED_NAMES or name.startswith(SKIPPED_PREFIXES) or name.endswith(SKIPPED_SUFFIXES):
        return False
    if name.endswith(".bin") and f"{name}-runtime" in beside:
        return False
    return plain_suffix(name) in SUFFIXES


def _cause(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
