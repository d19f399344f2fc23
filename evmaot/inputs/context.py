"""Where a reader is: the input, the place inside it, the limits.

Job: one value that readers pass down and that knows how to name places and make problems; typed
access to JSON values.  Invariant: `ShapeError` never leaves the input layer, the reader that called
a format turns it into a problem.  May import: inputs.source, inputs.problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from evmaot.inputs.problems import make_problem
from evmaot.inputs.source import Hole, InputLimits, Problem, Severity

Json = Mapping[str, Any]
"""A JSON object, as `json` reads it."""


class ShapeError(Exception):
    """A document lacks what its format demands; the text says what."""


class ConstructorFailed(Exception):
    """An init code deploys nothing; the text says why."""

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class Deployed(NamedTuple):
    """What an init code deploys."""

    code: bytes
    holes: tuple[Hole, ...]
    """Where each deployment has its own bytes."""


RunConstructor: TypeAlias = Callable[[bytes], Deployed]
"""Runs an init code without arguments.  Raises ConstructorFailed."""


@dataclass(frozen=True, slots=True)
class Context:
    """The place that a reader works at."""

    path: str
    """As the user gave it or the directory listed it; `-` for standard input."""
    limits: InputLimits
    allow_unlinked: bool = False
    from_directory: bool = False
    """Whether the file was found in a directory, not named by the user."""
    keys: tuple[str, ...] = ()
    """The place inside, from outside to inside."""
    run_constructor: RunConstructor | None = None
    """How code is had that only a constructor returns; None: it is not."""

    @property
    def origin(self) -> str:
        """The path, `#`, and the keys with colons between them."""
        return f"{self.path}#{':'.join(self.keys)}" if self.keys else self.path

    @property
    def name(self) -> str:
        """A label for code that has no name of its own: the file's name and the place."""
        name = "stdin" if self.path == "-" else self.path.rstrip("/").rpartition("/")[2]
        return f"{name}#{':'.join(self.keys)}" if self.keys else name

    def at(self, *keys: str) -> Context:
        """The context of a place further inside."""
        # Called for each record of a dump; dataclasses.replace takes five times as long.
        return Context(
            self.path, self.limits, self.allow_unlinked, self.from_directory, (*self.keys, *keys), self.run_constructor
        )

    def problem(
        self,
        code: str,
        message: str,
        *,
        cause: str | None = None,
        hint: str | None = None,
        severity: Severity | None = None,
    ) -> Problem:
        """A problem of this place."""
        return make_problem(
            code,
            self.origin,
            message,
            cause=cause,
            hint=hint,
            severity=severity,
            from_directory=self.from_directory,
        )


def require_object(value: object, what: str) -> Json:
    """The value as a JSON object.  ShapeError otherwise."""
    if not isinstance(value, Mapping):
        raise ShapeError(f"{what} is not an object")
    return value


def object_or_empty(value: object) -> Json:
    """The value if it is a JSON object, else an empty one: for parts that may be left out."""
    return value if isinstance(value, Mapping) else {}


def text_or_none(value: object) -> str | None:
    """The value if it is a text with something in it."""
    return value if isinstance(value, str) and value else None
