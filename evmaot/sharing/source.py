"""Where an import reads from: a file of somebody else's.

Job: bytes that stay what they are while they are judged.  Invariant: what is imported are the very bytes whose
signature was checked, whoever can write to the file meanwhile.  May import: `evmaot.errors`, `evmaot.sharing`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from evmaot.errors import UsageError
from evmaot.sharing.exporting import SIGNATURE_SUFFIX
from evmaot.store.files import translated

MAX_SIGNATURE_BYTES: Final = 8192
_COPY_BYTES: Final = 1 << 20


def signature_beside(path: Path) -> str | None:
    """The signature beside a file, None where there is none.  Raises UsageError ``unreadable_file``."""
    beside = path.with_name(path.name + SIGNATURE_SUFFIX)
    if not os.path.exists(beside):
        return None
    try:
        with open(_opened(beside, "signature", "the signature is FILE.minisig beside the export"), "rb") as stream:
            return signature_text(stream.read(MAX_SIGNATURE_BYTES))
    except OSError as error:
        raise _unreadable(beside, error) from error


def signature_text(data: bytes) -> str:
    """A signature as text; what is none of UTF-8 verifies as none."""
    return data.decode("utf-8", "replace")


def require_readable(path: Path) -> None:
    """Raise UsageError ``unreadable_file`` for what is no file to import, before a store is made for it."""
    os.close(_opened(path))


_NOT_A_FILE: Final = (
    "give a file of evmaot export; what export --directory wrote is served, and fetched with evmaot pull"
)


def _opened(path: Path, what: str = "export", hint: str = _NOT_A_FILE) -> int:
    """A descriptor of a regular file: a pipe that nobody writes to must not keep an import waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from error
    # Before a stream is made of it: that fails for a directory, in words of no use.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError("unreadable_file", f"the {what} is no regular file", context={"path": str(path)}, hint=hint)
    return descriptor


@contextlib.contextmanager
def private_copy(path: Path, directory: Path) -> Iterator[BinaryIO]:
    """A copy of a file that nobody else can write to; it has no name and goes with the block.

    `directory` is of the file system that needs the room anyway.  Raises UsageError ``unreadable_file``, StoreError.
    """
    descriptor = _opened(path)
    with open(descriptor, "rb") as source, contextlib.ExitStack() as stack:
        with translated("copy the export into the store", directory):
            copy = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile(dir=directory)))
            shutil.copyfileobj(source, copy, _COPY_BYTES)
            copy.flush()
        copy.seek(0)
        yield copy


def _unreadable(path: Path, error: OSError) -> UsageError:
    cause = error.strerror or str(error)
    return UsageError(
        "unreadable_file", "cannot read the export", context={"path": str(path)}, cause=cause, hint="check the path"
    )
