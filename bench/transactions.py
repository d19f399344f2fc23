"""Run time and compile time of whole benchmark transactions, side by side with pyrevm.

    python bench/transactions.py [--folder FOLDER] [--fork prague] [--runs 7] [NAME ...]

FOLDER holds files ``{name: {env, pre, transaction}}`` (default: EVMAOT_FIXTURES or ../shared/fixtures,
folder ``bench``).  Each transaction's message runs natively in both tiers on evmaot's executor with an
in-memory state, and, where `pyrevm` is installed, on revm's interpreter through it, in turn, in one
process; the figure is the median of the runs, the ratio that of the medians.  Times are the thread's processor
time, so that other work on the machine counts on neither side.  Gas includes the intrinsic part and is the
same on both sides, or the row says so.

Behind it, whole small messages one after another, as a simulator sends them: a STOP and the contracts of
`SMALL`, microseconds each and messages a second.  State and environment stay; nothing is committed.  pyrevm
commits what it runs, so its later runs are warm in its own cache; `read` is ours with logs, changes and warm sets
of every result read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from evmaot.cli.bench_engines import REVM_NAMES, gas_before_the_message, revm_world
from evmaot.cli.scenario import transaction_scenario
from evmaot.codegen.driver import compile_unit, reachable_opcodes
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import Fork, fork_named
from evmaot.evm.instruction_set import restrict
from evmaot.execution.executor import Executor
from evmaot.execution.programs import JitPrograms

try:
    import pyrevm
except ImportError:
    pyrevm = None


SMALL = ("weth", "counter", "usdc_proxy")
SMALL_MESSAGES = 2000


def main() -> None:
    """Print one row per benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="names without .json; all without any")
    parser.add_argument("--folder", type=Path, default=_default_folder())
    parser.add_argument("--fork", default="prague")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    fork = fork_named(arguments.fork)
    print(f"{'benchmark':22}{'gas':>12}{'fast ms':>10}{'opt ms':>10}{'pyrevm ms':>11}{'ratio':>8}"
          f"{'KB':>7}{'fast ms/KB':>12}{'opt ms/KB':>11}")  # fmt: skip
    for path in sorted(arguments.folder.glob("*.json")):
        if not arguments.names or path.stem in arguments.names:
            _row(path, fork, arguments.runs)
    print(f"\n{'small message':22}{'us':>8}{'read us':>9}{'per second':>12}{'pyrevm us':>11}{'ratio':>8}")
    for name in ("stop", *SMALL):
        path = arguments.folder / f"{SMALL[0] if name == 'stop' else name}.json"
        if path.exists() and (not arguments.names or name in arguments.names):
            _small_row(name, path, fork)


def _default_folder() -> Path:
    given = os.environ.get("EVMAOT_FIXTURES")
    return (Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "fixtures") / "bench"


def _row(path: Path, fork: Fork, runs: int) -> None:
    document = json.loads(path.read_text())
    runners: dict[str, Callable[[], tuple[float, int]]] = {
        tier.value: _native(document, fork, tier) for tier in (Tier.FAST, Tier.OPTIMISED)
    }
    if pyrevm is not None:
        runners["pyrevm"] = _pyrevm(document, fork)
    for run in runners.values():
        run()  # compiles, warms
    times: dict[str, list[float]] = {name: [] for name in runners}
    gas: dict[str, int] = {}
    for _ in range(runs):
        for name, run in runners.items():
            seconds, gas[name] = run()
            times[name].append(seconds)
    median = {name: statistics.median(rows) * 1e3 for name, rows in times.items()}
    size, costs = _compile_costs(document, fork)
    revm = median.get("pyrevm")
    ratio = f"{revm / median['optimised']:.2f}" if revm else "-"
    note = "" if len(set(gas.values())) == 1 else f"  gas differs: {gas}"
    print(f"{path.stem:22}{gas['optimised']:>12,}{median['fast']:>10.3f}{median['optimised']:>10.3f}"
          f"{revm if revm is not None else float('nan'):>11.3f}{ratio:>8}"
          f"{size / 1024:>7.1f}{costs[0]:>12.0f}{costs[1]:>11.0f}{note}", flush=True)  # fmt: skip


def _small_row(name: str, path: Path, fork: Fork) -> None:
    case = transaction_scenario(json.loads(path.read_text()), fork, None)[0]
    message, environment, state = case.message, case.environment, case.state
    if name == "stop":
        account = state.accounts[message.recipient]._replace(code=b"\0", code_hash=None)
        state.accounts[message.recipient] = account
        message = replace(message, code=b"\0", code_hash=None, input=b"")
    executor = Executor(JitPrograms(CompileOptions(Tier.OPTIMISED)))

    def native() -> object:
        return executor.execute(message, environment, state, fork)

    def native_read() -> object:
        result = executor.execute(message, environment, state, fork)
        return result.logs, result.changes, result.warm_addresses, result.warm_slots

    times = {"native": _microseconds(native), "read": _microseconds(native_read)}
    if pyrevm is not None:
        evm = revm_world(pyrevm, replace(case, message=message), REVM_NAMES[fork.name])
        sender, recipient = f"0x{message.sender:040x}", f"0x{message.recipient:040x}"
        gas = message.gas + gas_before_the_message(message.input)

        def revm() -> object:
            with contextlib.suppress(RuntimeError):
                return evm.message_call(sender, recipient, message.input, message.value, gas)

        times["pyrevm"] = _microseconds(revm)
    theirs = times.get("pyrevm", float("nan"))
    print(f"{name:22}{times['native']:>8.1f}{times['read']:>9.1f}{1e6 / times['native']:>12,.0f}"
          f"{theirs:>11.1f}{theirs / times['native']:>8.2f}", flush=True)  # fmt: skip


def _microseconds(run: Callable[[], object]) -> float:
    """Median of the messages after a first that compiles."""
    run()
    times = []
    for _ in range(SMALL_MESSAGES):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return statistics.median(times) * 1e6


def _native(document: Any, fork: Fork, tier: Tier) -> Callable[[], tuple[float, int]]:
    executor = Executor(JitPrograms(CompileOptions(tier)))

    def run() -> tuple[float, int]:
        case = transaction_scenario(document, fork, None)[0]
        start = time.thread_time()
        result = executor.execute(case.message, case.environment, case.state, fork)
        seconds = time.thread_time() - start
        used = case.message.gas - result.gas_left + gas_before_the_message(case.message.input)
        return seconds, used - min(result.refund, used // 5)

    return run


def _pyrevm(document: Any, fork: Fork) -> Callable[[], tuple[float, int]]:
    case = transaction_scenario(document, fork, None)[0]
    message = case.message
    sender, recipient = f"0x{message.sender:040x}", f"0x{message.recipient:040x}"
    gas = message.gas + gas_before_the_message(message.input)

    def run() -> tuple[float, int]:
        evm = revm_world(pyrevm, case, REVM_NAMES[fork.name])
        start = time.thread_time()
        with contextlib.suppress(RuntimeError):  # a revert; the gas tells
            evm.message_call(sender, recipient, message.input, message.value, gas)
        seconds = time.thread_time() - start
        return seconds, evm.result.gas_used

    return run


def _compile_costs(document: Any, fork: Fork) -> tuple[int, list[float]]:
    """Bytes of the called code, and CPU ms per KB to compile it in each tier."""
    code = transaction_scenario(document, fork, None)[0].message.code
    rules = restrict(fork, reachable_opcodes(code))
    costs = []
    for tier in (Tier.FAST, Tier.OPTIMISED):
        start = time.process_time()
        compile_unit(code, rules, CompileOptions(tier), "evmaot_bench")
        costs.append((time.process_time() - start) * 1e3 / max(len(code) / 1024, 1e-3))
    return len(code), costs


if __name__ == "__main__":
    main()
