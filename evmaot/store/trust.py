"""Trust: could somebody else put code into this store.

Job: findings about owners, modes and links of everything in a store and of the directories above it, and whether code
may be run from its file system.  Invariant: it reads names and status only.  May import: `evmaot.errors`, the store's
lower modules.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from evmaot.errors import EvmaotError
from evmaot.store.files import StoreFiles
from evmaot.store.findings import Finding, Severity

_MAX_DEPTH: Final = 6
"""Directories below the root; the store makes no more than five."""


def trust_findings(files: StoreFiles) -> Iterator[Finding]:
    """What is wrong with who may write: ``store_untrusted``, ``parent_untrusted``; and ``noexec_mount``."""
    yield from _parents(files)
    yield from _tree(files, files.paths.root, 0)
    try:
        if files.system.forbids_execution(str(files.paths.root)):
            message = "the file system forbids executable mappings: nothing is loaded from here but as a copy"
            yield Finding("noexec_mount", ".", message, Severity.UNCHECKED)
    except OSError as error:
        yield Finding("unreadable", ".", error.strerror or str(error), Severity.UNCHECKED)


def _parents(files: StoreFiles) -> Iterator[Finding]:
    """Who can write to a directory above can put another store in the place of this one."""
    for path in files.paths.root.parents:
        try:
            status = files.system.lstat(str(path))
        except OSError:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in (0, files.system.user_id()):
            why = f"it belongs to user {status.st_uid}"
        elif mode & 0o022 and not mode & stat.S_ISVTX:
            why = f"its mode {mode:04o} lets others write to it"
        else:
            continue
        yield Finding("parent_untrusted", str(path), f"{why}: they can put another store in the place of this one")


def _tree(files: StoreFiles, directory: Path, depth: int) -> Iterator[Finding]:
    try:
        names = files.names(directory)
    except EvmaotError as error:
        yield Finding(error.reference, files.subject(directory), error.cause or error.message)
        return
    for name in names:
        path = directory / name
        try:
            status = files.system.lstat(str(path))
            is_directory = stat.S_ISDIR(status.st_mode)
            files.require_trusted(status, path, directory=is_directory)
        except EvmaotError as error:
            yield Finding(error.reference, files.subject(path), error.cause or error.message)
        except OSError:
            continue  # removed since it was listed
        else:
            if is_directory and depth < _MAX_DEPTH:
                yield from _tree(files, path, depth + 1)


def is_untrusted(finding: Finding) -> bool:
    """Whether a finding says that somebody else could have changed the store, or made what is in it."""
    return finding.code in ("store_untrusted", "parent_untrusted", "unsigned", "untrusted_key")
