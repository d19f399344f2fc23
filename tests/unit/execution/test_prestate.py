"""Prestates: every form that the tools write, and what is wrong with others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from evmaot.errors import InputError
from evmaot.evm.forks import FORKS
from evmaot.execution.prestate import load_prestate
from evmaot.execution.protocol import Account

OSAKA = FORKS["osaka"]
ALLOC = {
    "0x00000000000000000000000000000000000000aa": {
        "balance": "0x10", "nonce": 3, "code": "0x6001", "storage": {"0x01": "0xff", "10": "0f"},
    },
    "00000000000000000000000000000000000000bb": {"balance": "17"},
}  # fmt: skip


def load(document: Any) -> Any:
    return load_prestate(json.dumps(document).encode(), "world.json", OSAKA)


@pytest.mark.parametrize(
    "document",
    [
        ALLOC,
        {"alloc": ALLOC, "config": {}},
        {"pre": ALLOC, "env": {}, "post": {}},
        {"prestate": ALLOC},
        {"some_test": {"pre": ALLOC, "env": {}}},
        {"post": {}, "pre": ALLOC},
        {"jsonrpc": "2.0", "id": 1, "result": ALLOC},
        {"block": {}, "accounts": ALLOC},
    ],
)
def test_every_form_gives_the_same_state(document: Any) -> None:
    state = load(document)
    assert state.accounts == {0xAA: Account(3, 16, b"\x60\x01"), 0xBB: Account(0, 17)}
    assert state.storages == {0xAA: {1: 255, 16: 15}}


def test_the_answer_of_anvil_dump_state_is_unpacked() -> None:
    packed = "0x" + gzip.compress(json.dumps({"accounts": ALLOC}).encode()).hex()
    for answer in (packed, f'"{packed}"', json.dumps({"jsonrpc": "2.0", "id": 1, "result": packed})):
        assert load_prestate(answer.encode(), "rpc", OSAKA).accounts[0xBB].balance == 17


@pytest.mark.parametrize(
    ("data", "reference"),
    [
        (b"{", "prestate_not_json"),
        (b"0x1f8b0800", "prestate_not_json"),
        (b"0x1f8b08zz", "prestate_not_json"),
        (b"[]", "prestate_unknown_form"),
        (b'{"a": 1}', "prestate_unknown_form"),
        (b'{"0xaa": {"balance": "x"}}', "prestate_bad_account"),
        (b'{"0xaa": {"balance": true}}', "prestate_bad_account"),
        (b'{"0xaa": {"nonce": -1}}', "prestate_bad_account"),
        (b'{"0xaa": {"code": "0x123"}}', "prestate_bad_account"),
        (b'{"alloc": {"0xaa": 3}}', "prestate_bad_account"),
        (b'{"alloc": {"0x1' + b"0" * 40 + b'": {}}}', "prestate_bad_account"),
        (b"\xff\xfe{", "prestate_not_json"),
        (b"[" * 100_000, "prestate_not_json"),
    ],
)
def test_bad_prestates_are_named(data: bytes, reference: str) -> None:
    with pytest.raises(InputError) as caught:
        load_prestate(data, "world.json", OSAKA)
    assert caught.value.reference == reference
    assert "world.json" in caught.value.message


@pytest.mark.parametrize(
    "name", ["anvil-dump-state.json", "anvil_dumpState.hex", "prestateTracer.json", "prestateTracer-diff.json"]
)
def test_real_samples_are_read(fixtures_dir: Path, name: str) -> None:
    state = load_prestate((fixtures_dir / "formats" / name).read_bytes(), name, OSAKA)
    assert any(account.code for account in state.accounts.values())
    assert any(account.balance for account in state.accounts.values())
