"""Generated programs: many small ones of every shape that a compiler has to get right.

`generated_code(random, fork, shape)` is one program of one of `SHAPES`.  They are short, because what costs
in a comparison is to compile them; variety comes from their number.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from evmaot.evm.forks import Fork
from evmaot.evm.opcodes import BY_MNEMONIC, Trait
from tests.differential.contracts import contract_code, mutant_code
from tests.differential.instructions import address_of, instruction, push_operand, unknown
from tests.support.random_programs import Builder, random_code, random_jumps

_UNFIT: Final = ("PUSH", "DUP", "SWAP", "JUMP", "STOP", "INVALID", "RETURN", "REVERT", "SELFDESTRUCT")
"""Beginnings of the names of what has a piece of its own."""
_ROWS: Final = tuple(BY_MNEMONIC.values())
_MEMORY: Final = (
    "MLOAD", "MSTORE", "MSTORE8", "MCOPY", "CALLDATACOPY", "CODECOPY", "KECCAK256", "MSIZE", "EXTCODECOPY"
)  # fmt: skip
_STATE: Final = ("SLOAD", "SSTORE", "SSTORE", "TLOAD", "TSTORE", "BALANCE", "EXTCODEHASH", "LOG0", "LOG2")
_CALLS: Final = ("CALL", "CALL", "CALLCODE", "DELEGATECALL", "STATICCALL")


def defined(fork: Fork, names: tuple[str, ...]) -> list[str]:
    """Those of the instructions that the fork has."""
    return [name for name in names if fork.prices(name)]


def finish(b: Builder) -> None:
    """An end; mostly one that shows what is on the stack and in memory."""
    kind = b.random.random()
    if kind < 0.08:
        b.op("STOP")
    elif kind < 0.12:
        b.push(address_of(b))
        b.op("SELFDESTRUCT")
    elif kind < 0.15:
        b.raw(b"\x7f\x01")  # a PUSH32 that the code's end cuts off, then the implicit STOP
    elif kind < 0.18:
        instruction(b, b.random.choice(defined(b.fork, ("RETURN", "REVERT", "INVALID"))))
    else:
        if b.random.random() < 0.25:
            b.op("GAS")
        for index in range(min(b.height, b.random.choice((0, 1, 1, 1, 1, 1, 2, 3)))):
            b.push(32 * index)
            b.op("MSTORE")
        if b.random.random() < 0.25:
            b.op("MSIZE")
        else:
            b.push(b.random.choice((32, 32, 64)))
        b.push(0)
        b.op("REVERT" if kind < 0.28 else "RETURN")


def single(b: Builder) -> None:
    """Any instruction of the fork, with operands at the edges, one after another."""
    names = [row.mnemonic for row in _ROWS if b.fork.prices(row.mnemonic) and not row.mnemonic.startswith(_UNFIT)]
    for _ in range(b.random.choice((1, 1, 1, 1, 2, 3))):
        instruction(b, b.random.choice(names))
    if b.random.random() < 0.1:
        shuffle(b)


def shuffle(b: Builder) -> None:
    """Deep DUP and SWAP over words that are all different."""
    for number in range(b.random.choice((6, 17, 17, 18))):
        b.op("PC") if number % 3 else unknown(b)
    for _ in range(b.random.randint(1, 5)):
        b.op(f"{b.random.choice(('DUP', 'SWAP'))}{b.random.randint(1, 16)}")


def soup(b: Builder) -> None:
    """Instructions in any order over a few words: most end early, in every way there is."""
    for _ in range(b.random.randrange(6)):
        push_operand(b, "w")
    for _ in range(b.random.randint(1, 16)):
        value = b.random.randrange(256)
        if b.random.random() < 0.9:
            value = b.random.choice(_ROWS).value
        b.raw(bytes((value,)))
        if 0x60 <= value < 0x80 and b.random.random() < 0.9:
            b.raw(b.random.randbytes(value - 0x5F))


def memory(b: Builder) -> None:
    """Reads, writes, copies that overlap, and growth up to what nobody can pay."""
    b.flavour = b.random.choice(("mixed", "mixed", "huge"))
    for _ in range(b.random.choice((1, 1, 1, 2, 4))):
        instruction(b, b.random.choice(defined(b.fork, _MEMORY)))


def state(b: Builder) -> None:
    """Storage, transient storage, accounts and logs; SSTORE through all of its regimes."""
    for _ in range(b.random.choice((1, 1, 1, 2, 5))):
        instruction(b, b.random.choice(defined(b.fork, _STATE)))


def messages(b: Builder) -> None:
    """Calls of other programs, and what they return."""
    for _ in range(b.random.choice((1, 1, 1, 1, 1, 2, 3))):
        if b.random.random() < 0.2:
            instruction(b, b.random.choice(("SSTORE", "MSTORE")))
        instruction(b, b.random.choice(defined(b.fork, _CALLS)))
        if b.fork.prices("RETURNDATACOPY") and b.random.random() < 0.4:
            if b.random.random() < 0.6:
                b.op("RETURNDATASIZE")
                b.push(0)
                push_operand(b, "m")
                b.op("RETURNDATACOPY")
            else:
                instruction(b, "RETURNDATACOPY")


def creates(b: Builder) -> None:
    """Creates of generated init code, which lies behind the program, and calls of what they made."""
    init = _init_code(b)
    data = b.label()
    b.push(len(init))
    b.push_label(data)
    b.push(0)
    b.op("CODECOPY")
    salted = b.fork.prices("CREATE2") and b.random.random() < 0.5
    if salted:
        b.push(b.random.randrange(2))
    limit = b.fork.parameters.max_initcode_size_bytes
    b.push(len(init) if limit is None or b.random.random() < 0.97 else limit + b.random.randrange(2))
    b.push(0)
    push_operand(b, "v")
    b.op("CREATE2" if salted else "CREATE")
    if b.random.random() < 0.5:
        for _ in range(5):
            b.push(0)
        b.op("DUP6")
        b.op("GAS")
        b.op("CALL")
    finish(b)
    b.mark(data)
    b.raw(init)


def _init_code(b: Builder) -> bytes:
    """Code that deploys a piece of memory, after doing something."""
    kind = b.random.random()
    if kind < 0.2:
        return b.random.choice((b"\x33\xff", b"\xfe", b"", b"\x60\xef\x60\x00\x53\x60\x01\x60\x00\xf3", b"\x00"))
    inner = Builder(b.random, b.fork)
    for _ in range(b.random.randrange(3)):
        instruction(inner, b.random.choice(defined(b.fork, (*_STATE, "ADD", "GAS", "ADDRESS"))))
    runtime = Builder(b.random, b.fork)
    instruction(runtime, b.random.choice(defined(b.fork, (*_STATE, "SELFBALANCE", "CALLER", "MLOAD"))))
    finish(runtime)
    code = runtime.code()[:32]
    inner.push(int.from_bytes(code.ljust(32, b"\0"), "big"), 32)
    inner.push(0)
    inner.op("MSTORE")
    inner.push(b.random.choice((len(code), len(code), 0, 32, 0x6000, 0x6001)) if kind > 0.25 else len(code))
    inner.push(0)
    inner.op("REVERT" if b.fork.prices("REVERT") and kind > 0.95 else "RETURN")
    return inner.code()


def deep(b: Builder) -> None:
    """A stack of about 1024 words, and instructions at its edge."""
    height = b.random.choice((1008, 1016, 1021, 1022, 1023, 1024, 1024, 1025))
    rounds, width = divmod(height, 32)[0], 32
    head = b.label()
    b.push(rounds)
    b.push(0)
    b.op("MSTORE")
    b.place(head)
    for _ in range(width):
        b.op(b.random.choice(("PC", "PC", "MSIZE", "CALLER")))
    b.push(1)
    b.push(0)
    b.op("MLOAD")
    b.op("SUB")
    b.op("DUP1")
    b.push(0)
    b.op("MSTORE")
    b.push_label(head)
    b.op("JUMPI")
    for _ in range(height - rounds * width):
        b.op("PC")
    names = [row.mnemonic for row in _ROWS if b.fork.prices(row.mnemonic) and not row.has(Trait.TERMINATOR)]
    for _ in range(b.random.randint(1, 4)):
        name = b.random.choice(names)
        b.op(name)
        b.raw(bytes(BY_MNEMONIC[name].immediate_size))
    b.height = 16


def into_data(b: Builder) -> None:
    """Jumps to bytes that look like JUMPDEST: some are the data of a PUSH, some are not."""
    target = b.label()
    width = b.random.choice((1, 2, 5, 32))
    b.push_label(target)
    if b.random.random() < 0.5:
        unknown(b)
        b.op("ISZERO")
        b.push_label(target)
        b.op("JUMPI")
        unknown(b)
        b.op("POP")
    b.op("JUMP")
    junk = b.random.choice((0x5F + width, 0x5F + width - 1, 0xFE, 0x0C))
    b.raw(bytes((junk,)))
    for index in range(width):
        if index == width - 1:
            b.mark(target)
        b.raw(b"\x5b")
    b.height = 1
    instruction(b, "ADD")


Shape = Callable[[Builder], None]
_PIECES: Final[dict[str, Shape]] = {
    "single": single, "soup": soup, "memory": memory, "state": state, "messages": messages, "deep": deep,
    "into_data": into_data,
}  # fmt: skip
SHAPES: Final = {
    "single": 40, "soup": 9, "memory": 11, "state": 13, "messages": 8, "creates": 3, "deep": 0.1, "into_data": 2.5,
    "structured": 4, "jumps": 1.2, "contract": 0.7, "mutant": 9,
}  # fmt: skip
"""Every shape and how often it comes."""


LOOPING: Final = frozenset(("soup", "into_data", "structured", "jumps", "mutant"))
"""Shapes that may jump in a circle until their gas is gone."""


def random_shape(random_: random.Random) -> str:
    """One of the shapes, as often as its weight says."""
    return random_.choices(list(SHAPES), list(SHAPES.values()))[0]


def generated_code(random_: random.Random, fork: Fork, shape: str) -> bytes:
    """One program of a shape."""
    b = Builder(random_, fork)
    if shape == "structured":
        flavour = random_.choice(("mixed", "storage", "stack"))
        size, depth = random_.choice((1, 1, 1, 2)), random_.choice((0, 1, 1, 1, 2))
        return random_code(random_, fork, flavour, size=size, depth=depth)
    if shape == "jumps":
        return random_jumps(random_, fork, most=random_.choice((3, 3, 6)))
    if shape == "contract":
        contract_code(b)
    elif shape == "mutant":
        return mutant_code(random_)
    elif shape == "creates":
        creates(b)
    else:
        _PIECES[shape](b)
        finish(b)
    return b.code()
