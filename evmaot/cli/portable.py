"""`evmaot build --output DIR`: a store of its own that is carried to other machines, or served for `evmaot pull`.

Job: make DIR the store of this invocation, and complete it after the build: the list that a pull reads, and modes that
let others read.  Invariants: the user's own store is neither read nor written; the list is written last, of bytes that
were hashed.  May import: `evmaot.sharing`, `evmaot.store`, `evmaot.cli`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evmaot.cli.invocation import Invocation
from evmaot.cli.sharing import require_directory, require_outside
from evmaot.errors import UsageError

if TYPE_CHECKING:
    from evmaot.store.directory import ArtifactDirectory


def redirect(invocation: Invocation, directory: Path) -> None:
    """Make `directory` the store of this invocation: no layers, for what they hold must be in it too; no collector.

    Raises UsageError ``two_stores``, ``in_store``, ``not_a_directory``.
    """
    configuration = invocation.configuration
    if configuration.origins["store"].kind == "flag":
        raise UsageError("two_stores", "--output is a store of its own", hint="leave out --store, or --output")
    require_outside(invocation, directory, "a portable directory")
    require_directory(directory)
    path = Path(os.path.abspath(directory))
    settings = replace(configuration.settings, store=path, store_layers=(), gc_automatic=False)
    invocation.configuration = replace(configuration, settings=settings)


def complete(store: ArtifactDirectory) -> None:
    """List what is in the directory, and let everybody read it.  Raises CorruptionError ``hash_mismatch``."""
    from evmaot.sharing.exporting import stored_contents, write_list

    with store.shared_lock():
        contents = stored_contents(store)
        if contents is not None:
            write_list(store.paths.root, contents, None)
        _open_to_readers(store)


def say_use(invocation: Invocation, directory: Path) -> None:
    """What can be done with the directory."""
    invocation.output.say(f"hint: see evmaot --store {directory} ls; to use it elsewhere: evmaot man build")


def _open_to_readers(store: ArtifactDirectory) -> None:
    """Whoever installs the directory is rarely who runs it; who may write is left as it is."""
    private = {str(store.paths.tmp), str(store.paths.quarantine)}
    for folder, folders, names in os.walk(store.paths.root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in private]
        for path, bits in ((folder, 0o055), *((os.path.join(folder, name), 0o044) for name in names)):
            mode = os.lstat(path).st_mode & 0o7777
            if mode | bits != mode and not os.path.islink(path):
                os.chmod(path, mode | bits)
