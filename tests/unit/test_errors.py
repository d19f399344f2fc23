"""Errors are data: they keep what they carry, across processes too, and map to exit codes."""

from __future__ import annotations

import pickle

import pytest

from evmaot import errors
from evmaot.errors import CompilerBug, EvmaotError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EvmaotError)]

EXIT_CODES = {
    "EvmaotError": 1, "UsageError": 2, "InputError": 3, "CompileError": 3, "LinkError": 1, "StoreError": 73,
    "CorruptionError": 4, "BusyError": 75, "TrustError": 77, "SignatureError": 5, "LoadError": 6, "HostError": 1,
}  # fmt: skip


def test_exit_codes_are_stable() -> None:
    """Scripts depend on them."""
    assert {kind.__name__: kind.exit_code for kind in KINDS} == EXIT_CODES


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_a_process_border(kind: type[EvmaotError]) -> None:
    error = kind("odd_hex", "odd number of digits", context={"digits": 3}, cause="a digit is missing", hint="add it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "odd number of digits"
    carried = (copy.reference, copy.message, copy.context, copy.cause, copy.hint)
    assert carried == ("odd_hex", "odd number of digits", {"digits": 3}, "a digit is missing", "add it")


def test_context_is_a_copy() -> None:
    context: dict[str, object] = {"a": 1}
    error = EvmaotError("x", "y", context=context)
    context["a"] = 2
    assert error.context == {"a": 1}


def test_details_are_optional() -> None:
    error = EvmaotError("x", "y")
    assert (error.context, error.cause, error.hint) == ({}, None, None)


def test_our_own_fault_is_not_the_users() -> None:
    assert issubclass(CompilerBug, AssertionError)
    assert not issubclass(CompilerBug, EvmaotError)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    drawn = errors.__doc__ or ""
    for kind in KINDS:
        assert f" {kind.__name__} " in drawn, kind
    assert "CompilerBug" in drawn
