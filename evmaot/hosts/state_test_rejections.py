"""Why a transaction is rejected: what the suites call it, and what EELS raises.

Job: one table.  Invariant: a name that is not in it accepts any reason (suites grow), so the table can
only make a run stricter.  May import: nothing of evmaot.
"""

from __future__ import annotations

from collections.abc import Mapping

_FUNDS = frozenset(("InsufficientBalanceError",))
_GAS = frozenset(("InsufficientTransactionGasError",))
_TYPE = frozenset(("TransactionTypeNotSupported", "TransactionTypeError"))
_SENDER = frozenset(("InvalidSenderError",))
_FEE_CAP = frozenset(("InsufficientMaxFeePerGasError",))
_TIP = frozenset(("PriorityFeeGreaterThanMaxFeeError",))
_INITCODE = frozenset(("InitCodeTooLargeError",))
_BLOB_HASH = frozenset(("InvalidBlobVersionedHashError",))
_BLOBS = frozenset(("BlobCountExceededError", "BlobGasLimitExceededError"))

REASONS: Mapping[str, frozenset[str]] = {
    "INSUFFICIENT_ACCOUNT_FUNDS": _FUNDS,
    "GASLIMIT_PRICE_PRODUCT_OVERFLOW": _FUNDS | frozenset(("FieldOutOfRange",)),
    "INTRINSIC_GAS_TOO_LOW": _GAS,
    "INTRINSIC_GAS_BELOW_FLOOR_GAS_COST": _GAS,
    "SENDER_NOT_EOA": _SENDER,
    "TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH": _BLOB_HASH,
    "TYPE_3_TX_ZERO_BLOBS": frozenset(("NoBlobDataError",)),
    "TYPE_3_TX_PRE_FORK": _TYPE,
    "TYPE_4_TX_PRE_FORK": _TYPE,
    "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED": _BLOBS,
    "TYPE_3_TX_BLOB_COUNT_EXCEEDED": _BLOBS,
    "GAS_LIMIT_EXCEEDS_MAXIMUM": frozenset(("TransactionGasLimitExceededError",)),
    "INSUFFICIENT_MAX_FEE_PER_GAS": _FEE_CAP,
    "INSUFFICIENT_MAX_FEE_PER_BLOB_GAS": frozenset(("InsufficientMaxFeePerBlobGasError",)),
    "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS": _TIP,
    "INITCODE_SIZE_EXCEEDED": _INITCODE,
    # retesteth's names
    "TR_TypeNotSupported": _TYPE,
    "TR_NoFunds": _FUNDS,
    "TR_NoFundsX": _FUNDS,
    "TR_NoFundsOrGas": _FUNDS | _GAS,
    "TR_IntrinsicGas": _GAS,
    "IntrinsicGas": _GAS,
    "SenderNotEOA": _SENDER,
    "TR_FeeCapLessThanBlocks": _FEE_CAP,
    "TR_TipGtFeeCap": _TIP,
    "TR_BLOBVERSION_INVALID": _BLOB_HASH,
    "TR_InitCodeLimitExceeded": _INITCODE,
}
"""EELS's exceptions (and our words for what EELS's loader cannot even read) by the suites' names."""


def is_expected_rejection(expected: str, reason: str) -> bool:
    """Whether a rejection is the expected one; `expected` may be alternatives separated by ``|``."""
    for name in expected.split("|"):
        accepted = REASONS.get(name.removeprefix("TransactionException."))
        if accepted is None or reason in accepted:
            return True
    return False
