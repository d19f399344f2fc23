"""The Environment record: block and transaction values as plain loads of compiled code.

Job: build it once per transaction.  Invariant: compiled code only reads it, so it is an immutable
`bytes` object.  May import: `evmaot.abi.layout`, runtime.buffers, errors.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from evmaot.abi.layout import ENVIRONMENT
from evmaot.errors import CompilerBug, HostError
from evmaot.runtime.buffers import FORMATS, address_of_bytes

_ENVIRONMENT = struct.Struct("<" + "".join(FORMATS[row.type] for row in ENVIRONMENT.fields))
if [row.name for row in ENVIRONMENT.fields] != (
    "origin gas_price coinbase number timestamp gas_limit prevrandao chain_id base_fee blob_base_fee "
    "blob_hashes blob_hash_count"
).split():
    raise CompilerBug("the environment's rows are not in the order that the runtime writes them in")


class EnvironmentRecord:
    """Block and transaction values for compiled code, built once per transaction.

    All values are integers below 2^256; `blob_hashes` are those of EIP-4844.  `address` is valid as long
    as this object lives.  Raises HostError `bad_environment_value`.
    """

    __slots__ = ("_blob_hashes", "_record", "address")

    def __init__(
        self,
        *,
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
        words = (
            origin, gas_price, coinbase, number, timestamp, gas_limit, prevrandao, chain_id, base_fee, blob_base_fee,
        )  # fmt: skip
        try:
            self._blob_hashes = b"".join([value.to_bytes(32, "little") for value in blob_hashes])
            self._record = _ENVIRONMENT.pack(
                *[value.to_bytes(32, "little") for value in words],
                address_of_bytes(self._blob_hashes),
                len(blob_hashes),
            )
        except OverflowError as error:
            raise HostError("bad_environment_value", "a value is no 256-bit number", cause=str(error)) from error
        # SAFETY: compiled code only reads the record; both buffers live as long as this object.
        self.address = address_of_bytes(self._record)
