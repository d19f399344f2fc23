"""Recorded transactions: files that hold a block, a prestate and a transaction, as state tests without an answer.

Job: read ``{name: {env, pre, transaction}}`` (benchmarks, and state tests themselves) for EELS to process.
Invariant: who sent it is what the file says; no key is needed.  May import: hosts.state_tests, `evmaot.json_text`,
errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evmaot.errors import InputError
from evmaot.hosts.state_tests import StateTest
from evmaot.json_text import parse_json

DEFAULT_SENDER = "0x" + "11" * 20
"""Of a transaction that names none: the convention of the benchmark files."""
_RICH = hex(10**30)
_ENVIRONMENT = {
    "currentCoinbase": "0x" + "00" * 20, "currentNumber": "0x1", "currentTimestamp": "0x3e8",
    "currentDifficulty": "0x20000", "currentRandom": "0x00", "currentBaseFee": "0x0", "currentExcessBlobGas": "0x00",
}  # fmt: skip
NO_ANSWER = {"hash": "0x", "logs": "0x", "indexes": {"data": 0, "gas": 0, "value": 0}}
"""Of a case that nobody has solved yet."""


def recorded_test(name: str, case: Mapping[str, Any], fork_name: str) -> StateTest:
    """One recorded transaction.  Its sender can pay, has its nonce, and the block has room for its gas."""
    given = case["transaction"]
    transaction = dict(given[0] if isinstance(given, list) else given)
    sender = transaction.get("sender", DEFAULT_SENDER).lower()
    for field, default in (("data", transaction.pop("input", "0x")), ("gasLimit", "0x989680"), ("value", "0x0")):
        value = transaction.get(field, default)
        transaction[field] = value[:1] if isinstance(value, list) else [value]
    if "maxFeePerGas" not in transaction:
        transaction["gasPrice"] = "0xa"
    transaction.update(nonce="0x0", sender=sender)
    pre = {address.lower(): account for address, account in case["pre"].items()}
    pre[sender] = {**pre.get(sender, {}), "balance": _RICH, "nonce": "0x0"}
    env = {**_ENVIRONMENT, **case.get("env", {}), "currentGasLimit": hex(2**63 - 1)}
    content = {"env": env, "pre": pre, "transaction": transaction, "post": {fork_name: [dict(NO_ANSWER)]}}
    return StateTest(name, name, "evm", "eest", content)


def read_recorded(path: Path, fork_name: str) -> list[StateTest]:
    """The transactions of a file; a state test's own forks and cases are kept.  Raises InputError `bad_recording`."""
    try:
        document = parse_json(path.read_bytes())
        if isinstance(document, dict) and "transaction" in document:
            document = {path.stem: document}
        found = []
        for name, case in document.items():
            if "post" in case:
                found.append(StateTest(f"{path.name}#{name}", path.stem, "evm", "eest", case))
            else:
                found.append(recorded_test(f"{path.name}#{name}", case, fork_name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "bad_recording",
            f"{path} holds no recorded transaction",
            context={"path": str(path)},
            cause=f"{type(error).__name__}: {error}",
            hint="expected JSON: {name: {env, pre, transaction}}, as benchmarks and state tests have it",
        ) from error
    return found
