"""A status is exactly one of: succeeded, reverted, suspended, halted, or not an EVM outcome."""

from __future__ import annotations

from evmaot.abi.status import Status

NUMBERS = {
    "STOP": 0, "RETURN": 1, "SELFDESTRUCT": 2, "REVERT": 3, "CALL": 4, "CREATE": 5,
    "OUT_OF_GAS": 16, "STACK_UNDERFLOW": 17, "STACK_OVERFLOW": 18, "INVALID_OPCODE": 19,
    "BAD_JUMP_DESTINATION": 20, "STATIC_VIOLATION": 21, "OUT_OF_BOUNDS_READ": 22,
    "HOST_ERROR": 64, "MEMORY_LIMIT": 65,
}  # fmt: skip


def test_values_are_never_renumbered() -> None:
    """They are in artifacts on disk and in the C header; a new one is added, an old one stays."""
    assert {member.name: member.value for member in Status} == NUMBERS


def test_kinds_do_not_overlap() -> None:
    for status in Status:
        assert status.succeeded + status.suspended + status.halted <= 1, status


def test_each_kind_is_spelled_out() -> None:
    assert {status.name for status in Status if status.succeeded} == {"STOP", "RETURN", "SELFDESTRUCT"}
    assert {status.name for status in Status if status.suspended} == {"CALL", "CREATE"}
    neither = {status.name for status in Status if not (status.succeeded or status.suspended or status.halted)}
    assert neither == {"REVERT", "HOST_ERROR", "MEMORY_LIMIT"}
