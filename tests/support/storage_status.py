"""The storage status of an SSTORE, spelled out from EVMC's documentation of its names."""

from __future__ import annotations

from evmaot.abi.status import StorageStatus


def storage_status(original: int, current: int, new: int) -> StorageStatus:
    """Status by the values before the transaction, before the SSTORE and after it."""
    if current == new:
        return StorageStatus.ASSIGNED
    if current == original:
        if original == 0:
            return StorageStatus.ADDED
        return StorageStatus.DELETED if new == 0 else StorageStatus.MODIFIED
    if original == 0:
        return StorageStatus.ADDED_DELETED if new == 0 else StorageStatus.ASSIGNED
    if current == 0:
        return StorageStatus.DELETED_RESTORED if new == original else StorageStatus.DELETED_ADDED
    if new == 0:
        return StorageStatus.MODIFIED_DELETED
    return StorageStatus.MODIFIED_RESTORED if new == original else StorageStatus.ASSIGNED
