from __future__ import annotations

import pytest

from evmaot.runtime.lookup import Interpret, InterpretReason, is_eligible


@pytest.mark.parametrize(
    ("code", "limit_bytes", "eligible"),
    [
        (b"\x00", 0, True),
        (b"\x00" * 100_000, 0, True),
        (b"\x00" * 10, 10, True),
        (b"\x00" * 11, 10, False),
        (b"", 0, False),
        (b"\xef\x01\x00" + bytes(20), 0, False),
        (b"\xef", 0, False),
        (b"\x00\xef", 0, True),
    ],
)
def test_eligible_code_is_not_empty_not_long_and_not_reserved(code: bytes, limit_bytes: int, eligible: bool) -> None:
    assert is_eligible(code, limit_bytes=limit_bytes) is eligible


def test_decisions_are_values() -> None:
    assert Interpret(InterpretReason.NOT_READY) == Interpret(InterpretReason.NOT_READY)
    assert Interpret(InterpretReason.NOT_READY) != Interpret(InterpretReason.DISABLED)
    assert {reason.value for reason in InterpretReason} == {"disabled", "ineligible", "not_ready", "jit_failed"}
