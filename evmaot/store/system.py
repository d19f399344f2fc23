"""Every system call of the store, in one small class.

Job: the seam at which tests make the n-th call fail, run out of space or record an order.  Invariants: no other
file of the store calls `os`, `fcntl` or a clock for an effect; a method is one call and has no policy.  What the
calls are combined to is `evmaot.store.files`.  May import: the standard library.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for open-file-description locks)."""


class System:
    """The operating system as the store uses it; every method may raise OSError."""

    def create(self, path: str, mode: int = 0o600) -> int:
        """A new file for writing; FileExistsError if the name is taken, whatever it is."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)

    def open_read(self, path: str, *, keep_access_time: bool = False) -> int:
        """An existing file for reading; ELOOP where its last part is a symbolic link.

        EPERM where the access time is to be kept and the file is another user's.
        """
        # O_NONBLOCK: a FIFO under one of our names must not hang the opener; without effect on regular files.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(path, flags | (os.O_NOATIME if keep_access_time else 0))

    def open_directory(self, path: str) -> int:
        """A directory, to sync it."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def open_lock(self, path: str) -> int:
        """A lock file, made where it is missing.  It is never removed: a lock on an unlinked file is no lock."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Bytes written, possibly fewer than given."""
        return os.write(descriptor, data)

    def read(self, descriptor: int, size_bytes: int) -> bytes:
        """Up to that many bytes; empty at the end."""
        return os.read(descriptor, size_bytes)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def chmod(self, descriptor: int, mode: int) -> None:
        """Set the mode of an open file."""
        os.fchmod(descriptor, mode)

    def fsync(self, descriptor: int) -> None:
        """Make a file or directory durable."""
        os.fsync(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing the target atomically."""
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """A second name; FileExistsError if it is taken."""
        os.link(source, target, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def touch(self, path: str) -> None:
        """Set the times of a file to now."""
        os.utime(path, follow_symlinks=False)

    def space(self, path: str) -> tuple[int, int]:
        """Bytes that are free for this user on the file system of a path, and its size in bytes."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def forbids_execution(self, path: str) -> bool:
        """Whether the file system of a path is mounted noexec."""
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make one directory."""
        os.mkdir(path, mode)

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, in no order."""
        return os.listdir(path)

    def lstat(self, path: str) -> os.stat_result:
        """Status of a name, a symbolic link's own."""
        return os.lstat(path)

    def fstat(self, descriptor: int) -> os.stat_result:
        """Status of an open file."""
        return os.fstat(descriptor)

    def try_flock(self, descriptor: int, *, exclusive: bool) -> bool:
        """Take a lock on a whole file without waiting; False where another open file holds one in the way."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def try_lock_byte(self, descriptor: int, offset: int, *, exclusive: bool = True) -> bool:
        """Take an open-file-description lock on one byte without waiting; False where one is in the way."""
        row = _FLOCK.pack(fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, os.SEEK_SET, offset, 1, 0)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, row)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock_byte(self, descriptor: int, offset: int) -> None:
        """Give the lock of one byte back."""
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, offset, 1, 0))

    def user_id(self) -> int:
        """The effective user."""
        return os.geteuid()

    def random_name(self) -> str:
        """A name that nothing else has."""
        return f"{os.getpid()}-{os.urandom(8).hex()}"

    def now_seconds(self) -> float:
        """The clock on the wall, seconds since 1970.  It may jump: only words and the age of files depend on it."""
        return time.time()

    def monotonic_seconds(self) -> float:
        """A clock that never jumps, for time limits."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
