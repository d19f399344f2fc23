"""`evmaot forks`: the fork table, one fork, or what two forks differ in.

Job: render `evmaot.evm.forks`.  Invariant: nothing here knows a fork by name.  May import:
`evmaot.evm`, `evmaot.cli`, click.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from evmaot.cli.invocation import Invocation, Verb, VerbGroup, pass_invocation
from evmaot.cli.options import ForkType
from evmaot.cli.output import Column
from evmaot.evm.forks import DEFAULT_FORK, FORKS, Fork, ForkParameters
from evmaot.evm.opcodes import OPCODES

_PARAMETERS = tuple(row.name for row in fields(ForkParameters))


def summary(fork: Fork) -> dict[str, Any]:
    """A row of the table, as data."""
    parent = FORKS.get(fork.parent or "")
    defined = [value for value in range(256) if fork.opcode_gas[value] is not None]
    new = [value for value in defined if parent is not None and parent.opcode_gas[value] is None]
    return {
        "name": fork.name,
        "title": fork.title,
        "parent": fork.parent,
        "aliases": list(fork.aliases),
        "eips": list(fork.eips),
        "opcodes": len(defined),
        "new_opcodes": [_mnemonic(value) for value in new],
        "default": fork.name == DEFAULT_FORK,
    }


def details(fork: Fork) -> dict[str, Any]:
    """Everything about a fork, as data: the row, the price of each opcode, the parameters."""
    prices = {_mnemonic(value): gas for value, gas in enumerate(fork.opcode_gas) if gas is not None}
    return {**summary(fork), "opcode_gas": prices, "parameters": _parameters(fork)}


def differences(first: Fork, second: Fork) -> dict[str, Any]:
    """What differs, as data: per opcode and per parameter the value in each."""
    left, right = _parameters(first), _parameters(second)
    return {
        "first": first.name,
        "second": second.name,
        "opcodes": {
            _mnemonic(value): [gas, second.opcode_gas[value]]
            for value, gas in enumerate(first.opcode_gas)
            if gas != second.opcode_gas[value]
        },
        "parameters": {name: [left[name], right[name]] for name in _PARAMETERS if left[name] != right[name]},
    }


def _mnemonic(value: int) -> str:
    row = OPCODES[value]
    return row.mnemonic if row is not None else f"0x{value:02x}"


def _parameters(fork: Fork) -> dict[str, Any]:
    values = {name: getattr(fork.parameters, name) for name in _PARAMETERS}
    return {
        name: [list(pair) for pair in value] if isinstance(value, tuple) else value for name, value in values.items()
    }


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{gas}/{refund}" for gas, refund in value)
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


@click.group("forks", cls=VerbGroup, invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Print the fork table: name, parent, number of opcodes, what came with each fork.

    The names in the first column, and their aliases, are what --fork takes.
    """
    if context.invoked_subcommand is None:
        _print_table()


@pass_invocation
def _print_table(invocation: Invocation) -> None:
    rows = [summary(fork) for fork in FORKS.values()]
    if invocation.output.as_json:
        invocation.output.document("forks", rows)
        return
    columns = (
        Column("FORK"),
        Column("PARENT", drop_rank=2),
        Column("OPCODES", right=True, drop_rank=4),
        Column("NEW OPCODES", shrinks=True, drop_rank=1),
        Column("EIPS", shrinks=True),
        Column("ALIASES", shrinks=True, drop_rank=3),
    )
    cells = [
        (
            row["name"],
            row["parent"] or "-",
            str(row["opcodes"]),
            " ".join(row["new_opcodes"]) or "-",
            ",".join(map(str, row["eips"])) or "-",
            ",".join(row["aliases"]) or "-",
        )
        for row in rows
    ]
    invocation.output.table(columns, cells)
    invocation.output.say(f"the default fork is {DEFAULT_FORK}")


@command.command("show", cls=Verb, short_help="Print one fork.")
@click.argument("fork", type=ForkType())
@pass_invocation
def show(invocation: Invocation, fork: Fork) -> None:
    """Print one fork: parent, EIPs, the price of every opcode, and all parameters.

    In the parameter storage_schedule, each pair is gas/refund of one kind of change of a slot, in
    the order of evmaot.abi.status.StorageStatus.
    """
    output = invocation.output
    data = details(fork)
    if output.as_json:
        output.document("forks.show", data)
        return
    for label, text in (
        ("name", data["name"]),
        ("title", data["title"]),
        ("parent", data["parent"] or "-"),
        ("aliases", ", ".join(data["aliases"]) or "-"),
        ("eips", ", ".join(map(str, data["eips"])) or "-"),
        ("new opcodes", " ".join(data["new_opcodes"]) or "-"),
    ):
        output.data(f"{output.styled(f'{label}:'.ljust(13), 'bold')}{text}")
    output.data("")
    output.table(
        (Column("VALUE"), Column("OPCODE"), Column("GAS", right=True)),
        [
            (f"0x{value:02x}", _mnemonic(value), str(gas))
            for value, gas in enumerate(fork.opcode_gas)
            if gas is not None
        ],
    )
    output.data("")
    output.table(
        (Column("PARAMETER"), Column("VALUE", shrinks=True)),
        [(name, _value(value)) for name, value in data["parameters"].items()],
    )


@command.command("diff", cls=Verb, short_help="Print what two forks differ in.")
@click.argument("first", type=ForkType())
@click.argument("second", type=ForkType())
@pass_invocation
def diff(invocation: Invocation, first: Fork, second: Fork) -> None:
    """Print the opcodes and parameters in which two forks differ; "-" is undefined."""
    output = invocation.output
    data = differences(first, second)
    if output.as_json:
        output.document("forks.diff", data)
        return
    rows = [("opcode", name, *map(_value, pair)) for name, pair in data["opcodes"].items()]
    rows += [("parameter", name, *map(_value, pair)) for name, pair in data["parameters"].items()]
    if not rows:
        output.say(f"{first.name} and {second.name} execute alike")
        return
    columns = (Column("KIND"), Column("NAME"), Column(first.name.upper(), shrinks=True))
    output.table((*columns, Column(second.name.upper(), shrinks=True)), rows)
