"""Maps of accounts, as many formats have them: `{address: {balance, nonce, code, storage}}`.

Not a format of its own.  An account without code is no contract and yields nothing: dumps of a chain
have a hundred of them for each one with code.  May import: inputs.{context,contract,source}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evmaot.inputs.context import Context, object_or_empty
from evmaot.inputs.contract import read_code
from evmaot.inputs.source import Item

_ADDRESS = re.compile(r"(?:0[xX])?[0-9a-fA-F]{40}$")
NO_CODE = (None, "", "0x", "0X")


def is_address(value: object) -> bool:
    """Whether it is the text of an address, with 0x or not."""
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def is_account_map(value: object) -> bool:
    """Whether every key is an address and every value an object; an empty object is one."""
    return isinstance(value, Mapping) and all(is_address(key) and isinstance(v, Mapping) for key, v in value.items())


def read_accounts(accounts: object, context: Context, *, prefix: str = "", count: int = 1) -> Iterator[Item]:
    """The codes of a map of accounts; labels are the addresses behind `prefix`."""
    for address, account in object_or_empty(accounts).items():
        code = object_or_empty(account).get("code")
        if code not in NO_CODE:
            yield read_code(context.at(address), code, f"{prefix}{address}", count=count)


def read_account(account: Mapping[str, Any], context: Context, label: str) -> Iterator[Item]:
    """The code of one account, if it has one."""
    if account.get("code") not in NO_CODE:
        yield read_code(context.at(label), account.get("code"), label)
