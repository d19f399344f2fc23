"""Files that commands write.

Job: a file that is there as a whole or not at all.  May import: errors.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from evmaot.errors import UsageError


def check_replaceable(path: Path) -> None:
    """Refuse, before the work that it is of, a file that can't be written.  Raises UsageError."""
    try:
        cause = _obstacle(path)
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a null byte, a loop of links
        cause = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    if cause is None:
        return
    hint = "name a file in a directory that you can write to"
    context = {"subject": str(path)}
    raise UsageError("output_not_writable", "cannot write the file", context=context, cause=cause, hint=hint)


def _obstacle(path: Path) -> str | None:
    folder = path.resolve().parent
    if path.is_dir():
        return "it is a directory"
    if path.exists() and not path.is_file():
        return None
    if not folder.is_dir():
        return f"there is no directory {str(folder)!r}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the directory {str(folder)!r} may not be written to"
    return None


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` at the end of the block: a reader sees the old one or the new one.

    A pipe or a device, such as /dev/stdout, is written to and not replaced; of a link, the file that it leads to is.
    """
    if path.exists() and not path.is_file():
        with open(path, "w", encoding="utf-8") as stream:
            yield stream
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            yield stream
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
