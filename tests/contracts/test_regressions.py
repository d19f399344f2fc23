"""Codes that something once went wrong with, or that were hard to get right; each against EELS.

A random program that fails gets a row here, as small as it can be made.
"""

from __future__ import annotations

import pytest

from tests.support.assembler import asm
from tests.support.eels_message import assert_same
from tests.support.native import SELF, Call, world_of

CORPUS: list[tuple[str, str, str, int]] = [
    # what it is about, code, fork, gas
    ("an SSTORE's sentry saw gas that was charged for what follows it", "5 0 SSTORE (GAS POP)*20", "osaka", 2307),
    ("a live block that nothing jumps to", "0 @a JUMPI STOP a: STOP", "osaka", 100),
    ("a target through an operation that is not folded", "@a 1 MUL JUMP a: 7 0 MSTORE 32 0 RETURN", "osaka", 99),
    ("init code longer than any limit", "49153 0 0 CREATE 0 MSTORE 32 0 RETURN", "byzantium", 100_000),
    ("a helper's result over its own operand", "0 CALLDATALOAD 0 CALLDATALOAD DUP2 DIV DUP2 MOD SDIV", "osaka", 200),
    ("words kept over a hash", "1 2 32 0 KECCAK256 0 MSTORE 32 MSTORE 96 0 RETURN", "osaka", 999),
    ("a side exit that widens a flag", "CALLER ISZERO DUP1 CALLER @a JUMPI POP a: 0 MSTORE 32 0 RETURN", "osaka", 999),
    ("more JUMPDESTs than a block holds", "x" + "5b" * 700 + " CALLER 0 MSTORE 32 0 RETURN", "osaka", 999),
    ("a return address below many words", "@r " + "PC " * 20 + "SWAP15 @f JUMP f: (POP)*20 JUMP r: STOP", "osaka", 999),
]  # fmt: skip


@pytest.mark.parametrize(("code", "fork", "gas"), [row[1:] for row in CORPUS], ids=[row[0] for row in CORPUS])
def test_it_ends_as_on_eels(code: str, fork: str, gas: int) -> None:
    warm = frozenset(((SELF, 0),))
    assert_same(Call(world_of(asm(code), storage={0: 5}), gas=gas, warm_slots=warm), fork)
