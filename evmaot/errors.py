"""The exception tree of evmaot.

Job: every failure that is the user's or the world's fault, as data that a front end can render.
Invariant: an EVM outcome (revert, out of gas) is never an exception, it is a status value; our own
fault is `CompilerBug`.  May import: nothing of evmaot.

    Exception
    ├── EvmaotError              carries reference, message, context, hint
    │   ├── UsageError           wrong option, configuration or fork name        exit 2
    │   ├── InputError           an input that cannot be read or compiled        exit 3
    │   ├── CompileError         one contract failed to compile (limit, LLVM)    exit 3
    │   ├── LinkError            objects that the linker refuses                 exit 1
    │   ├── StoreError           the store cannot be read or written             exit 73
    │   │   ├── CorruptionError  bytes on disk are not what was published        exit 4
    │   │   ├── BusyError        a lock is held by someone else                  exit 75
    │   │   └── TrustError       refused by ownership, mode or policy            exit 77
    │   │       └── SignatureError   unsigned, or not by who is trusted          exit 5
    │   ├── LoadError            an artifact that this process refuses to load   exit 6
    │   └── HostError            a host broke its contract                       exit 1
    └── CompilerBug (AssertionError)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class EvmaotError(Exception):
    """A failure with everything a person or a program needs to act on it.

    `reference` is a stable snake_case identifier (for example ``odd_hex``), `message` says what
    failed, `context` holds the values involved, `cause` why, and `hint` what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        reference: str,
        message: str,
        *,
        context: Mapping[str, object] | None = None,
        cause: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reference = reference
        self.message = message
        self.context: dict[str, object] = dict(context or {})
        self.cause = cause
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (build workers); keyword-only arguments need help.
        return (_rebuild, (type(self), self.reference, self.message, self.context, self.cause, self.hint))


def _rebuild(
    kind: type[EvmaotError],
    reference: str,
    message: str,
    context: dict[str, object],
    cause: str | None,
    hint: str | None,
) -> EvmaotError:
    return kind(reference, message, context=context, cause=cause, hint=hint)


class UsageError(EvmaotError):
    """A wrong option, configuration value or fork name."""

    exit_code = 2


class InputError(EvmaotError):
    """An input that cannot be read, or whose code cannot be compiled."""

    exit_code = 3


class CompileError(EvmaotError):
    """One contract failed to compile: a limit was reached, or LLVM refused."""

    exit_code = 3


class LinkError(EvmaotError):
    """Objects that the linker refuses: unknown relocation, undefined symbol, bad section."""


class StoreError(EvmaotError):
    """The artifact store cannot be read or written."""

    exit_code = 73


class CorruptionError(StoreError):
    """Bytes on disk are not the bytes that were published."""

    exit_code = 4


class BusyError(StoreError):
    """A lock of the store is held by another process."""

    exit_code = 75


class TrustError(StoreError):
    """Refused by owner, mode or policy."""

    exit_code = 77


class SignatureError(TrustError):
    """Not signed, not signed by a trusted key, or not the bytes that were signed."""

    exit_code = 5


class LoadError(EvmaotError):
    """An artifact that this process refuses to load; `reference` is the named reason."""

    exit_code = 6


class HostError(EvmaotError):
    """A host broke its contract with the executor."""


class CompilerBug(AssertionError):
    """Our own fault: an invariant of the compiler does not hold."""
