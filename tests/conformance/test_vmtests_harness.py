"""The comparison of the single-frame vectors finds every kind of difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.vmtests import Outcome, Vector, VectorAccount, differences, logs_hash, parse

CASE = {
    "id": "made/one",
    "env": {"currentCoinbase": "0x01", "currentNumber": "0x02"},
    "exec": {
        "address": "0x0a", "caller": "0x0b", "origin": "0x0c", "code": "0x00", "data": "0x", "gas": "0x64",
        "gasPrice": "0x01", "value": "0x00",
    },
    "pre": {"0x0a": {"nonce": "0x00", "balance": "0x05", "code": "0x00", "storage": {"0x00": "0x07"}}},
    "post": {"0x0a": {"nonce": "0x00", "balance": "0x05", "code": "0x00", "storage": {"0x00": "0x08", "0x01": "0x00"}}},
    "gas": "0x32",
    "out": "0xff",
    "logs": "0x" + logs_hash(((0x0A, (1,), b"x"),)).hex(),
    "callcreates": [],
}  # fmt: skip
VECTOR = parse(CASE)
RIGHT = Outcome(False, 0x32, b"\xff", ((0x0A, (1,), b"x"),), {0x0A: VectorAccount(0, 5, b"\x00", {0: 8})})
HALTS: Vector = replace(VECTOR, post=None)


def test_the_right_outcome_has_no_difference() -> None:
    assert differences(VECTOR, RIGHT) == []


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RIGHT, gas_left=0x31),
        replace(RIGHT, output=b""),
        replace(RIGHT, logs=()),
        replace(RIGHT, logs=((0x0A, (2,), b"x"),)),
        replace(RIGHT, logs=((0x0B, (1,), b"x"),)),
        replace(RIGHT, state={}),
        replace(RIGHT, state={0x0A: VectorAccount(0, 5, b"\x00", {0: 7})}),
        replace(RIGHT, state={0x0A: VectorAccount(0, 4, b"\x00", {0: 8})}),
        replace(RIGHT, state={**RIGHT.state, 0x0B: VectorAccount(0, 0, b"", {})}),
        Outcome(halted=True),
    ],
)
def test_any_other_outcome_is_a_difference(wrong: Outcome) -> None:
    assert differences(VECTOR, wrong)


def test_a_vector_without_post_must_halt() -> None:
    assert differences(HALTS, Outcome(halted=True)) == []
    assert differences(HALTS, RIGHT)


def test_a_case_without_post_is_parsed_as_one_that_halts() -> None:
    case = {key: value for key, value in CASE.items() if key not in ("post", "gas", "out", "logs")}
    assert parse(case).post is None


def test_the_hash_of_no_logs_is_that_of_an_empty_list() -> None:
    assert logs_hash(()).hex() == "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
