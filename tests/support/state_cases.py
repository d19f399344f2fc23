"""Small state tests: one transaction on two accounts, with EELS's answers as what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evmaot.hosts.state_test_eels import EelsRunner
from evmaot.hosts.state_tests import StateTest
from tests.support.assembly import assemble

SENDER = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"
COINBASE = "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba"
SECRET_KEY = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"
TARGET = "0x1000000000000000000000000000000000001000"


def content(
    forks: tuple[str, ...] = ("Osaka",), code: bytes = assemble(7, 1, "SSTORE"),
    others: Mapping[int, bytes] | None = None, **transaction: Any,
) -> dict[str, Any]:  # fmt: skip
    """A test without the right answers; `others` are codes of more accounts."""
    entry = {"hash": "0x00", "logs": "0x00", "indexes": {"data": 0, "gas": 0, "value": 0}}
    return {
        "env": {"currentCoinbase": COINBASE, "currentGasLimit": "0x7270e00", "currentNumber": "0x1",
                "currentTimestamp": "0x3e8", "currentDifficulty": "0x20000", "currentRandom": "0x00",
                "currentBaseFee": "0x7", "currentExcessBlobGas": "0x00"},
        "pre": {
            SENDER: {"nonce": "0x00", "balance": "0x3635c9adc5dea00000", "code": "0x", "storage": {}},
            TARGET: {"nonce": "0x01", "balance": "0x00", "code": "0x" + code.hex(), "storage": {"0x02": "0x03"}},
            **{
                f"0x{address:040x}": {"nonce": "0x01", "balance": "0x00", "code": "0x" + other.hex(), "storage": {}}
                for address, other in (others or {}).items()
            },
        },
        "transaction": {"nonce": "0x00", "gasPrice": "0x0a", "gasLimit": ["0x0493e0"], "to": TARGET, "value": ["0x00"],
                        "data": ["0x"], "sender": SENDER,
                        "secretKey": SECRET_KEY, **transaction},
        "post": {fork: [dict(entry)] for fork in forks},
    }  # fmt: skip


def solved(test: StateTest) -> StateTest:
    """The test with EELS's answers as what is expected."""
    runner = EelsRunner()
    for key in test.cases():
        observed = runner.observe(test, key)
        test.content["post"][key.fork_name][key.index].update(hash=observed.state_root, logs=observed.logs_hash)
    return test


def make(name: str, forks: tuple[str, ...] = ("Osaka",), **values: Any) -> StateTest:
    return StateTest(name, "file", values.pop("tag", "evm"), values.pop("filler", "eest"), content(forks, **values))
