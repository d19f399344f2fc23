"""A line of mnemonics to code, for tests.

`asm("CALLDATASIZE @over JUMPI 7 0 SSTORE over: STOP")`: a number is its shortest PUSH (at least PUSH1),
`@label` a PUSH2 of where `label:` puts a JUMPDEST, ``PUSH3=5`` a PUSH of that width, ``x5b61`` bytes as
they are, and ``(A B)*3`` a group three times.
"""

from __future__ import annotations

import re

from evmaot.evm.opcodes import BY_MNEMONIC
from tests.support.assembly import assemble

_GROUP = re.compile(r"\(([^()]*)\)\*(\d+)")


def asm(text: str) -> bytes:
    """Assemble.  KeyError for an unknown mnemonic or label."""
    while _GROUP.search(text):
        text = _GROUP.sub(lambda match: " ".join([match[1]] * int(match[2])), text)
    code = bytearray()
    places: dict[str, int] = {}
    uses: list[tuple[int, str]] = []
    for word in text.split():
        if word.endswith(":"):
            places[word[:-1]] = len(code)
            code.append(BY_MNEMONIC["JUMPDEST"].value)
        elif word.startswith("@"):
            uses.append((len(code) + 1, word[1:]))
            code += bytes((BY_MNEMONIC["PUSH2"].value, 0, 0))
        elif word.startswith("PUSH") and "=" in word:
            mnemonic, _, number = word.partition("=")
            row = BY_MNEMONIC[mnemonic]
            code += bytes((row.value,)) + int(number, 0).to_bytes(row.immediate_size, "big")
        elif re.fullmatch(r"x([0-9a-f]{2})+", word):
            code += bytes.fromhex(word[1:])
        elif word[0].isdigit():
            code += assemble(int(word, 0))
        else:
            code += assemble(word)
    for at, name in uses:
        code[at : at + 2] = places[name].to_bytes(2, "big")
    return bytes(code)
