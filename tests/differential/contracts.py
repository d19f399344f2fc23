"""Programs as compilers write them: a dispatcher with functions, and mutants of published contracts."""

from __future__ import annotations

import random
from functools import cache
from typing import Final

from tests.support.fixtures import find_fixtures, read_json_lines
from tests.support.random_programs import Builder

SELECTORS: Final = (0xA9059CBB, 0x70A08231, 0x18160DDD)
"""Of the functions of a generated contract."""
_PANIC: Final = 0x4E487B71 << 224


def contract_code(b: Builder) -> None:
    """Read the selector, branch to a function, decode, check, store, log, return."""
    functions = [(selector, b.label()) for selector in SELECTORS[: b.random.choice((1, 1, 1, 2, 3))]]
    fail, add = b.label(), b.label()
    b.push(0x80)
    b.push(0x40)
    b.op("MSTORE")
    b.push(4)
    b.op("CALLDATASIZE")
    b.op("LT")
    b.push_label(fail)
    b.op("JUMPI")
    _selector(b)
    for selector, label in functions:
        b.op("DUP1")
        b.push(selector, 4)
        b.op("EQ")
        b.push_label(label)
        b.op("JUMPI")
    b.place(fail)
    _fail(b)
    for _, label in functions:
        b.place(label)
        b.height = 1
        _function(b, add)
    _checked_add(b, add)


def _selector(b: Builder) -> None:
    b.push(0)
    b.op("CALLDATALOAD")
    if b.fork.prices("SHR"):
        b.push(0xE0)
        b.op("SHR")
    else:
        b.push(1 << 224)
        b.op("SWAP1")
        b.op("DIV")


def _fail(b: Builder) -> None:
    b.push(0)
    b.op("DUP1")
    b.op("REVERT" if b.fork.prices("REVERT") else "INVALID")


def _function(b: Builder, add: int) -> None:
    """A mapping's value of the caller plus an argument, by the checked addition."""
    back = b.label()
    b.op("CALLER")
    b.push(0)
    b.op("MSTORE")
    b.push(b.random.randrange(3))
    b.push(32)
    b.op("MSTORE")
    b.push(64)
    b.push(0)
    b.op("KECCAK256")
    b.push_label(back)
    b.op("DUP2")
    b.op("SLOAD")
    b.push(4)
    b.op("CALLDATALOAD")
    b.push_label(add)
    b.op("JUMP")
    b.place(back)
    b.op("DUP1")
    b.op("SWAP2")
    b.op("SSTORE")
    b.push(0x40)
    b.op("MLOAD")
    b.op("SWAP1")
    b.op("DUP2")
    b.op("MSTORE")
    if b.random.random() < 0.5:
        b.op("CALLER")
        b.push(b.random.getrandbits(256))
        b.push(32)
        b.op("DUP4")
        b.op("LOG2")
    b.push(32)
    b.op("SWAP1")
    b.op("RETURN")


def _checked_add(b: Builder, add: int) -> None:
    """(return address, a, b) to (a + b), or a panic."""
    good = b.label()
    b.place(add)
    b.op("DUP2")
    b.op("ADD")
    b.op("DUP1")
    b.op("SWAP2")
    b.op("GT")
    b.op("ISZERO")
    b.push_label(good)
    b.op("JUMPI")
    b.push(_PANIC)
    b.push(0)
    b.op("MSTORE")
    b.push(36)
    b.push(0)
    b.op("REVERT" if b.fork.prices("REVERT") else "RETURN")
    b.place(good)
    b.op("SWAP1")
    b.op("JUMP")


@cache
def published_codes() -> tuple[bytes, ...]:
    """Runtime codes of published packages; none where the fixtures are absent."""
    fixtures = find_fixtures()
    path = fixtures / "contracts" / "contracts.jsonl.xz" if fixtures else None
    if path is None or not path.is_file():
        return ()
    return tuple(bytes.fromhex(row["code"].removeprefix("0x")) for row in read_json_lines(path))


def mutant_code(random_: random.Random) -> bytes:
    """Pieces of published contracts, spliced, with bytes changed; seldom a whole one's beginning.

    Without the fixtures: random bytes.
    """
    codes = published_codes()
    if not codes:
        return random_.randbytes(random_.randrange(1, 60))
    code = random_.choice(codes)
    if random_.random() < 0.01:
        mutant = bytearray(code[:1500])
    else:
        mutant = bytearray(b"\x60\x80\x60\x40" * random_.randrange(3))
        for _ in range(random_.randint(1, 2)):
            code = random_.choice(codes)
            begin = random_.randrange(len(code))
            mutant += code[begin : begin + random_.randint(8, 50)]
    for _ in range(random_.randrange(4)):
        if mutant:
            mutant[random_.randrange(len(mutant))] = random_.choice((random_.randrange(256), 0x5B, 0x50, 0x80))
    return bytes(mutant)
