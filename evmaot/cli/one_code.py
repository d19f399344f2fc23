"""The one code that `dump` and `run` work on.

Job: hex on the command line, or the only (or the named) contract of an input.  May import:
`evmaot.inputs`, `evmaot.cli`.
"""

from __future__ import annotations

import fnmatch
import re

from evmaot.cli.invocation import Invocation
from evmaot.cli.output import counted
from evmaot.errors import InputError, UsageError
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, Problem

_MOST_NAMES = 8


def one_code(invocation: Invocation, text: str, contract: str | None, input_format: str | None = None) -> bytes:
    """The code of ``0x...``, or of one contract of a file, a directory or ``-``.

    `contract` is a glob of labels.  Raises UsageError `several_contracts`, `no_such_contract`, and InputError with
    the input's problem.
    """
    digits = text.strip()
    if re.match(r"0[xX]", digits) and not re.search(r"[./]", digits):
        return _from_hex(digits[2:])
    contracts: list[ContractSource] = []
    problems: list[Problem] = []
    for item in read_inputs([text], format=input_format, allow_unlinked=True):
        if isinstance(item, ContractSource):
            contracts.append(item)
        else:
            problems.append(item)
    distinct = {source.code: source for source in reversed(contracts) if _is_meant(source, contract)}
    if len(distinct) == 1:
        source = next(iter(distinct.values()))
        empty = [hole for hole in source.holes if not any(source.code[hole.offset : hole.offset + hole.length])]
        if empty:
            holes = counted(len(empty), "hole")
            words = (
                f"warning: {source.label} has {holes} (immutables, library addresses) that hold what the file has there"
            )
            invocation.output.warn(words, style="yellow")
        return source.code
    if distinct:
        names = sorted({source.label for source in distinct.values()})
        raise _choose(text, names, len(distinct))
    if contracts:
        names = sorted({source.label for source in contracts})
        hint = f"it has: {_some(names)}"
        raise UsageError("no_such_contract", f"{text} has no contract {contract!r}", hint=hint)
    problem = next((problem for problem in problems if problem.severity == "error"), problems[0])
    message = problem.message if len(problems) == 1 else f"{problem.message}, and {len(problems) - 1} more problems"
    raise InputError(
        problem.code, message, context={"subject": problem.subject}, cause=problem.cause, hint=problem.hint
    )


def _from_hex(digits: str) -> bytes:
    if not digits:
        raise InputError("empty_code", "there is no code", hint="give at least one byte of runtime code")
    if re.fullmatch(r"[0-9a-fA-F]+", digits) is None:
        raise InputError("not_hex", "the code is not hexadecimal", hint="give hexadecimal digits behind 0x")
    if len(digits) % 2:
        raise InputError("odd_hex", f"{len(digits)} hex digits", hint="a byte has two digits: the text may be cut off")
    return bytes.fromhex(digits)


def _is_meant(source: ContractSource, contract: str | None) -> bool:
    if contract is None:
        return True
    return fnmatch.fnmatchcase(source.label, contract) or source.label.rpartition(":")[2] == contract


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _choose(text: str, names: list[str], number: int) -> UsageError:
    return UsageError(
        "several_contracts",
        f"{text} holds {number} contracts",
        cause=f"it has: {_some(names)}",
        hint="choose one with --contract GLOB",
    )
