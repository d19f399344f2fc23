"""Failures as people and programs read them.

Job: every exception to `error: what failed (subject) [code]`, `cause:`, `effect:`, `hint:` on
stderr, to a problem of the JSON documents, and to an exit code.  Invariants: no traceback without
-vv; an EVM outcome is no failure.  May import: `evmaot.errors`, click, `evmaot.cli.output`.
"""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from evmaot.cli.output import Output, styled
from evmaot.errors import CompilerBug, EvmaotError, UsageError

EXIT_CODES = {
    0: "success",
    1: "internal error, the machine refused something, or results differ (bench)",
    2: "usage or configuration",
    3: "partial: some inputs failed, the rest are stored",
    4: "corruption found, or damage that --repair could only move aside",
    5: "untrusted or unsigned",
    6: "could not check, or could not load",
    7: "nothing matched (with --error-if-empty)",
    73: "the store cannot be written or is not there, or the disk is full",
    75: "busy: another process holds a lock, try again",
    77: "refused by trust policy",
    130: "interrupted (SIGINT)",
    143: "terminated (SIGTERM)",
}
"""Exit codes of every command; stable."""

_SUBJECTS = ("subject", "path", "file", "input", "label", "key", "code_hash")
_PACKAGE = Path(__file__).parents[1]
_DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}


def subject_of(error: EvmaotError) -> str | None:
    """What the failure is about: the first of the usual names in its context."""
    for name in _SUBJECTS:
        value = error.context.get(name)
        if value:
            return str(value)
    return None


def problem(error: EvmaotError, severity: str = "error") -> dict[str, Any]:
    """The failure as an entry of `problems` in a JSON document."""
    return {
        "code": error.reference,
        "severity": severity,
        "subject": subject_of(error),
        "message": error.message,
        "cause": error.cause,
        "hint": error.hint,
    }


def lines(error: EvmaotError, severity: str = "error") -> list[tuple[str, str]]:
    """The failure as (label, text) lines; empty ones are left out."""
    subject = subject_of(error)
    about = f" ({subject})" if subject and subject not in error.message else ""
    effect = error.context.get("effect")
    rows = [
        (severity, f"{error.message}{about} [{error.reference}]"),
        ("cause", error.cause),
        ("effect", str(effect) if effect else None),
        ("hint", error.hint),
    ]
    return [(label, text) for label, text in rows if text]


def as_evmaot_error(error: BaseException) -> tuple[EvmaotError, int]:
    """Any exception as an EvmaotError and the exit code it means."""
    if isinstance(error, EvmaotError):
        return error, error.exit_code
    if isinstance(error, click.ClickException):
        return _usage(error), 2
    if isinstance(error, OSError) and error.errno is not None:
        context = {"subject": error.filename} if error.filename else {}
        cause = errno.errorcode.get(error.errno)
        wrapped = EvmaotError("os_error", str(error.strerror or error).lower(), context=context, cause=cause)
        return wrapped, 73 if error.errno in _DISK_ERRORS else 1
    kind = "compiler bug" if isinstance(error, CompilerBug) else "internal error"
    text = " ".join(str(error).split())[:300]
    return (
        EvmaotError(
            "compiler_bug" if isinstance(error, CompilerBug) else "internal",
            f"{kind}: {type(error).__name__}: {text}" if text else f"{kind}: {type(error).__name__}",
            context={"subject": _place(error)},
            hint="this is a fault of evmaot: run again with -vv for the traceback, and report both",
        ),
        1,
    )


def _usage(error: click.ClickException) -> UsageError:
    message = error.format_message().strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    possible = getattr(error, "possibilities", None)
    context = getattr(error, "ctx", None)
    hint = None
    if possible:
        message = message.split(" Did you mean")[0].split(" (Did you mean")[0].rstrip(".?")
        hint = "did you mean " + " or ".join(sorted(possible)) + "?"
    elif context is not None:
        hint = f"see: {context.command_path} --help"
    return UsageError("usage", message, hint=hint)


def _place(error: BaseException) -> str | None:
    """The last place in our own code where the exception passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            return f"{path.relative_to(_PACKAGE.parent).as_posix()}:{frame.lineno}"
    return None


def report(error: BaseException, output: Output, verb: str) -> int:
    """Tell the failure: words on stderr, a document on stdout with --json.  Returns the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later: the message is the help
        sys.stderr.write(str(error) + "\n")
        return 2
    known, code = as_evmaot_error(error)
    if output.as_json:
        # A full disk under stdout may be the very failure: the words and the exit code still tell it.
        with contextlib.suppress(OSError):
            output.document(verb, None, [problem(known)], ok=False)
    say(known, output)
    if output.verbosity >= 2:
        sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    return code


def say(error: EvmaotError, output: Output, severity: str = "error") -> None:
    """The failure's lines on stderr, --quiet or not."""
    color = output.color(sys.stderr)
    styles = {"error": "error", "warning": "yellow", "hint": "cyan"}
    for label, text in lines(error, severity):
        output.warn(f"{styled(f'{label}:', styles.get(label, 'dim'), color)} {text}")
