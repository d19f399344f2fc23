"""Codes from a node as contracts to compile, or as a dump to compile later.

Job: accounts to the items of the input layer, and to the lines of a dump that `read_inputs` reads.  Invariant: a build
from a dump gets the same codes as one from the node.  May import: inputs.{context,contract,live,source}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from evmaot.errors import UsageError
from evmaot.evm.keccak import keccak256
from evmaot.inputs.context import Context
from evmaot.inputs.contract import accept_code
from evmaot.inputs.live.accounts import Account
from evmaot.inputs.source import InputLimits, Item, Problem

BLOCK_TAGS = ("latest", "earliest", "safe", "finalized", "pending")
_BLOCK = re.compile(r"\d{1,18}|0x[0-9a-fA-F]{1,16}|0x[0-9a-fA-F]{64}")


def check_block(block: str) -> str:
    """The block as given, if it can be one.  UsageError ``bad_block``."""
    if block not in BLOCK_TAGS and not _BLOCK.fullmatch(block):
        known = ", ".join(BLOCK_TAGS)
        raise UsageError(
            "bad_block", f"{block!r} is not a block", hint=f"give a number, the hash of a block, or one of: {known}"
        )
    return block


def contracts_of(
    accounts: Iterable[Account | Problem], shown: str, limits: InputLimits | None = None
) -> Iterator[Item]:
    """A contract for each account, and problems.  `shown`: the node, as in origins."""
    context = Context(shown, limits or InputLimits())
    for account in accounts:
        if isinstance(account, Problem):
            yield account
        else:
            yield accept_code(context.at(account.address), account.code, account.address)


def dump_line(account: Account) -> str:
    """An account as a line of a dump (a JSON object of the format code-list)."""
    record = {
        "address": account.address,
        "block_number": account.block_number,
        "chain_id": account.chain_id,
        "code": "0x" + account.code.hex(),
        "code_keccak256": "0x" + keccak256(account.code).hex(),
        **({"implementation_of": list(account.delegators)} if account.delegators else {}),
    }
    return json.dumps(record, separators=(",", ":"))
