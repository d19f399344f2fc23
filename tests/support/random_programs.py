"""Random programs that do much before they end: for tests that compare two EVMs.

`random_call(seed, fork)` is a `Call` on a small world of generated contracts; the same seed gives the
same call.  Programs keep track of their stack height, so that most do not fail at once; now and then
they break it on purpose.  They end by returning all of their memory with the top of the stack in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.opcodes import BY_MNEMONIC
from evmaot.evm.semantics import PURE_FUNCTIONS
from tests.support.native import SELF, SENDER, Call, Contract
from tests.support.words import EDGE_WORDS, random_word

OTHERS: Final = (0xA001, 0xA002)
"""Contracts of the world besides SELF."""
EMPTY: Final = 0xE0
NOBODY: Final = 0xDEAD
DELEGATED: Final = 0xDE1E
"""An account that delegates to the first of OTHERS (EIP-7702)."""
_ADDRESSES: Final = (SELF, SENDER, *OTHERS, EMPTY, NOBODY, DELEGATED, 2, 4, 0)
_SLOTS: Final = (0, 1, 2, 3, 4, 5, 1 << 64, (1 << 256) - 1)
_MAX_TRACKED: Final = 1016

_ZERO_OPERANDS: Final = (
    "ADDRESS ORIGIN CALLER CALLVALUE CALLDATASIZE CODESIZE GASPRICE RETURNDATASIZE COINBASE TIMESTAMP NUMBER "
    "PREVRANDAO GASLIMIT CHAINID SELFBALANCE BASEFEE BLOBBASEFEE PC MSIZE GAS"
).split()
_CREATIONS: Final = (
    b"\x60\x00\x60\x00\xf3",  # deploys nothing
    b"\x60\x01\x60\x00\x53\x60\x20\x60\x00\xf3",  # deploys 32 bytes of which the first is ADD
    b"\x33\xff",  # destroys itself
    b"\x60\x20\x60\x00\xfd",  # reverts with data
    b"\x60\xef\x60\x00\x53\x60\x01\x60\x00\xf3",  # deploys 0xef
    b"\xfe",
)


class Builder:
    """Code with labels; `height` is the stack height at this place, if control gets here as planned."""

    def __init__(self, random_: random.Random, fork: Fork, flavour: str = "mixed") -> None:
        self.random = random_
        self.fork = fork
        self.flavour = flavour
        self.height = 0
        self._code = bytearray()
        self._uses: list[tuple[int, int]] = []
        self._places: dict[int, int] = {}
        self._labels = 0
        self.operations = [name for name in PURE_FUNCTIONS if fork.prices(name)]
        self.sources = [name for name in _ZERO_OPERANDS if fork.prices(name)]

    def op(self, mnemonic: str) -> None:
        """One instruction without immediate; undefined ones too."""
        row = BY_MNEMONIC[mnemonic]
        self._code.append(row.value)
        self.height = max(0, self.height - row.inputs) + row.outputs

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._code += data

    def push(self, number: int, width: int | None = None) -> None:
        """A PUSH, mostly the shortest."""
        size = (number.bit_length() + 7) // 8 if width is None else width
        if size == 0 and not self.fork.prices("PUSH0"):
            size = 1
        if width is None and self.random.random() < 0.1:
            size = self.random.randint(max(size, 1), 32)
        self._code.append(0x5F + size)
        self._code += number.to_bytes(size, "big")
        self.height += 1

    def label(self) -> int:
        """A new label."""
        self._labels += 1
        return self._labels

    def push_label(self, label: int, delta: int = 0) -> None:
        """PUSH2 of a label's pc, plus `delta`."""
        self._code += b"\x61\x00\x00"
        self._uses.append((len(self._code) - 2, label))
        self.height += 1
        if delta:
            self.push(delta)
            self.op("ADD")

    def place(self, label: int) -> None:
        """A JUMPDEST here."""
        self._places[label] = len(self._code)
        self.op("JUMPDEST")

    def mark(self, label: int) -> None:
        """This pc for a label, without a JUMPDEST."""
        self._places[label] = len(self._code)

    def code(self) -> bytes:
        """The bytes; a label that was never placed is pc 1, which is rarely a JUMPDEST."""
        for at, label in self._uses:
            self._code[at : at + 2] = self._places.get(label, 1).to_bytes(2, "big")
        return bytes(self._code)


def _word(b: Builder) -> int:
    return b.random.choice(EDGE_WORDS) if b.random.random() < 0.4 else random_word(b.random)


def _value(b: Builder) -> None:
    """Push something: a constant, or what the compiler cannot know."""
    kind = b.random.random()
    if kind < 0.3:
        b.push(_word(b))
    elif kind < 0.5:
        b.push(b.random.randrange(40))
    elif kind < 0.8:
        b.push(b.random.choice((0, 32, 64, 3, 96, 250)))
        b.op("CALLDATALOAD")
    else:
        b.op(b.random.choice(b.sources))


def _offset(b: Builder) -> None:
    """Push a place in memory."""
    kind = b.random.random()
    if kind < 0.55:
        b.push(b.random.randrange(300))
    elif kind < 0.7:
        b.push(32 * b.random.randrange(8))
    elif kind < 0.98:
        _value(b)
        b.push(0x1FF)
        b.op("AND")
    else:
        _value(b)


def _pure(b: Builder) -> None:
    name = b.random.choice(b.operations)
    while b.height < BY_MNEMONIC[name].inputs or b.random.random() < 0.35:
        _value(b)
    b.op(name)


def _shuffle(b: Builder) -> None:
    if b.height == 0:
        _value(b)
    depth = b.random.randint(1, min(16, b.height)) if b.random.random() < 0.995 else b.random.randint(1, 16)
    if b.random.random() < 0.5:
        b.op(f"DUP{depth}")
    else:
        b.op(f"SWAP{max(1, depth - 1)}" if b.height > 1 else "POP")


def _memory(b: Builder) -> None:
    kind = b.random.randrange(7)
    if kind < 2:
        _value(b)
        _offset(b)
        b.op("MSTORE" if kind else "MSTORE8")
    elif kind == 2:
        _offset(b)
        b.op("MLOAD")
    elif kind == 3:
        b.op("MSIZE")
    elif kind == 4:
        _offset(b)
        _offset(b)
        b.op("KECCAK256")
    else:
        names = [name for name in ("CALLDATACOPY", "CODECOPY", "MCOPY", "RETURNDATACOPY") if b.fork.prices(name)]
        name = b.random.choice(names)
        _offset(b)
        if name == "RETURNDATACOPY" and b.random.random() < 0.9:
            b.op("POP")
            b.op("RETURNDATASIZE")
            b.push(0)
        else:
            _offset(b)
        _offset(b)
        b.op(name)


def _storage(b: Builder) -> None:
    names = [name for name in ("SLOAD", "SSTORE", "SSTORE", "TLOAD", "TSTORE") if b.fork.prices(name)]
    name = b.random.choice(names)
    if name.endswith("STORE"):
        if b.random.random() < 0.7:
            b.push(b.random.choice((0, 0, 1, 2, 5)))
        else:
            _value(b)
    b.push(b.random.choice(_SLOTS))
    b.op(name)


def _account(b: Builder) -> None:
    names = ("BALANCE", "EXTCODESIZE", "EXTCODEHASH", "EXTCODECOPY", "BLOCKHASH", "BLOBHASH")
    name = b.random.choice([name for name in names if b.fork.prices(name)])
    if name == "EXTCODECOPY":
        for _ in range(3):
            _offset(b)
    if name == "BLOCKHASH":
        b.push(b.random.choice((743, 744, 999, 1000, 1001, 1 << 70)))
    elif name == "BLOBHASH":
        b.push(b.random.choice((0, 1, 2, 1 << 64)))
    else:
        b.push(b.random.choice(_ADDRESSES) | (b.random.choice((0, 0, 0, 1)) << 200))
    b.op(name)


def _log(b: Builder) -> None:
    topics = b.random.randrange(5)
    for _ in range(topics):
        _value(b)
    _offset(b)
    _offset(b)
    b.op(f"LOG{topics}")


def _call(b: Builder) -> None:
    names = [name for name in ("CALL", "CALL", "CALLCODE", "DELEGATECALL", "STATICCALL") if b.fork.prices(name)]
    name = b.random.choice(names)
    for _ in range(4):
        _offset(b)
    if name in ("CALL", "CALLCODE"):
        b.push(b.random.choice((0, 0, 0, 1, 1 << 100)))
    b.push(b.random.choice(_ADDRESSES))
    if b.random.random() < 0.15:
        b.op("GAS")
    else:
        b.push(b.random.choice((0, 1000, 5000, 20000, 30000)))
    b.op(name)


def _create(b: Builder) -> None:
    salted = b.fork.prices("CREATE2") and b.random.random() < 0.5
    code = b.random.choice(_CREATIONS)
    b.push(int.from_bytes(code.ljust(32, b"\0"), "big"), 32)
    place = b.random.randrange(100)
    b.push(place)
    b.op("MSTORE")
    if salted:
        b.push(b.random.randrange(2))
    limit = b.fork.parameters.max_initcode_size_bytes
    b.push(len(code) if limit is None or b.random.random() < 0.95 else limit + 1)
    b.push(place)
    b.push(b.random.choice((0, 0, 1)))
    b.op("CREATE2" if salted else "CREATE")


def _long(b: Builder) -> None:
    """A run without jumps, longer than the compiler's blocks."""
    for _ in range(b.random.choice((60, 130, 300))):
        _shuffle(b) if b.random.random() < 0.6 else _value(b)
        if b.height > 40:
            b.op("POP")


def _broken(b: Builder) -> None:
    """Something that halts, mostly."""
    kind = b.random.randrange(5)
    if kind == 0:
        b.raw(bytes((b.random.randrange(256),)))
    elif kind == 1:
        for _ in range(b.height + 1):
            b.op("POP")
    elif kind == 2:
        b.push_label(b.label())
        _value(b)
        b.op("JUMPI")
    elif kind == 3:
        b.op("INVALID")
    else:
        for _ in range(b.random.choice((1024, 1023)) - min(b.height, 1000)):
            b.raw(b"\x58")
        b.height = 1024
        b.op(b.random.choice(("POP", "DUP1", "SLOAD", "MLOAD", "ADDRESS", "ISZERO")))


def _branch(b: Builder, depth: int) -> None:
    """if or if-else, whose paths leave the same height."""
    other, after = b.label(), b.label()
    b.push(b.random.choice((0, 1, 32))) if b.random.random() < 0.2 else _value(b)
    if b.random.random() < 0.5:
        b.op(b.random.choice(("ISZERO", "NOT")))
    b.push_label(other)
    b.op("JUMPI")
    height = b.height
    _body(b, depth - 1, 3)
    ended = b.height
    if b.random.random() < 0.5:
        _jump(b, after)
        b.height = height
        b.place(other)
        _body(b, depth - 1, 3)
        b.place(after)
    else:
        b.place(other)
    if b.random.random() < 0.9:
        b.height = min(height, ended, b.height)


def _jump(b: Builder, label: int) -> None:
    """A jump, plain or to an address that must be computed at run time."""
    kind = b.random.random()
    if kind < 0.8:
        b.push_label(label)
    elif kind < 0.9:
        b.push_label(label)
        b.push(1)
        b.op("MUL")
    else:
        b.push_label(label)
        b.push(256)
        b.op("CALLDATALOAD")  # zero: behind the input's end
        b.op("OR")
    b.op("JUMP")


def _loop(b: Builder, depth: int) -> None:
    """A loop with its counter on the stack."""
    head = b.label()
    b.push(b.random.randint(1, 5))
    b.place(head)
    height = b.height
    _body(b, depth - 1, 3)
    while b.height < height:
        _value(b)
    while b.height > height:
        b.op("POP")
    b.push(1)
    b.op("SWAP1")
    b.op("SUB")
    b.op("DUP1")
    b.push_label(head)
    b.op("JUMPI")


def _function(b: Builder, depth: int) -> None:
    """An internal function, called from several places: it returns to an address on the stack."""
    function, over = b.label(), b.label()
    _jump(b, over)
    height = b.height
    b.place(function)
    b.height = 2
    for _ in range(b.random.randrange(4)):
        b.random.choice((_pure, _shuffle, _memory))(b) if b.height > 2 else _value(b)
    while b.height > 2:
        b.op("POP")
    b.op("SWAP1")
    b.op("JUMP")
    b.height = height
    b.place(over)
    for _ in range(b.random.randint(1, 3)):
        back = b.label()
        b.push_label(back)
        _value(b)
        b.push_label(function)
        b.op("JUMP")
        b.height = height + 1
        b.place(back)
        height = b.height
        _body(b, depth - 1, 2)
        height = b.height


Piece = Callable[[Builder], None]
FLAVOURS: Final[dict[str, tuple[tuple[Piece, int], ...]]] = {
    "mixed": (
        (_pure, 30), (_shuffle, 20), (_value, 10), (_memory, 14), (_storage, 8), (_account, 4), (_log, 2),
        (_call, 4), (_create, 1), (_long, 1), (_broken, 1),
    ),
    "storage": ((_storage, 40), (_shuffle, 5), (_value, 5), (_call, 8), (_create, 1), (_account, 1)),
    "stack": ((_pure, 30), (_shuffle, 60), (_value, 10), (_memory, 5), (_long, 2)),
}  # fmt: skip
"""What programs are made of: pieces and their weights."""
_BRANCHES: Final = ((_branch, 4), (_loop, 2), (_function, 2))


def _body(b: Builder, depth: int, size: int) -> None:
    pieces: list[tuple[Callable[..., None], int]] = [*FLAVOURS[b.flavour], *(_BRANCHES if depth > 0 else ())]
    kinds, weights = [piece for piece, _ in pieces], [weight for _, weight in pieces]
    for _ in range(b.random.randint(1, 2 * size)):
        piece = b.random.choices(kinds, weights)[0]
        if any(piece is kind for kind, _ in _BRANCHES):
            piece(b, depth)
        else:
            piece(b)
        while b.height > _MAX_TRACKED:
            b.op("POP")


def _end(b: Builder) -> None:
    kind = b.random.random()
    if kind < 0.1:
        b.op("STOP")
    elif kind < 0.15:
        b.push(b.random.choice(_ADDRESSES))
        b.op("SELFDESTRUCT")
    elif kind < 0.18:
        b.raw(b"\x7f\x01")
    else:
        b.op("GAS")
        for index in range(min(b.height, 6)):
            b.push(32 * index)
            b.op("MSTORE")
        b.op("MSIZE")
        b.push(0)
        b.op("REVERT" if kind < 0.28 else "RETURN")


def random_code(random_: random.Random, fork: Fork, flavour: str, *, size: int = 12, depth: int = 2) -> bytes:
    """One program."""
    b = Builder(random_, fork, flavour)
    if random_.random() < 0.1:
        b.place(b.label())
    _body(b, depth, size)
    _end(b)
    return b.code()


def random_call(seed: int | str, fork: str, *, flavour: str = "mixed", gas: int = 150_000) -> Call:
    """A call on a world of generated contracts."""
    random_ = random.Random(f"{seed} {fork}")
    rules = FORKS[fork]
    others = {
        number: Contract(random_code(random_, rules, flavour, size=4, depth=1), balance=7, storage={0: 1, 1: 2})
        for number in OTHERS
    }
    world = {
        SELF: Contract(random_code(random_, rules, flavour), balance=1000, storage={0: 5, 2: 1016, 4: 1, 1 << 64: 9}),
        **others,
        SENDER: Contract(balance=10**18),
        EMPTY: Contract(nonce=0),
        DELEGATED: Contract(b"\xef\x01\x00" + OTHERS[0].to_bytes(20, "big")),
    }
    if not rules.parameters.delegations:
        del world[DELEGATED]
    return Call(
        world,
        gas=gas,
        input=random_.randbytes(random_.choice((0, 4, 68, 100))) if random_.random() < 0.7 else bytes(64),
        value=random_.choice((0, 0, 3)),
        is_static=rules.prices("STATICCALL") and random_.random() < 0.05,
    )


def random_jumps(random_: random.Random, fork: Fork, *, most: int = 10) -> bytes:
    """Blocks that push, shuffle and jump to each other's addresses without any structure."""
    b = Builder(random_, fork)
    labels = [b.label() for _ in range(random_.randint(2, most))]
    for _ in range(random_.randrange(most + 6)):
        b.push_label(random_.choice(labels))
    for label in labels:
        if random_.random() < 0.95:
            b.place(label)
        b.height = max(b.height, 4)
        for _ in range(random_.randrange(7)):
            kind = random_.random()
            if kind < 0.35:
                b.push_label(random_.choice(labels), delta=1 if random_.random() < 0.03 else 0)
            elif kind < 0.6:
                b.op(f"DUP{random_.randint(1, 5)}")
            elif kind < 0.85:
                b.op(f"SWAP{random_.randint(1, 4)}")
            elif kind < 0.93:
                b.op("POP")
            elif kind < 0.97:
                b.op(random_.choice(("AND", "OR", "ISZERO", "PC", "MUL", "GAS")))
            else:
                b.push(random_.randrange(3))
                b.op("CALLDATALOAD")
        kind = random_.random()
        if kind < 0.45:
            b.op("JUMP")
        elif kind < 0.8:
            b.op("GAS")
            b.push(1 << random_.randrange(4))
            b.op("AND")
            b.push_label(random_.choice(labels)) if random_.random() < 0.4 else b.op("DUP3")
            b.op("JUMPI")
    _end(b)
    return b.code()
