"""Lowerings of BLOCKHASH to CHAINID.

May import: `lowerings.environment`.
"""

from __future__ import annotations

from evmaot.codegen.emit.lowerings.environment import ask, environment_word
from evmaot.codegen.emit.region import Lowering

LOWERINGS: dict[str, Lowering] = {
    "BLOCKHASH": ask("get_block_hash"),
    "COINBASE": environment_word("coinbase"),
    "TIMESTAMP": environment_word("timestamp"),
    "NUMBER": environment_word("number"),
    "PREVRANDAO": environment_word("prevrandao"),
    "GASLIMIT": environment_word("gas_limit"),
    "CHAINID": environment_word("chain_id"),
}
