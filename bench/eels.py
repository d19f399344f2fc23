"""EELS with native execution against EELS's own interpreter, whole transactions, side by side.

    python bench/eels.py [--folder FOLDER] [--fork prague] [NAME[:GAS] ...]
    python bench/eels.py --check [--minutes 5] [-j 1] [NAME ...]

Needs the extra ``evmaot[eels]``.  Each transaction is processed by EELS's `process_transaction`, signature,
purchase of gas and fees included, first with its interpreter, then natively (compiled before the clock starts; the
median of several runs).  Both must leave the same state root, logs, gas and output.  Two ratios: of the whole
transaction, and of its depth-0 message alone, which is what evmaot replaces: signature, trie and fees are EELS's
Python on both sides.  ``NAME:GAS`` gives the transaction that much gas: a long benchmark then stops out of gas at
the same place on both sides, so that the interpreter ends in minutes.  ``fibonacci-N`` is N rounds of the contract
in ``examples/``.

``--check`` runs all benchmarks natively in both tiers: gas must be the known one, and gas, output, logs and state
root those of EELS's interpreter wherever that ends within ``--minutes``.  Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.execution.programs import JitPrograms
from evmaot.hosts import eels
from evmaot.hosts.recorded import recorded_test
from evmaot.hosts.state_test_eels import EelsFork, EelsRunner, Observed
from evmaot.hosts.state_tests import CaseKey, StateTest, fork_of_test

DEFAULT = (
    "fibonacci-calldata", "fibonacci-20000", "factorial", "snailtracer:20000000", "erc20_transfer", "hash_10k", "weth",
)  # fmt: skip
KNOWN_GAS = {
    "airdrop": 23_435, "bswap64": 21_986, "bswap64_opt": 21_836, "burntpix": 92_399_448, "counter": 43_363,
    "curve-stableswap-2pool": 157_780, "eip2935": 23_365, "eip4788": 25_496, "erc20_transfer": 13_529_850,
    "factorial": 87_203, "fiat_token": 23_445, "fibonacci-calldata": 84_203, "hash_10k": 2_572_907,
    "onchain-lm-v2": 456_640_284, "push0_proxy": 23_652, "seaport": 24_051, "snailtracer": 205_087_902,
    "uniswap_v2_pair": 23_568, "univ2_router": 22_601, "usdc_proxy": 25_644, "weth": 51_318,
}  # fmt: skip
"""Gas used, intrinsic gas included, on which three native EVMs agree."""
RECORDED_UNDER = {"burntpix": "Cancun", "curve-stableswap-2pool": "Cancun", "onchain-lm-v2": "Cancun"}
"""Fork of the recording where it is not Prague."""
RUNS = 5


@dataclass(frozen=True)
class Ran:
    """What a transaction left, and what it took."""

    observed: Observed
    output: bytes
    seconds: float
    message_seconds: float

    @property
    def result(self) -> tuple[Observed, bytes]:
        """What must not differ."""
        return self.observed, self.output


class Meter:
    """Wraps a fork's `process_message_call` to see gas, output and time of the depth-0 message."""

    def __init__(self, fork: EelsFork) -> None:
        self.gas_left, self.output, self.seconds = 0, b"", 0.0
        # Not the fork module's own name for it: another benchmark may have wrapped that.
        interpreter: Any = importlib.import_module(f"{fork.vm.__name__}.interpreter")
        inner = interpreter.process_message_call

        def process_message_call(message: Any) -> Any:
            seen = []
            whole = interpreter.process_message

            def process_message(message: Any) -> Any:
                evm = whole(message)
                seen.append(evm)
                return evm

            interpreter.process_message = process_message
            start = time.perf_counter()
            try:
                return inner(message)
            finally:
                self.seconds = time.perf_counter() - start
                interpreter.process_message = whole
                self.output = bytes(seen[-1].output) if seen else b""

        fork.spec.process_message_call = process_message_call


class Bench:
    """One benchmark, ready to run."""

    def __init__(self, folder: Path, name: str, fork: str) -> None:
        stem, _, gas = name.partition(":")
        self.test = _test(_document(folder, stem), stem, fork, gas)
        self.key = CaseKey(stem, fork, 0)
        self.runner = EelsRunner()
        rules = fork_of_test(fork)
        found = self.runner.fork(rules) if rules is not None else None
        if found is None:
            raise SystemExit(f"EELS has no fork {fork}")
        self.meter = Meter(found)

    def run(self) -> Ran:
        """Process the transaction."""
        start = time.perf_counter()
        observed = self.runner.observe(self.test, self.key)
        seconds = time.perf_counter() - start
        return Ran(observed, self.meter.output, seconds, self.meter.seconds)

    def run_natively(self, tier: Tier, runs: int) -> list[Ran]:
        """Process it natively: compiled first, then measured."""
        with eels.native(JitPrograms(CompileOptions(tier)), strict=True):
            self.run()
            return [self.run() for _ in range(runs)]


def main() -> None:
    """Print one row per benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folder", type=Path, default=_default_folder())
    parser.add_argument("--fork", default="Prague")
    parser.add_argument("--check", action="store_true", help="gas and results of all benchmarks")
    parser.add_argument("--minutes", type=float, default=5.0, help="with --check: patience with EELS's interpreter")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="with --check: benchmarks at once")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.check:
        sys.exit(_check(arguments.folder, arguments.names or sorted(KNOWN_GAS), arguments.minutes, arguments.jobs))
    print(f"{'':26}{'whole transaction':^36}{'its message':^36}")
    head = f"{'interpreter s':>15}{'native s':>12}{'ratio':>9}"
    print(f"{'benchmark':26}{head}{head}")
    for name in arguments.names or DEFAULT:
        _row(arguments.folder, name, arguments.fork.capitalize())


def _default_folder() -> Path:
    given = os.environ.get("EVMAOT_FIXTURES")
    return (Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "fixtures") / "bench"


def _row(folder: Path, name: str, fork: str) -> None:
    bench = Bench(folder, name, fork)
    expected = bench.run()
    runs = bench.run_natively(Tier.OPTIMISED, RUNS)
    cells = ""
    for field in ("seconds", "message_seconds"):
        interpreted, native = getattr(expected, field), statistics.median(getattr(run, field) for run in runs)
        cells += f"{interpreted:>15.3f}{native:>12.5f}{interpreted / native:>9.1f}"
    note = "" if all(run.result == expected.result for run in runs) else "  RESULTS DIFFER"
    print(f"{name:26}{cells}{note}", flush=True)


def _check(folder: Path, names: list[str], minutes: float, jobs: int) -> int:
    print(f"{'benchmark':26}{'fork':>8}{'known gas':>14}{'fast':>14}{'optimised':>14}{'interpreter':>16}  verdict")
    with ThreadPoolExecutor(jobs) as threads:
        verdicts = list(threads.map(lambda name: _check_one(folder, name, minutes), names))
    print(f"{verdicts.count(True)} of {len(verdicts)} right")
    return 0 if all(verdicts) else 1


def _check_one(folder: Path, name: str, minutes: float) -> bool:
    fork = RECORDED_UNDER.get(name, "Prague")
    known = KNOWN_GAS[name]
    native = [_in_process(folder, name, fork, tier, 600.0) for tier in Tier]
    interpreted = _in_process(folder, name, fork, None, minutes * 60)
    found = [run for run in [*native, interpreted] if run is not None]
    same = all(run.result == found[0].result for run in found)
    right = same and None not in native and all(run.observed.gas_used == known for run in found)
    cells = [f"{run.observed.gas_used:,}" if run else "failed" for run in native]
    verdict = "same" if same else "DIFFERS"
    theirs = f"{verdict} in {interpreted.seconds:.1f} s" if interpreted else f"over {minutes:g} min"
    print(f"{name:26}{fork:>8}{known:>14,}{cells[0]:>14}{cells[1]:>14}{theirs:>16}  {'right' if right else 'WRONG'}",
          flush=True)  # fmt: skip
    return right


def _in_process(folder: Path, name: str, fork: str, tier: Tier | None, timeout_seconds: float) -> Ran | None:
    """One run in a process of its own, None if it takes too long or dies; without a tier, EELS's interpreter."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_send_run, args=(writer, folder, name, fork, tier))
    process.start()
    writer.close()
    try:
        return reader.recv() if reader.poll(timeout_seconds) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def _send_run(writer: Connection, folder: Path, name: str, fork: str, tier: Tier | None) -> None:
    logging.disable(logging.CRITICAL)
    bench = Bench(folder, name, fork)
    writer.send(bench.run() if tier is None else bench.run_natively(tier, 1)[0])


def _document(folder: Path, name: str) -> dict[str, Any]:
    """A benchmark's file; ``fibonacci-N``: N rounds of the contract in examples/."""
    kind, _, rounds = name.partition("-")
    if kind != "fibonacci" or not rounds.isdigit():
        document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return document
    code = (Path(__file__).resolve().parents[1] / "examples" / "fibonacci.hex").read_text().strip()
    transaction = {
        "to": "0x" + "22" * 20,
        "data": f"0x{int(rounds):064x}",
        "gasLimit": hex(100 * int(rounds) + 100_000),
    }
    return {name: {"pre": {transaction["to"]: {"balance": "0x0", "code": code}}, "transaction": transaction}}


def _test(document: dict[str, Any], name: str, fork: str, gas: str) -> StateTest:
    """The benchmark as a state test, with as much gas as asked for."""
    test = recorded_test(name, next(iter(document.values())), fork)
    if gas:
        test.content["transaction"]["gasLimit"] = [hex(int(gas))]
    return test


if __name__ == "__main__":
    main()
