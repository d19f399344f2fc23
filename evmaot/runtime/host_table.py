"""A HostTable record whose functions are Python callables.

Job: make C function pointers of Python functions, and keep exceptions out of native code.
Invariants: every row of `abi.layout.HOST_TABLE` has a function, a missing one refuses; a function that
raises answers -1, and the first exception is kept for the caller; from then on every function refuses.
May import: `evmaot.abi`, errors.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from operator import index
from types import CodeType
from typing import Any

from evmaot.abi.layout import HOST_TABLE, Field
from evmaot.errors import HostError

REFUSED = -1
"""Answer of a host function that failed (any negative number is a failure)."""

HostFunction = Callable[..., int]
"""Called with the frame's address and the row's arguments, all as addresses (integers)."""


class HostTable:
    """A HostTable record, kept alive by this object; `address` is what a frame is started with.

    Raises HostError `unknown_host_function` for a name that is no row of the ABI.
    """

    __slots__ = ("_callbacks", "_record", "address", "error")

    def __init__(self, functions: Mapping[str, HostFunction]) -> None:
        unknown = sorted(set(functions) - {row.name for row in HOST_TABLE.fields})
        if unknown:
            raise HostError(
                "unknown_host_function",
                f"the ABI has no host function {unknown[0]!r}",
                context={"unknown": unknown, "known": [row.name for row in HOST_TABLE.fields]},
            )
        self.error: BaseException | None = None
        _watch_unraisable()
        self._callbacks = [
            _prototype(row)(self._guarded(row, functions.get(row.name, _refuse))) for row in HOST_TABLE.fields
        ]
        pointers = [ctypes.cast(callback, ctypes.c_void_p).value for callback in self._callbacks]
        # SAFETY: the record and the closures it points to live as long as this object; the caller keeps it
        # as long as a frame that was started with `address` can run.
        self._record = ctypes.create_string_buffer(struct.pack(f"<{len(pointers)}Q", *pointers))
        self.address = ctypes.addressof(self._record)

    def _guarded(self, row: Field, function: HostFunction) -> HostFunction:
        # Two for the usual numbers of arguments: packing and unpacking them costs 70 ns a call.
        def guarded_single(frame: int, first: int) -> int:
            try:
                if self.error is not None:
                    return REFUSED
                return index(function(frame, first))
            except BaseException as error:
                return self._keep(error)

        def guarded_pair(frame: int, first: int, second: int) -> int:
            try:
                if self.error is not None:
                    return REFUSED
                return index(function(frame, first, second))
            except BaseException as error:
                return self._keep(error)

        def guarded(*arguments: int) -> int:
            try:
                if self.error is not None:
                    return REFUSED
                return index(function(*arguments))
            except BaseException as error:
                return self._keep(error)

        if len(row.arguments) == 1:
            return guarded_single
        return guarded_pair if len(row.arguments) == 2 else guarded

    def _keep(self, error: BaseException) -> int:
        # Left to ctypes, it would be printed and answered by 0: a success.
        if self.error is None:
            self.error = error
        return REFUSED

    def take_error(self) -> BaseException | None:
        """The first exception since the last call of this method; to be raised by who runs the frame."""
        error, self.error = self.error, None
        return error


def _refuse(*_arguments: int) -> int:
    return REFUSED


# A signal that came while native code ran is handled by the interpreter at the first step of the next Python function:
# in front of the `try` of a guard, where nothing of the guard can catch what its handler raises (KeyboardInterrupt).
# Ctypes prints it and answers native code with whatever is in the register, which would be taken for a success.  What
# ctypes prints goes through `sys.unraisablehook`: there it is found, and kept as what other functions raise.
_GUARDS = frozenset(item for item in HostTable._guarded.__code__.co_consts if isinstance(item, CodeType))


def _watch_unraisable() -> None:
    hook = sys.unraisablehook
    if not (isinstance(hook, partial) and hook.func is _unraisable):
        sys.unraisablehook = partial(_unraisable, hook)


def _unraisable(previous: Callable[[Any], object], unraisable: Any, /) -> None:
    traceback, error = unraisable.exc_traceback, unraisable.exc_value
    if traceback is not None and error is not None and traceback.tb_frame.f_code in _GUARDS:
        table = traceback.tb_frame.f_locals.get("self")
        if isinstance(table, HostTable):
            table._keep(error)
            return
    previous(unraisable)


@cache
def _prototype_of_arity(arguments: int) -> Callable[[HostFunction], Any]:
    # Addresses as c_uint64: the same register class as a pointer, and a null arrives as 0, not None.
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * (1 + arguments))


def _prototype(row: Field) -> Callable[[HostFunction], Any]:
    return _prototype_of_arity(len(row.arguments))


@cache
def refusing_host_table() -> HostTable:
    """The table of a frame without a host: every function fails, also `grow_memory` (MEMORY_LIMIT)."""
    return HostTable({})
