"""Files, directories, standard input, dumps -> contracts and named problems, as a stream.

Job: the entry of the input layer.  Invariants: nothing but a wrong format name raises; one bad
contract, line or file never ends the batch; the memory in use is that of one document.  May import:
errors, inputs.*.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO

from evmaot.inputs.context import Context, RunConstructor, ShapeError
from evmaot.inputs.documents import read_documents
from evmaot.inputs.formats.base import Format
from evmaot.inputs.formats.rpc import unwrap
from evmaot.inputs.registry import AUTOMATIC, find_format, recognise, sort_of
from evmaot.inputs.source import ContractSource, InputLimits, Item, Problem
from evmaot.inputs.streams import ReadFailure, open_stream
from evmaot.inputs.unknown import read_unknown
from evmaot.inputs.walk import InputFile, find_files


def read_inputs(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,
    stdin: BinaryIO | None = None,
    limits: InputLimits | None = None,
    allow_unlinked: bool = False,
    run_constructor: RunConstructor | None = None,
) -> Iterator[Item]:
    """The contracts of all inputs, and a problem for each thing that yields none.

    An input is a path, a directory, `-` (`stdin`, by default the process's), or `@list`, a file with
    one input per line.  `format`: a name of `registry.FORMATS` to take every document as that.
    `allow_unlinked`: codes with unlinked libraries are contracts with holes, not problems.  `run_constructor`: what is
    init code alone is run, and what it deploys is the contract.
    Duplicates are not dropped.  UsageError("unknown_format_name"), at once.
    """
    forced = None if format in (None, AUTOMATIC) else find_format(format)
    base = Context("", limits or InputLimits(), allow_unlinked, run_constructor=run_constructor)
    return _read_all(inputs, forced, stdin, base)


def _read_all(
    inputs: Sequence[str | os.PathLike[str]],
    forced: Format | None,
    stdin: BinaryIO | None,
    base: Context,
) -> Iterator[Item]:
    stdin_used = False
    for found in find_files(inputs, base.limits):
        if isinstance(found, Problem):
            yield found
            continue
        context = replace(base, path=found.path, from_directory=found.from_directory)
        if found.is_stdin:
            if stdin_used:
                yield context.problem("stdin_used_twice", "standard input was read already")
                continue
            stdin_used = True
        yield from _read_file(found, context, forced, stdin)


def _read_file(file: InputFile, context: Context, forced: Format | None, stdin: BinaryIO | None) -> Iterator[Item]:
    """The items of one file; if there are none, a problem that says so."""
    empty = True
    try:
        for item in _read_stream(file, context, forced, stdin):
            empty = False
            yield item
    except ReadFailure as failure:
        yield context.problem(failure.code, failure.message, cause=failure.cause, hint=failure.hint)
        return
    if empty:
        yield context.problem("no_code", "there is no contract with code in it")


def _read_stream(file: InputFile, context: Context, forced: Format | None, stdin: BinaryIO | None) -> Iterator[Item]:
    with ExitStack() as stack:
        if file.is_stdin:
            source = stdin if stdin is not None else sys.stdin.buffer
        else:
            source = stack.enter_context(_open(file.path))
        stream = open_stream(source, context.limits, decompress=forced is None or forced.sort != "binary")
        last: Format | None = None
        for document in read_documents(stream, context, forced.sort if forced else None):
            if isinstance(document, Problem):
                yield document
                continue
            place = context.at(f"L{document.line}") if document.line is not None else context
            for value, inner in unwrap(document.value, place):
                last = forced or recognise(value, last)
                yield from _read_value(value, inner, last, recognised=forced is None)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        raise ReadFailure("not_found", "there is no such file") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise ReadFailure("unreadable", "cannot be opened", cause) from None


def _read_value(value: object, context: Context, row: Format | None, *, recognised: bool) -> Iterator[Item]:
    if row is None:
        yield from read_unknown(value, context)
        return
    if row.sort != sort_of(value):
        yield context.problem("wrong_format", f"not {row.sort}, which the format {row.name} needs")
        return
    wrong = f"not a document of the format {row.name}"
    try:
        if recognised or row.sort != "json" or row.recognise(value):
            yield from row.read(value, context)
            return
        items = list(row.read(value, context))
    except ShapeError as fault:
        yield context.problem("wrong_format", f"{wrong}: {fault}")
        return
    # The format was forced.  It may be right all the same, but not if it finds no contract.
    if any(isinstance(item, ContractSource) for item in items):
        yield from items
    else:
        yield context.problem("wrong_format", wrong)
