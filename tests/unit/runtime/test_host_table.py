from __future__ import annotations

import ctypes
import signal
import sys
from functools import partial
from operator import methodcaller

import pytest

from evmaot.abi.layout import HOST_TABLE
from evmaot.errors import HostError
from evmaot.runtime.host_table import REFUSED, HostFunction, HostTable, refusing_host_table


def call(table: HostTable, name: str, *arguments: int) -> int:
    row = next(row for row in HOST_TABLE.fields if row.name == name)
    pointer = ctypes.c_uint64.from_address(table.address + HOST_TABLE.offset(name)).value
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * (1 + len(row.arguments)))
    answer: int = prototype(pointer)(*arguments)
    return answer


def test_each_row_reaches_its_own_function_with_its_arguments() -> None:
    def answering(number: int, arity: int) -> HostFunction:
        def function(*arguments: int) -> int:
            assert arguments == tuple(range(1, 2 + arity))
            return number

        return function

    rows = HOST_TABLE.fields
    table = HostTable({row.name: answering(index, len(row.arguments)) for index, row in enumerate(rows)})
    for index, row in enumerate(rows):
        assert call(table, row.name, *range(1, 2 + len(row.arguments))) == index
    assert table.take_error() is None


def test_a_missing_function_refuses() -> None:
    table = HostTable({"get_balance": lambda *_: 0})
    assert call(table, "get_balance", 1, 2, 3) == 0
    assert call(table, "get_storage", 1, 2, 3) == REFUSED
    for row in HOST_TABLE.fields:
        assert call(refusing_host_table(), row.name, *range(1 + len(row.arguments))) == REFUSED


def test_an_unknown_function_is_an_error() -> None:
    with pytest.raises(HostError) as caught:
        HostTable({"get_balances": lambda *_: 0})
    assert caught.value.reference == "unknown_host_function"
    assert "get_balances" in str(caught.value)


def test_the_first_exception_is_kept_and_the_function_fails() -> None:
    def failing(_frame: int, key: int, _value: int) -> int:
        raise ValueError(key)

    table = HostTable({"get_storage": failing})
    assert call(table, "get_storage", 1, 2, 3) == REFUSED
    assert call(table, "get_storage", 1, 5, 3) == REFUSED
    error = table.take_error()
    assert isinstance(error, ValueError)
    assert error.args == (2,)
    assert table.take_error() is None


def test_an_answer_that_is_no_number_does_not_pass_for_success() -> None:
    table = HostTable({"get_balance": lambda *_: None})  # type: ignore[dict-item]  # that is the test
    assert call(table, "get_balance", 1, 2, 3) == REFUSED
    assert isinstance(table.take_error(), TypeError)


def test_an_interrupt_in_a_callback_is_kept_for_the_caller() -> None:
    def interrupted(*_arguments: int) -> int:
        raise KeyboardInterrupt

    table = HostTable({"emit_log": interrupted})
    assert call(table, "emit_log", 1, 2, 3) == REFUSED
    assert isinstance(table.take_error(), KeyboardInterrupt)


@pytest.mark.parametrize(
    ("name", "arity"), [("grow_slots", 0), ("account_status", 1), ("get_storage", 2), ("get_code", 3)]
)
def test_an_interrupt_that_came_while_native_code_ran_is_kept_for_the_caller(name: str, arity: int) -> None:
    """It is raised as the callback is entered, where no `try` of the callback can see it; it once was a success."""
    called: list[int] = []

    arguments = tuple(range(1, 2 + arity))

    def answering(frame: int, *_arguments: int) -> int:
        called.append(frame)
        return 0

    table = HostTable({name: answering})
    pointer = ctypes.c_uint64.from_address(table.address + HOST_TABLE.offset(name)).value
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * len(arguments))(pointer)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # No step of the interpreter lies between the signal and the callback, as in native code.
        list(map(methodcaller("__call__"), (ctypes.pythonapi.PyErr_SetInterrupt, partial(function, *arguments))))
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == []
    assert isinstance(table.error, KeyboardInterrupt)
    assert call(table, name, *arguments) == REFUSED, "whatever the first one answered, this ends the frame"
    assert called == []
    assert isinstance(table.take_error(), KeyboardInterrupt)
    assert call(table, name, *arguments) == 0


def test_what_is_raised_elsewhere_goes_where_it_went_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_type))
    for _ in range(3):
        HostTable({})

    class Dying:
        def __del__(self) -> None:
            raise ZeroDivisionError

    Dying()
    assert seen == [ZeroDivisionError], "once, however many tables there are"
