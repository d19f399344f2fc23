"""The table of input problems: one row per name.

Job: stable names with their severity and advice, and the one constructor of `Problem`.
Invariant: every text of a problem or label is printable and bounded, whatever the input held (a
label from a chain dump must not write to somebody's terminal).  May import: inputs.source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evmaot.inputs.source import Problem, Severity

MAX_TEXT_LENGTH = 400
ADDRESS_HINT = "an address is 0x and 40 hexadecimal digits, in lower case or with its checksum"


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """What is the same for every problem of one name."""

    severity: Severity
    hint: str | None = None
    in_directory: Severity = "error"
    """Severity where a directory was searched and nobody named this file; matters for errors only."""


_ERROR: Severity = "error"
_SKIP: Severity = "skip"

PROBLEMS: Mapping[str, ProblemRow] = {
    # The file.
    "not_found": ProblemRow(_ERROR, "check the path"),
    "unreadable": ProblemRow(_ERROR, "check the file and its permissions"),
    "stdin_used_twice": ProblemRow(_ERROR, "name - only once"),
    "list_too_deep": ProblemRow(_ERROR, "a list should not name itself, nor lists of lists of lists"),
    "too_large": ProblemRow(_ERROR, "split it, or write it with one JSON record per line"),
    "line_too_long": ProblemRow(_ERROR, "leave storage out of the dump (geth dump --iterative --nostorage)"),
    "too_many_bad_lines": ProblemRow(_ERROR, "check that the file has one JSON value per line"),
    "bad_compression": ProblemRow(_ERROR, "the file is damaged or incomplete: fetch or write it again"),
    "not_utf8": ProblemRow(_ERROR, "save the text as UTF-8, or name the format of a binary file: --format raw", _SKIP),
    "bad_json": ProblemRow(_ERROR, "the file is damaged or incomplete: write it again"),
    # The format.
    "unknown_format": ProblemRow(_ERROR, "name the format with --format, if it has one of them", _SKIP),
    "archive": ProblemRow(_ERROR, "unpack it (tar xf, unzip), and give the directory", _SKIP),
    "wrong_format": ProblemRow(_ERROR, "leave --format out to have the format recognised", _SKIP),
    "source_code": ProblemRow(_ERROR, "compile it first (forge build, solc, vyper), then give the output", _SKIP),
    "bad_shape": ProblemRow(_ERROR, "write the file again with the tool that made it"),
    "assembly_error": ProblemRow(_ERROR),
    "compilation_failed": ProblemRow(_ERROR, "fix the source and compile it again"),
    "rpc_error": ProblemRow(_ERROR, "ask the node again"),
    # The node.
    "rpc_unreachable": ProblemRow(_ERROR, "check the URL, that the node runs, and HTTPS_PROXY and NO_PROXY"),
    "rpc_timeout": ProblemRow(_ERROR, "allow more time with --rpc-timeout, or ask for less with --rpc-batch"),
    "rpc_unauthorized": ProblemRow(_ERROR, "check the key in the URL (EVMAOT_RPC_URL)"),
    "rpc_rate_limited": ProblemRow(_ERROR, "go slower with --rpc-rate, or be more patient with --rpc-retries"),
    "rpc_http_error": ProblemRow(_ERROR, "check the URL: it has to be that of JSON-RPC over HTTP"),
    "rpc_bad_reply": ProblemRow(_ERROR, "check the URL: it has to be that of JSON-RPC over HTTP"),
    "rpc_truncated": ProblemRow(_ERROR, "try again; a smaller --rpc-batch may help"),
    "rpc_reply_too_large": ProblemRow(_ERROR, "ask for less at a time with --rpc-batch"),
    "unknown_block": ProblemRow(_ERROR, "check the number, and the chain that the node follows"),
    "bad_address": ProblemRow(_ERROR, ADDRESS_HINT),
    "bad_checksum": ProblemRow(_ERROR, ADDRESS_HINT),
    "too_many_proxies": ProblemRow(_ERROR, "give the implementation's address itself"),
    "no_code_at_address": ProblemRow(_SKIP, "check the address, the chain and the block"),
    # The code.
    "odd_hex": ProblemRow(_ERROR, "a byte has two digits: the text may be cut off"),
    "not_hex": ProblemRow(_ERROR, "give hexadecimal digits, with or without 0x; for a file of raw bytes: --format raw"),
    "empty_code": ProblemRow(_ERROR, "give at least one byte of runtime code"),
    "code_too_long": ProblemRow(_ERROR, "check that it is the code of one contract"),
    "unlinked": ProblemRow(_ERROR, "link the libraries first (solc --link, or the framework's library settings)"),
    "eof_code": ProblemRow(_ERROR, "compile for the legacy EVM: no fork runs the EVM object format"),
    "invalid_ef_code": ProblemRow(_ERROR, "code that begins with 0xEF cannot be deployed since EIP-3541"),
    "runtime_code_missing": ProblemRow(_ERROR, "ask the compiler for the runtime code (evm.deployedBytecode)"),
    "init_code_only": ProblemRow(
        _ERROR,
        "give an artifact with the runtime code, fetch the deployed code, or run it: evmaot build --from-init",
        _SKIP,
    ),
    "constructor_failed": ProblemRow(
        _ERROR, "give an artifact with the runtime code, or fetch the deployed code", _SKIP
    ),
    "no_runtime_code": ProblemRow(_SKIP),
    "no_code": ProblemRow(_SKIP),
    "denied": ProblemRow(_SKIP, "take it off the list of --deny"),
    "over_limit": ProblemRow(_SKIP, "raise --limit"),
    "delegation": ProblemRow(_SKIP, "give the code of the account it delegates to"),
    "blueprint": ProblemRow(_SKIP, "give a contract that was created from it"),
}
"""Row by name.  Names are part of the machine output: they are added, never changed."""


def make_problem(
    code: str,
    subject: str,
    message: str,
    *,
    cause: str | None = None,
    hint: str | None = None,
    severity: Severity | None = None,
    from_directory: bool = False,
) -> Problem:
    """A problem of the table; `severity` and `hint` override its row.  KeyError if the name has none."""
    row = PROBLEMS[code]
    default = row.in_directory if from_directory and row.severity == "error" else row.severity
    hint = row.hint if hint is None else hint
    return Problem(
        code=code,
        severity=severity or default,
        subject=clean_text(subject),
        message=clean_text(message),
        hint=None if hint is None else clean_text(hint),
        cause=None if cause is None else clean_text(cause),
    )


def clean_text(text: str) -> str:
    """The text with everything unprintable escaped, cut to `MAX_TEXT_LENGTH` characters."""
    if len(text) > MAX_TEXT_LENGTH:
        text = text[: MAX_TEXT_LENGTH - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
