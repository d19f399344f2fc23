"""`evmaot fetch`: codes of accounts from a node to a dump, for builds without the node.

Job: accounts to lines of JSON on stdout or in a file, problems in words.  Invariant: the file appears when it is
whole.  May import: `evmaot.build_inputs`, `evmaot.inputs`, `evmaot.cli`, click.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from evmaot.cli.files import check_replaceable, replaced_file
from evmaot.cli.invocation import Invocation, Verb, pass_invocation
from evmaot.cli.options import node_options
from evmaot.cli.output import counted
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.inputs.source import Problem

PARTIAL, EMPTY = 3, 7
"""Exit codes (see `evmaot.cli.failures.EXIT_CODES`)."""


@click.command("fetch", cls=Verb)
@click.argument("addresses", nargs=-1, metavar="ADDRESS...")
@node_options()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the dump to a file."
)
@click.option("--error-if-empty", is_flag=True, help="Exit with 7 where no account has code.")
@click.pass_context
@pass_invocation
def command(
    invocation: Invocation,
    context: click.Context,
    addresses: tuple[str, ...],
    block: str,
    follow_proxies: bool,
    output: Path | None,
    error_if_empty: bool,
) -> None:
    """Fetch the code of accounts from a node, for later builds without it.

    An ADDRESS is an address, or @LIST for a file with one per line. The dump has one JSON object a line, with the
    address, the code, and the block and chain that it is of; evmaot build reads it.

    All codes are of one block. --follow-proxies adds what proxies (EIP-1167, EIP-1967) and delegations (EIP-7702) run.
    """
    from evmaot.build_inputs import Gathered
    from evmaot.cli.build_summary import MOST_FAILURES, problem_error
    from evmaot.cli.failures import problem as problem_data
    from evmaot.cli.failures import say
    from evmaot.cli.node import node_accounts
    from evmaot.inputs.live.contracts import dump_line
    from evmaot.inputs.source import Problem

    if invocation.output.as_json and output is None:
        hint = "evmaot fetch --json -o FILE ... (the dump itself is JSON, one object a line)"
        raise UsageError("no_output_file", "--json is about the dump, which needs a file", hint=hint)
    if output is not None:
        check_replaceable(output)
    _, accounts = node_accounts(invocation.settings, addresses, block, follow_proxies=follow_proxies)
    found = Gathered()  # it keeps a bounded number of problems
    count, last = 0, None
    with _written(output) as stream:
        for account in accounts:
            if isinstance(account, Problem):
                found.note(account)
                continue
            stream.write(dump_line(account) + "\n")
            count, last = count + 1, account
    problems = found.problems
    errors = [item for item in problems if item.severity == "error"]
    if invocation.output.as_json:
        data = {
            "output": str(output),
            "accounts": count,
            "block_number": last.block_number if last else None,
            "chain_id": last.chain_id if last else None,
        }
        rows = [problem_data(problem_error(item), item.severity) for item in problems]
        invocation.output.document("fetch", data, rows, not errors)
    for item in errors[:MOST_FAILURES]:
        say(problem_error(item), invocation.output)
    if len(errors) > MOST_FAILURES:
        invocation.output.warn(f"error: {len(errors) - MOST_FAILURES:,} more; --json has them")
    _tell(invocation, count, [item for item in problems if item.severity != "error"], found.omitted.total())
    if last is not None:
        where = f" of chain {last.chain_id}" if last.chain_id is not None else ""
        invocation.output.say(f"the codes are of block {last.block_number}{where}")
    context.exit(PARTIAL if errors else EMPTY if error_if_empty and not count else 0)


def _tell(invocation: Invocation, count: int, skipped: list[Problem], omitted: int) -> None:
    output = invocation.output
    output.say(f"fetched {counted(count, 'account')} with code")
    for item in skipped[:3] if not output.verbosity else skipped:
        output.say(f"skipped: {item.message} [{item.code}]")
    if len(skipped) > 3 and not output.verbosity:
        output.say(f"skipped {len(skipped) - 3 + omitted:,} more; -v shows them")
    elif omitted:
        output.say(f"and {omitted:,} more")


def _written(path: Path | None) -> contextlib.AbstractContextManager[TextIO]:
    """The file at `path`; stdout without a path."""
    return contextlib.nullcontext(sys.stdout) if path is None else replaced_file(path)
