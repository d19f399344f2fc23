"""`evmaot run`: execute a contract natively, once, on a state in memory.

Job: options to a scenario, the executor's result to text or JSON.  Invariant: how the message ended
is a result, not a failure: the exit status says whether it could be run.  May import:
`evmaot.execution`, `evmaot.runtime`, `evmaot.cli`, click.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.options import StoredName, fork_option
from evmaot.cli.output import counted, human_seconds
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import Scenario
    from evmaot.evm.forks import Fork
    from evmaot.execution.protocol import MessageResult

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("run", cls=Verb)
@click.argument("code", required=False, type=StoredName())
@click.option("--calldata", default="", metavar="HEX", help="Input of the message.")
@click.option("--gas", metavar="N", help="Gas of the message; 1,000,000,000 where nothing says otherwise.")
@click.option("--value", default="0", metavar="N", help="Value in wei.")
@fork_option("Rules; the default fork where none is given.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender and origin.")
@click.option("--to", "recipient", metavar="ADDRESS", help="Account that runs; with CODE, its code is CODE.")
@click.option("--prestate", type=_FILE, metavar="FILE", help="Accounts before the message, as JSON.")
@click.option("--block-env", type=_FILE, metavar="FILE", help="Values of the block, as JSON.")
@click.option(
    "--transaction",
    type=_FILE,
    metavar="FILE",
    help="Run the transaction of a state test or benchmark with its prestate and block.",
)
@click.option("--contract", metavar="GLOB", help="Which contract of a file that holds several.")
@click.option("--no-store", is_flag=True, help="Compile here; do not look into the store.")
@setting_option("tiers", "--opt", metavar="TIER", help="fast or optimised.")
@pass_invocation
def command(
    invocation: Invocation,
    code: str | None,
    calldata: str,
    gas: str | None,
    value: str,
    fork: Fork | None,
    sender: str | None,
    recipient: str | None,
    prestate: Path | None,
    block_env: Path | None,
    transaction: Path | None,
    contract: str | None,
    no_store: bool,
) -> None:
    """Execute a contract natively with calldata; print how it ended, output, gas, logs and what changed.

    CODE is runtime code as hex digits with 0x, a file in any format that build reads, - for standard input, or the
    whole code hash of an artifact in the store (0x and 64 digits). Without CODE, --to names an account of --prestate.

    Gas is that of the message: no intrinsic gas is charged, no fee is paid, and gas used is before refunds. The store
    is asked for native code first; what it lacks is compiled here.

    The prestate is an alloc {address: {balance, nonce, code, storage}}, also under pre or alloc; a state test; what
    prestateTracer answers, plain or diff; or an anvil state, as a file or as anvil_dumpState gives it. A state test's
    env and an anvil state's block are the block, unless --block-env says another. The names of block values are those
    of state tests (currentNumber), of blocks (timestamp), or of the documentation (base_fee).
    """
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import load_json, parse_number, transaction_scenario
    from evmaot.evm.forks import DEFAULT_FORK, fork_named
    from evmaot.execution.executor import Executor

    rules = fork or fork_named(DEFAULT_FORK)
    limit = None if gas is None else parse_number(gas, "--gas", 1 << 63)
    programs = RunPrograms(invocation, use_store=not no_store)
    name = None
    if transaction is not None:
        if code or recipient or sender or prestate or block_env or calldata or value != "0":
            hint = "leave out CODE and the options that describe a message; --gas and --fork may stay"
            raise UsageError("two_messages", "--transaction describes the whole message", hint=hint)
        scenario, name = transaction_scenario(load_json(transaction, "the transaction"), rules, limit)
    else:
        scenario = _described(
            invocation, programs, code, contract, rules, calldata=calldata, gas=limit, value=value, sender=sender,
            recipient=recipient, prestate=prestate, block_env=block_env,
        )  # fmt: skip
    programs.prepare(scenario.message, rules)
    compiled_before, start = programs.compile_seconds, time.perf_counter()
    result = Executor(programs).execute(scenario.message, scenario.environment, scenario.state, rules)
    # Children are compiled when they are called: that is no part of running.
    seconds = time.perf_counter() - start - (programs.compile_seconds - compiled_before)
    if invocation.output.as_json:
        invocation.output.document("run", _as_data(result, scenario, programs, rules, seconds, name))
    else:
        _print(invocation, result, scenario, programs, rules, seconds)


def _described(
    invocation: Invocation,
    programs: RunPrograms,
    code: str | None,
    contract: str | None,
    fork: Fork,
    *,
    calldata: str,
    gas: int | None,
    value: str,
    sender: str | None,
    recipient: str | None,
    prestate: Path | None,
    block_env: Path | None,
) -> Scenario:
    """The scenario of CODE and the options."""
    from evmaot.cli import scenario as parts
    from evmaot.cli.one_code import one_code
    from evmaot.execution.prestate import Prestate

    if code is None and recipient is None:
        hint = "give CODE, or --to with --prestate, or --transaction; see: evmaot run --help"
        raise UsageError("nothing_to_run", "there is nothing to run", hint=hint)
    before = parts.load_prestate(prestate) if prestate else Prestate()
    if block_env is not None:
        block = parts.parse_block(parts.load_json(block_env, "the block environment"))
    else:
        block = parts.load_block_of_prestate(prestate) if prestate else parts.Block()
    if block.ignored:
        invocation.output.warn(f"warning: not used: {', '.join(block.ignored)} ({block_env})", style="yellow")
    call = parts.Call(
        sender=parts.DEFAULT_SENDER if sender is None else parts.parse_address(sender, "--from"),
        recipient=parts.DEFAULT_RECIPIENT if recipient is None else parts.parse_address(recipient, "--to"),
        input=parts.parse_bytes(calldata, "--calldata"),
        gas=parts.DEFAULT_GAS if gas is None else gas,
        value=parts.parse_number(value, "--value"),
    )
    if code is None:
        if call.recipient not in before.accounts:
            raise UsageError("no_such_account", f"the prestate has no account {recipient}", hint="see --prestate")
        return parts.scenario(fork, call, before, block)
    if re.fullmatch(r"0[xX][0-9a-fA-F]{64}", code):
        stand_in, code_hash = programs.artifact(code[2:].lower(), fork)
        return parts.scenario(fork, call, before, block, stand_in, code_hash)
    return parts.scenario(fork, call, before, block, one_code(invocation, code, contract))


def _address(value: int) -> str:
    return f"0x{value:040x}"


def _ending(result: MessageResult) -> str:
    return f"{result.status.name} ({result.failure.value})" if result.failure else result.status.name


def _state_data(result: MessageResult) -> dict[str, Any]:
    """What changed, by address: new values only."""
    changes = result.changes
    state: dict[str, dict[str, Any]] = {}
    for address, account in changes.accounts.items():
        if account is None:
            state[_address(address)] = {"deleted": True}
            continue
        state[_address(address)] = {"balance": hex(account.balance), "nonce": account.nonce}
        if address in changes.created:
            state[_address(address)]["code"] = f"0x{account.code.hex()}"
    for address, slots in changes.storage.items():
        row = {f"0x{key:x}": f"0x{value:x}" for key, value in sorted(slots.items())}
        state.setdefault(_address(address), {})["storage"] = row
    for address in changes.destroyed:
        state.setdefault(_address(address), {})["destroyed"] = True
    return dict(sorted(state.items()))


def _as_data(
    result: MessageResult, scenario: Scenario, programs: RunPrograms, fork: Fork, seconds: float, name: str | None
) -> dict[str, Any]:
    return {
        "name": name,
        "fork": fork.name,
        "status": result.status.name,
        "succeeded": result.succeeded,
        "failure": result.failure.value if result.failure else None,
        "gas_used": scenario.message.gas - result.gas_left,
        "gas_left": result.gas_left,
        "refund": result.refund,
        "output": f"0x{result.output.hex()}",
        "logs": [
            {"address": _address(log.address), "topics": [f"0x{topic:064x}" for topic in log.topics],
             "data": f"0x{log.data.hex()}"}
            for log in result.logs
        ],
        "state": _state_data(result),
        "native_frames": result.native_frames,
        "programs": {"stored": programs.stored, "compiled": programs.compiled},
        "seconds": {"compile": round(programs.compile_seconds, 6), "run": round(seconds, 6)},
    }  # fmt: skip


def _print(
    invocation: Invocation,
    result: MessageResult,
    scenario: Scenario,
    programs: RunPrograms,
    fork: Fork,
    seconds: float,
) -> None:
    output = invocation.output
    rows = [
        ("status", output.styled(_ending(result), "green" if result.succeeded else "red")),
        ("output", f"0x{result.output.hex()}"),
        ("gas used", str(scenario.message.gas - result.gas_left)),
        ("refund", str(result.refund)),
    ]
    for label, text in rows:
        output.data(f"{output.styled(f'{label}:'.ljust(10), 'bold')}{text}")
    if result.logs:
        output.data(output.styled("logs:", "bold"))
        for log in result.logs:
            output.data(f"  {_address(log.address)} 0x{log.data.hex()}")
            for topic in log.topics:
                output.data(f"    topic 0x{topic:064x}")
    state = _state_data(result)
    if state:
        output.data(output.styled("changes:", "bold"))
        for address, row in state.items():
            slots = row.pop("storage", {})
            output.data(f"  {address} {' '.join(f'{key} {value}' for key, value in row.items())}".rstrip())
            for slot, value in slots.items():
                output.data(f"    slot {slot} = {value}")
    compiled = f", compiled in {human_seconds(programs.compile_seconds)}" if programs.compiled else ", from the store"
    output.say(
        f"ran {counted(result.native_frames, 'native frame')} under {fork.title} in {seconds * 1000:.3f} ms{compiled}"
    )
