"""EELS with native execution against EELS's own interpreter, whole transactions, side by side.

    python bench/eels.py [--folder FOLDER] [--fork prague] [NAME[:GAS] ...]

Needs the extra ``evmaot[eels]``.  Each transaction is processed by EELS's `process_transaction`, state root
included, first with its interpreter, then natively (compiled before the clock starts; the median of several
runs).  Both must leave the same state root and logs.  ``NAME:GAS`` gives the transaction that much gas: a long
benchmark then stops out of gas at the same place on both sides, so that the interpreter ends in minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from pathlib import Path
from typing import Any

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.execution.programs import JitPrograms
from evmaot.hosts import eels
from evmaot.hosts.state_test_eels import EelsRunner, Observed
from evmaot.hosts.state_tests import CaseKey, StateTest

DEFAULT = ("fibonacci-calldata", "factorial", "snailtracer:3000000", "erc20_transfer:3000000", "hash_10k", "weth")
SECRET_KEY = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"
SENDER = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"
RUNS = 5


def main() -> None:
    """Print one row per benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=DEFAULT)
    parser.add_argument("--folder", type=Path, default=_default_folder())
    parser.add_argument("--fork", default="Prague")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"{'benchmark':26}{'interpreter s':>15}{'native s':>12}{'ratio':>9}")
    for name in arguments.names:
        _row(arguments.folder, name, arguments.fork.capitalize())


def _default_folder() -> Path:
    given = os.environ.get("EVMAOT_FIXTURES")
    return (Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "fixtures") / "bench"


def _row(folder: Path, name: str, fork: str) -> None:
    stem, _, gas = name.partition(":")
    test = _test(json.loads((folder / f"{stem}.json").read_text()), stem, fork, gas)
    key = CaseKey(stem, fork, 0)
    runner = EelsRunner()
    expected, interpreted = _timed(runner, test, key)
    with eels.native(JitPrograms(CompileOptions(Tier.OPTIMISED)), strict=True):
        runner.observe(test, key)  # compiles
        runs = [_timed(runner, test, key) for _ in range(RUNS)]
    native = statistics.median(seconds for _, seconds in runs)
    same = all(observed == expected for observed, _ in runs)
    note = "" if same else "  RESULTS DIFFER"
    print(f"{name:26}{interpreted:>15.3f}{native:>12.4f}{interpreted / native:>9.1f}{note}", flush=True)


def _timed(runner: EelsRunner, test: StateTest, key: CaseKey) -> tuple[Observed, float]:
    start = time.perf_counter()
    observed = runner.observe(test, key)
    return observed, time.perf_counter() - start


def _test(document: dict[str, Any], name: str, fork: str, gas: str) -> StateTest:
    """The benchmark as a state test, sent by an account whose key is known."""
    case = next(iter(document.values()))
    given = case["transaction"]
    transaction = given[0] if isinstance(given, list) else given
    sender = transaction.get("sender", "0x" + "11" * 20).lower()
    pre = {address.lower(): account for address, account in case["pre"].items()}
    account = dict(pre.pop(sender, {}), balance=hex(10**30), nonce="0x0")
    content = {
        "env": {"currentBaseFee": "0x0", **case["env"], "currentGasLimit": hex(2**63 - 1)},
        "pre": {**pre, SENDER: account},
        "transaction": {
            "data": [transaction["data"]],
            "gasLimit": [hex(int(gas)) if gas else transaction["gasLimit"]],
            "value": [transaction.get("value", "0x0")],
            "gasPrice": "0xa",
            "nonce": "0x0",
            "to": transaction["to"],
            "secretKey": SECRET_KEY,
        },
        "post": {fork: [{"indexes": {"data": 0, "gas": 0, "value": 0}}]},
    }
    return StateTest(name, name, "evm", "eest", content)


if __name__ == "__main__":
    main()
