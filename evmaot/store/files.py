"""Files of a store: read what is trusted, write what survives.

Job: the few combinations of system calls that everything else is made of.  Invariants: a document is written to
`tmp/`, synced, and renamed into place, so that a reader sees all of it or none; a file is read only where it is a
regular file, of this user or root, that nobody else can write.  May import: `evmaot.errors`, `evmaot.store.paths`,
`evmaot.store.system`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from evmaot.errors import CorruptionError, StoreError, TrustError
from evmaot.store.paths import StorePaths
from evmaot.store.system import System

READ_CHUNK_BYTES: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_DIRECTORY_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


class Durability(str, Enum):
    """When a publication waits for the disk.

    There is no `syncfs`: with up to 256 contracts in a pack, one fsync a file costs less per contract, waits for
    no one else's data, and needs no ctypes.
    """

    BATCH = "batch"
    """Packs published together share the syncs of their directories."""
    FULL = "full"
    """Each pack is durable before the next one is begun."""
    NONE = "none"
    """The operating system decides.  After a power loss `verify` may find damage; after a crash of a process never."""


def store_error(error: OSError, doing: str, path: Path) -> StoreError:
    """An OSError as the store's own: ``store_full``, ``store_not_writable`` or ``store_io``."""
    context = {"path": str(path), "errno": errno.errorcode.get(error.errno or 0, "?")}
    cause = error.strerror or str(error)
    if error.errno in _FULL:
        hint = "make room (evmaot clear), or choose another store with --store"
        return StoreError("store_full", f"no space left to {doing}", context=context, cause=cause, hint=hint)
    if error.errno == errno.EROFS:
        hint = "to add to what it holds, build into another store (--store) and name this one in EVMAOT_STORE_PATH"
        return StoreError("store_not_writable", f"not allowed to {doing}", context=context, cause=cause, hint=hint)
    if error.errno in _REFUSED:
        return StoreError(
            "store_not_writable",
            f"not allowed to {doing}",
            context=context,
            cause=cause,
            hint="check the owner and mode of the store, or choose another one with --store",
        )
    hint = "evmaot doctor looks at the store and its disk"
    return StoreError("store_io", f"could not {doing}", context=context, cause=cause, hint=hint)


@contextlib.contextmanager
def translated(doing: str, path: Path) -> Iterator[None]:
    """Every OSError inside becomes a StoreError."""
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, path) from error


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class StoreFiles:
    """Files of one store, by one user, through one `System`."""

    __slots__ = ("durability", "paths", "system")

    def __init__(self, paths: StorePaths, system: System, durability: Durability) -> None:
        self.paths = paths
        self.system = system
        self.durability = durability

    def subject(self, path: Path) -> str:
        """A path as messages name it: relative to the store."""
        return os.path.relpath(path, self.paths.root)

    def now(self) -> str:
        """The time as RFC 3339, UTC."""
        return timestamp(self.system.now_seconds())

    # Trust.

    def require_trusted(self, status: os.stat_result, path: Path, *, directory: bool = False) -> None:
        """Raise TrustError ``store_untrusted`` for a wrong kind of file, a foreign owner or a shared mode.

        Whoever can write here runs code as whoever reads here.
        """
        right_kind = stat.S_ISDIR if directory else stat.S_ISREG
        hint = "if what it holds is yours, move it out of the way and build again; else choose another store"
        owner, mode = status.st_uid, stat.S_IMODE(status.st_mode)
        if not right_kind(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "something else"
            cause = f"it is {kind}, not a {'directory' if directory else 'regular file'}"
        elif owner not in (0, self.system.user_id()):
            cause = f"it belongs to user {owner}, not to {self.system.user_id()} or root"
        elif mode & 0o022:
            cause = f"its mode {mode:04o} lets others write to it"
            hint = f"if what it holds is yours: chmod go-w {path}; else choose another store"
        else:
            return
        raise TrustError(
            "store_untrusted",
            f"refused: {path}",
            context={"path": str(path), "owner": owner, "mode": f"{mode:04o}"},
            cause=cause,
            hint=hint,
        )

    def trusted_directory(self, path: Path) -> bool:
        """Whether the directory exists.  Raises TrustError, and StoreError for what the system says."""
        try:
            status = self.system.lstat(str(path))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise store_error(error, "look at a directory of the store", path) from error
        self.require_trusted(status, path, directory=True)
        return True

    # Reading.

    @contextlib.contextmanager
    def opened(self, path: Path, *, keep_access_time: bool = False) -> Iterator[tuple[int, os.stat_result]]:
        """Descriptor and status of a trusted regular file.  Raises TrustError and OSError."""
        try:
            descriptor = self._open(str(path), keep_access_time=keep_access_time)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self.require_trusted(self.system.lstat(str(path)), path)
            raise
        try:
            status = self.system.fstat(descriptor)
            self.require_trusted(status, path)
            yield descriptor, status
        finally:
            with contextlib.suppress(OSError):
                self.system.close(descriptor)

    def _open(self, path: str, *, keep_access_time: bool) -> int:
        if keep_access_time:
            with contextlib.suppress(PermissionError):
                return self.system.open_read(path, keep_access_time=True)
        return self.system.open_read(path)

    def read(self, path: Path, limit_bytes: int) -> bytes:
        """All of a trusted file.  Raises OSError, TrustError, and CorruptionError ``file_too_large``."""
        with self.opened(path) as (descriptor, status):
            if status.st_size > limit_bytes:
                message = f"{path} has {status.st_size} bytes, at most {limit_bytes}"
                raise CorruptionError("file_too_large", message, context={"path": str(path)})
            data = self.system.read(descriptor, limit_bytes + 1)
            # A short read is allowed, and so is a file that grows; neither may be taken for the whole.
            while more := self.system.read(descriptor, limit_bytes + 1 - len(data)):
                data += more
            if len(data) != status.st_size:
                raise CorruptionError("file_changed", f"{path} changed while it was read", context={"path": str(path)})
            return data

    def sha256(self, path: Path) -> tuple[str, int]:
        """SHA-256 (hex) and size in bytes of a trusted file.  Raises OSError and TrustError.

        To check a library is not to use it: the collector goes by access times.
        """
        with self.opened(path, keep_access_time=True) as (descriptor, _):
            digest, size_bytes = hashlib.sha256(), 0
            while chunk := self.system.read(descriptor, READ_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
            return digest.hexdigest(), size_bytes

    def names(self, directory: Path) -> list[str]:
        """Sorted names in a trusted directory; none where it does not exist.  Raises TrustError and StoreError."""
        if not self.trusted_directory(directory):
            return []
        try:
            return sorted(self.system.listdir(str(directory)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise store_error(error, "list a directory of the store", directory) from error

    # Writing.  All of these raise OSError; publications translate it.

    def make_directory(self, path: Path) -> None:
        """Make a directory where it is missing, and its entry durable; what is there must be trusted."""
        try:
            self.system.mkdir(str(path))
        except FileExistsError:
            self.trusted_directory(path)
            return
        self.sync_directory(path.parent)

    def write_temporary(self, data: bytes, mode: int = 0o600, *, suffix: str = "") -> Path:
        """A new file in `tmp/` with that content and mode, synced."""
        path = self.paths.tmp / (self.system.random_name() + suffix)
        descriptor = self.system.create(str(path))
        try:
            view = memoryview(data)
            while view:
                view = view[self.system.write(descriptor, view) :]
            self.system.chmod(descriptor, mode)
            if self.durability is not Durability.NONE:
                self.system.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                self.system.close(descriptor)
            self.discard(path)
            raise
        try:
            # Some file systems report a failed write here.
            self.system.close(descriptor)
        except OSError:
            self.discard(path)
            raise
        return path

    def replace_document(self, path: Path, data: bytes) -> None:
        """Write a document so that a reader sees the old one or the new one, also after a power loss."""
        temporary = self.write_temporary(data)
        try:
            self.system.rename(str(temporary), str(path))
        except BaseException:
            self.discard(temporary)
            raise

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable, where that is asked for and the file system can."""
        if self.durability is Durability.NONE:
            return
        descriptor = self.system.open_directory(str(path))
        try:
            self.system.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            with contextlib.suppress(OSError):
                self.system.close(descriptor)

    def sync_directories(self, paths: Iterable[Path]) -> None:
        """The same for each of several, once."""
        for path in sorted(set(paths)):
            self.sync_directory(path)

    def discard(self, path: Path) -> None:
        """Remove a temporary file, or leave it to the next sweep."""
        with contextlib.suppress(OSError):
            self.system.unlink(str(path))
