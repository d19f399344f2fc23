"""Status values: how a frame ended, or why it suspended.

Job: the one list of values an entry function returns.  Invariant: values are part of the ABI
fingerprint; they are never renumbered, only added.  May import: nothing of evmaot.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What an entry function returns (int32)."""

    STOP = 0
    RETURN = 1
    SELFDESTRUCT = 2
    REVERT = 3
    CALL = 4
    """Suspended: the frame asks for a message call, see the request fields."""
    CREATE = 5
    """Suspended: the frame asks for a create, see the request fields."""

    OUT_OF_GAS = 16
    STACK_UNDERFLOW = 17
    STACK_OVERFLOW = 18
    INVALID_OPCODE = 19
    """An opcode the fork does not price, or INVALID (EIP-141)."""
    BAD_JUMP_DESTINATION = 20
    STATIC_VIOLATION = 21
    """A state change in a static frame (EIP-214)."""
    OUT_OF_BOUNDS_READ = 22
    """RETURNDATACOPY past the end of the return data (EIP-211)."""

    HOST_ERROR = 64
    """A host function failed; the host keeps the reason."""
    MEMORY_LIMIT = 65
    """Paid-for memory that the driver cannot provide; not an EVM outcome."""

    @property
    def succeeded(self) -> bool:
        """True for STOP, RETURN and SELFDESTRUCT."""
        return self <= Status.SELFDESTRUCT

    @property
    def suspended(self) -> bool:
        """True when the frame must be entered again."""
        return self in (Status.CALL, Status.CREATE)

    @property
    def halted(self) -> bool:
        """True for an exceptional halt: all gas is consumed and the frame reverts."""
        return Status.OUT_OF_GAS <= self < Status.HOST_ERROR


class CallKind(IntEnum):
    """Value of the frame's `request_kind` while suspended."""

    CALL = 0
    CALLCODE = 1
    DELEGATECALL = 2
    STATICCALL = 3
    CREATE = 4
    CREATE2 = 5


class AccountFlag(IntEnum):
    """Bits of the answer of the host's account functions."""

    COLD = 1
    """The address was not accessed before in this transaction (EIP-2929)."""
    EXISTS = 2
    """The account exists in the state, empty or not."""
    ALIVE = 4
    """The account exists and is not empty (EIP-161)."""
    DELEGATED = 8
    """The account's code is an EIP-7702 delegation."""
    DELEGATE_COLD = 16
    """The delegation's target was not accessed before."""
    HAS_BALANCE = 32
    """`selfdestruct` only: the executing account has a balance to move."""


class StorageStatus(IntEnum):
    """How an SSTORE changed a slot: original (X), current, new.  Source: EVMC's storage status, EIP-2200."""

    ASSIGNED = 0
    """No change, or a change of an already changed slot to a third value."""
    ADDED = 1
    """0 -> 0 -> Z"""
    DELETED = 2
    """X -> X -> 0"""
    MODIFIED = 3
    """X -> X -> Z"""
    DELETED_ADDED = 4
    """X -> 0 -> Z"""
    MODIFIED_DELETED = 5
    """X -> Y -> 0"""
    DELETED_RESTORED = 6
    """X -> 0 -> X"""
    ADDED_DELETED = 7
    """0 -> Y -> 0"""
    MODIFIED_RESTORED = 8
    """X -> Y -> X"""


STORAGE_COLD = 256
"""Bit of the answer of `set_storage`: the slot was cold (EIP-2929)."""
