"""`evmaot run`: execute a contract natively, once, on a state in memory.

Job: options to a scenario, the executor's result to text or JSON.  Invariant: how the message ended
is a result, not a failure: the exit status says whether it could be run.  May import:
`evmaot.execution`, `evmaot.runtime`, `evmaot.cli`, click.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from evmaot.cli.invocation import Invocation, Verb, pass_invocation, setting_option
from evmaot.cli.messages import MessageOptions, ending, message_options, requested_scenario, rules_of
from evmaot.cli.output import counted, human_seconds

if TYPE_CHECKING:
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import Scenario
    from evmaot.evm.forks import Fork
    from evmaot.execution.protocol import MessageResult


@click.command("run", cls=Verb)
@message_options()
@click.option("--no-store", is_flag=True, help="Compile here; do not look into the store.")
@setting_option("tiers", "--opt", metavar="TIER", help="fast or optimised.")
@pass_invocation
def command(invocation: Invocation, /, no_store: bool, **options: Any) -> None:
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
    from evmaot.execution.executor import Executor

    message = MessageOptions(**options)
    rules = rules_of(message)
    programs = RunPrograms(invocation, use_store=not no_store)
    scenario, name = requested_scenario(invocation, [programs], message)
    programs.prepare(scenario.message, rules)
    compiled_before, start = programs.compile_seconds, time.perf_counter()
    result = Executor(programs).execute(scenario.message, scenario.environment, scenario.state, rules)
    # Children are compiled when they are called: that is no part of running.
    seconds = time.perf_counter() - start - (programs.compile_seconds - compiled_before)
    if invocation.output.as_json:
        invocation.output.document("run", _as_data(result, scenario, programs, rules, seconds, name))
    else:
        _print(invocation, result, scenario, programs, rules, seconds)


def _address(value: int) -> str:
    return f"0x{value:040x}"


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
    failure = result.failure.value if result.failure else None
    rows = [
        ("status", output.styled(ending(result.status.name, failure), "green" if result.succeeded else "red")),
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
