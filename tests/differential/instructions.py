"""One instruction with operands that suit it, well or badly: the brick of the generated programs.

`OPERANDS` says what each operand means, in the order in which the instruction pops them; `instruction` pushes
them and the opcode.  Most are such that the program goes on; some are at the edges of what can be.
"""

from __future__ import annotations

from typing import Final

from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.native import SELF, SENDER
from tests.support.random_programs import Builder
from tests.support.words import EDGE_WORDS, random_word

CONTRACTS: Final = (SELF, 0xA001, 0xA002, 0xA003, 0xA004, 0xA005)
"""Where the generated programs of a world live."""
EMPTY: Final = 0xE0
RICH: Final = 0xE1
"""An account with a balance and no code."""
NOBODY: Final = 0xDEAD
DELEGATED: Final = 0xDE1E
"""An account that delegates to the second contract (EIP-7702)."""
DELEGATED_TO_PRECOMPILE: Final = 0xDE1F
PLAIN: Final = (SENDER, EMPTY, RICH, NOBODY, DELEGATED, DELEGATED_TO_PRECOMPILE)
PRECOMPILES: Final = (0, 1, 2, 3, 4, 5, 9)
SLOTS: Final = (0, 0, 1, 2, 3, 1 << 64, (1 << 256) - 1)
HUGE: Final = (
    0xFFFF, 0x1FFFF, 0x20000, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 32,
    (1 << 64) - 1, 1 << 64, (1 << 64) + 1, 1 << 128, (1 << 255), (1 << 256) - 32, (1 << 256) - 1,
)  # fmt: skip

OPERANDS: Final = {
    "KECCAK256": "ms", "MLOAD": "m", "MSTORE": "mw", "MSTORE8": "mw", "MCOPY": "mms", "CALLDATALOAD": "o",
    "CALLDATACOPY": "mos", "CODECOPY": "mos", "EXTCODECOPY": "amos", "RETURNDATACOPY": "mrr", "SLOAD": "k",
    "SSTORE": "kx", "TLOAD": "k", "TSTORE": "kx", "BALANCE": "a", "EXTCODESIZE": "a", "EXTCODEHASH": "a",
    "BLOCKHASH": "b", "BLOBHASH": "n", "LOG0": "ms", "LOG1": "msw", "LOG2": "msww", "LOG3": "mswww",
    "LOG4": "mswwww", "CREATE": "vms", "CREATE2": "vmsn", "CALL": "gavmsms", "CALLCODE": "gavmsms",
    "DELEGATECALL": "gamsms", "STATICCALL": "gamsms", "RETURN": "ms", "REVERT": "ms", "SELFDESTRUCT": "a",
    "EXP": "we", "SIGNEXTEND": "nw", "BYTE": "nw", "SHL": "nw", "SHR": "nw", "SAR": "nw",
}  # fmt: skip
"""m memory offset, s size, w word, o offset in data, r part of the return data, k slot, x new value of a slot,
a address, b block number, n small number, v wei, g gas, e exponent.  Others take words."""


def push_operand(b: Builder, kind: str) -> None:
    """Push one operand."""
    number = b.random.random()
    if number < _UNKNOWN.get(kind, 0.15):
        unknown(b)
        if kind in "msor" and b.random.random() < 0.95:
            b.push(0x7F)
            b.op("AND")
    elif kind in "ms" and b.flavour == "huge" and b.random.random() < 0.4:
        b.push(b.random.choice(HUGE))
    else:
        b.push(_constant(b, kind))


_UNKNOWN: Final = {"w": 0.6, "a": 0.05, "g": 0.2, "v": 0.02, "k": 0.08, "r": 0.2, "e": 0.2}
"""How often the compiler cannot know an operand."""


def unknown(b: Builder) -> None:
    """Push what only running the program tells."""
    if b.random.random() < 0.4:
        b.push(b.random.choice((0, 4, 32, 36, 250)))
        b.op("CALLDATALOAD")
    else:
        b.op(b.random.choice(b.sources))


def address_of(b: Builder) -> int:
    """Someone's address; now and then with dirt above its 160 bits."""
    kind = b.random.random()
    number = b.random.choice(CONTRACTS if kind < 0.7 else PLAIN if kind < 0.88 else PRECOMPILES)
    return number | (1 << 200 if b.random.random() < 0.05 else 0)


def _constant(b: Builder, kind: str) -> int:
    random_ = b.random
    if kind == "m":
        return random_.choice((0, 0, 1, 31, 32, 64, random_.randrange(320)))
    if kind == "s":
        return random_.choice((0, 1, 31, 32, 33, 64, random_.randrange(160)))
    if kind == "o":
        return random_.choice((0, 4, 32, random_.randrange(80), random_.choice(HUGE)))
    if kind == "r":
        return random_.choice((0, 0, 0, 1, 32, 64, random_.choice(HUGE)))
    if kind == "k":
        return random_.choice(SLOTS)
    if kind == "x":
        return random_.choice((0, 0, 1, 2, random_word(random_)))
    if kind == "a":
        return address_of(b)
    if kind == "b":
        return random_.choice((743, 744, 999, 1000, 1001, 1 << 70))
    if kind == "v":
        return random_.choice((0, 0, 0, 0, 1, 5, 1 << 100))
    if kind == "g":
        return random_.choice((0, 700, 2300, 3000, 3000, 5000, 9000, 25_000, random_.choice(HUGE)))
    if kind == "e":
        return random_.choice((0, 1, 2, 255, 256, random_word(random_)))
    if kind == "n":
        return random_.choice((0, 1, 2, 30, 31, 32, 255, 256, 257, 1 << 64, random_.choice(EDGE_WORDS)))
    return random_.choice(EDGE_WORDS) if random_.random() < 0.5 else random_word(random_)


def instruction(b: Builder, name: str) -> None:
    """The instruction with all of its operands."""
    row = BY_MNEMONIC[name]
    for kind in reversed(OPERANDS.get(name, "w" * row.inputs)):
        if b.height and kind == "w" and b.random.random() < 0.25:
            b.op(f"DUP{b.random.randint(1, min(16, b.height))}")
        else:
            push_operand(b, kind)
    b.op(name)
