"""The Environment record: block and transaction values as plain loads of compiled code.

Job: build it once per transaction.  Invariant: compiled code only reads it, so it is an immutable
`bytes` object.  May import: `evmaot.abi.layout`, runtime.buffers, errors.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from evmaot.abi.layout import ENVIRONMENT
from evmaot.errors import CompilerBug, HostError
from evmaot.runtime.buffers import FORMATS, address_of_bytes

_ENVIRONMENT = struct.Struct("<" + "".join(FORMATS[row.type] for row in ENVIRONMENT.fields))
if [row.name for row in ENVIRONMENT.fields] != (
    "origin gas_price coinbase number timestamp gas_limit prevrandao chain_id base_fee blob_base_fee "
    "blob_hashes blob_hash_count"
).split():
    raise CompilerBug("the environment's rows are not in the order that the runtime writes them in")
_pack_blob_hashes = struct.Struct("<QQ").pack
"""Address and number."""


@lru_cache(maxsize=64)
def _words(*values: int) -> bytes:
    """Words as compiled code reads them.  (Kept: the transactions of a block have most of them in common.)"""
    return b"".join([value.to_bytes(32, "little") for value in values])


class EnvironmentRecord:
    """Block and transaction values for compiled code, built once per transaction.

    All values are integers below 2^256; `blob_hashes` are those of EIP-4844.  `address` is valid as long
    as this object lives.  Raises HostError `bad_environment_value`.
    """

    __slots__ = ("_blob_hashes", "_record", "address")

    def __init__(
        self,
        origin: int = 0,
        gas_price: int = 0,
        coinbase: int = 0,
        number: int = 0,
        timestamp: int = 0,
        gas_limit: int = 0,
        prevrandao: int = 0,
        chain_id: int = 1,
        base_fee: int = 0,
        blob_base_fee: int = 0,
        blob_hashes: Sequence[int] = (),
    ) -> None:
        try:
            of_block = _words(coinbase, number, timestamp, gas_limit, prevrandao, chain_id, base_fee, blob_base_fee)
            self._blob_hashes = _words(*blob_hashes) if blob_hashes else b""
            self._record = b"".join(
                (
                    origin.to_bytes(32, "little"),
                    gas_price.to_bytes(32, "little"),
                    of_block,
                    _pack_blob_hashes(address_of_bytes(self._blob_hashes), len(blob_hashes)),
                )
            )
        except OverflowError as error:
            raise HostError("bad_environment_value", "a value is no 256-bit number", cause=str(error)) from error
        # SAFETY: compiled code only reads the record; both buffers live as long as this object.
        self.address = address_of_bytes(self._record)
