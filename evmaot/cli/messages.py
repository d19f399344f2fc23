"""The message that `run` and `bench` execute: its options, and the scenario that they describe.

Job: one definition of the options, and from them to a `Scenario`.  May import: `evmaot.execution`, `evmaot.cli`, click.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evmaot.cli.invocation import AnyCommand, Invocation
from evmaot.cli.options import StoredName, fork_option
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import Scenario
    from evmaot.evm.forks import Fork

_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """What the command line says of the message; names are those of `message_options`."""

    code: str | None
    calldata: str
    gas: str | None
    value: str
    fork: Fork | None
    sender: str | None
    recipient: str | None
    prestate: Path | None
    block_env: Path | None
    transaction: Path | None
    contract: str | None


def message_options() -> Callable[[AnyCommand], AnyCommand]:
    """The options that describe a message, passed under the names of `MessageOptions`."""
    options = (
        click.argument("code", required=False, type=StoredName()),
        click.option("--calldata", default="", metavar="HEX", help="Input of the message."),
        click.option("--gas", metavar="N", help="Gas of the message; 1,000,000,000 where nothing says otherwise."),
        click.option("--value", default="0", metavar="N", help="Value in wei."),
        fork_option("Rules; the default fork where none is given."),
        click.option("--from", "sender", metavar="ADDRESS", help="Sender and origin."),
        click.option("--to", "recipient", metavar="ADDRESS", help="Account that runs; with CODE, its code is CODE."),
        click.option("--prestate", type=_FILE, metavar="FILE", help="Accounts before the message, as JSON."),
        click.option("--block-env", type=_FILE, metavar="FILE", help="Values of the block, as JSON."),
        click.option(
            "--transaction",
            type=_FILE,
            metavar="FILE",
            help="Run the transaction of a state test or benchmark with its prestate and block.",
        ),
        click.option("--contract", metavar="GLOB", help="Which contract of a file that holds several."),
    )

    def add(body: AnyCommand) -> AnyCommand:
        for option in reversed(options):
            body = option(body)
        return body

    return add


def rules_of(options: MessageOptions) -> Fork:
    """The fork of the message."""
    from evmaot.evm.forks import DEFAULT_FORK, fork_named

    return options.fork or fork_named(DEFAULT_FORK)


def requested_scenario(
    invocation: Invocation, programs: Sequence[RunPrograms], options: MessageOptions
) -> tuple[Scenario, str | None]:
    """What the options ask for, and the transaction's name where it has one.  Raises UsageError, InputError."""
    from evmaot.cli.scenario import load_json, parse_number, transaction_scenario

    limit = None if options.gas is None else parse_number(options.gas, "--gas", 1 << 63)
    if options.transaction is None:
        return _described(invocation, programs, options, limit), None
    described = (options.code, options.recipient, options.sender, options.prestate, options.block_env, options.calldata)
    if any(described) or options.value != "0":
        hint = "leave out CODE and the options that describe a message; --gas and --fork may stay"
        raise UsageError("two_messages", "--transaction describes the whole message", hint=hint)
    return transaction_scenario(load_json(options.transaction, "the transaction"), rules_of(options), limit)


def _described(
    invocation: Invocation, programs: Sequence[RunPrograms], options: MessageOptions, gas: int | None
) -> Scenario:
    """The scenario of CODE and the options."""
    from evmaot.cli import scenario as parts
    from evmaot.cli.one_code import one_code
    from evmaot.execution.prestate import Prestate

    code, fork = options.code, rules_of(options)
    if code is None and options.recipient is None:
        verb = invocation.verb
        hint = f"give CODE, or --to with --prestate, or --transaction; see: evmaot {verb} --help"
        raise UsageError("nothing_to_run", f"there is nothing to {verb}", hint=hint)
    before = parts.load_prestate(options.prestate) if options.prestate else Prestate()
    if options.block_env is not None:
        block = parts.parse_block(parts.load_json(options.block_env, "the block environment"))
    else:
        block = parts.load_block_of_prestate(options.prestate) if options.prestate else parts.Block()
    if block.ignored:
        text = f"warning: not used: {', '.join(block.ignored)} ({options.block_env})"
        invocation.output.warn(text, style="yellow")
    call = parts.Call(
        sender=parts.DEFAULT_SENDER if options.sender is None else parts.parse_address(options.sender, "--from"),
        recipient=parts.DEFAULT_RECIPIENT
        if options.recipient is None
        else parts.parse_address(options.recipient, "--to"),
        input=parts.parse_bytes(options.calldata, "--calldata"),
        gas=parts.DEFAULT_GAS if gas is None else gas,
        value=parts.parse_number(options.value, "--value"),
    )
    if code is None:
        if call.recipient not in before.accounts:
            text = f"the prestate has no account {options.recipient}"
            raise UsageError("no_such_account", text, hint="see --prestate")
        return parts.scenario(fork, call, before, block)
    if names_artifact(code):
        stand_ins = [one.artifact(code[2:].lower(), fork) for one in programs]
        return parts.scenario(fork, call, before, block, *stand_ins[0])
    return parts.scenario(fork, call, before, block, one_code(invocation, code, options.contract))


def names_artifact(code: str | None) -> bool:
    """Whether CODE is a whole code hash."""
    return code is not None and re.fullmatch(r"0[xX][0-9a-fA-F]{64}", code) is not None


def ending(status: str, failure: str | None) -> str:
    """How a message ended, in words."""
    return f"{status} ({failure})" if failure else status
