"""Locks of a store: who may remove, and who compiles a key.

Job: the lock of the whole store (shared for builders and loaders, exclusive for what removes) and one lock per unit
key (single flight).  Invariants: a lock belongs to an open file, so it ends with the process however that ends; lock
files are never removed; nothing waits without a limit.  May import: `evmaot.errors`, `evmaot.store.files`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from evmaot.errors import BusyError
from evmaot.store.files import StoreFiles, store_error
from evmaot.store.system import System

_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.25
_LEAST_PATIENCE_SECONDS: Final = 10.0
"""For locks that are held while a small file is replaced: how long somebody wants to wait for a collector says nothing
about them, and who publishes would lose what it compiled."""
_GATE: Final = 1 << 62
"""Offset in the build lock's file, beyond those of all unit keys."""
_PINS: Final = _GATE + 1
"""Offset of the byte that who writes a pin holds: adding to one is reading it first."""
MANIFESTS_BYTE: Final = _GATE + 2
"""The same for who adds to published manifests: forks of members, or members."""


class StoreLock:
    """The lock of a whole store, as one opener of it has it.

    Who wants to be alone shuts a gate (a byte of the build lock's file) that every writer goes through: however
    many builders come and go, it gets its turn.  Who only reads goes past the gate: a load is short, and a collector
    that waits for a long build must not keep machines from starting.  Shared locks nest in one process, for a builder
    that publishes must not wait at the gate.
    """

    def __init__(self, files: StoreFiles, *, may_create: bool) -> None:
        """Without `may_create` a store that has no lock files is used without locks: it is on a medium that can't
        be written, or nobody writes to it.
        """
        self._files = files
        self._may_create = may_create
        self._mutex = threading.Lock()
        self._shared = contextlib.ExitStack()
        self._holders = 0

    @contextlib.contextmanager
    def shared(self, timeout_seconds: float) -> Iterator[None]:
        """Keep others from removing.  Raises BusyError ``store_busy``, and StoreError."""
        with self._mutex:
            if self._holders == 0:
                self._shared = self._take(timeout_seconds, exclusive=False)
            self._holders += 1
        try:
            yield
        finally:
            with self._mutex:
                self._holders -= 1
                if self._holders == 0:
                    self._shared.close()

    @contextlib.contextmanager
    def exclusive(self, timeout_seconds: float) -> Iterator[None]:
        """Be alone.  Raises BusyError ``store_busy``, and StoreError."""
        with self._take(timeout_seconds, exclusive=True):
            yield

    @contextlib.contextmanager
    def pins(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only one who writes pins.  Raises BusyError ``store_busy``, and StoreError."""
        with self._byte(_PINS, timeout_seconds):
            yield

    @contextlib.contextmanager
    def manifests(self, timeout_seconds: float) -> Iterator[None]:
        """Be the only one who adds to published manifests.  Raises BusyError ``store_busy``, and StoreError."""
        with self._byte(MANIFESTS_BYTE, timeout_seconds):
            yield

    @contextlib.contextmanager
    def _byte(self, offset: int, timeout_seconds: float) -> Iterator[None]:
        system = self._files.system
        deadline = system.monotonic_seconds() + max(timeout_seconds, _LEAST_PATIENCE_SECONDS)
        with contextlib.ExitStack() as stack:
            lock = self._open(self._files.paths.build_lock, stack)
            if lock is not None:
                self._wait(lambda: system.try_lock_byte(lock, offset), deadline, True)
            yield

    def _take(self, timeout_seconds: float, *, exclusive: bool) -> contextlib.ExitStack:
        system, paths = self._files.system, self._files.paths
        deadline = system.monotonic_seconds() + timeout_seconds
        with contextlib.ExitStack() as stack:
            with contextlib.ExitStack() as passing:
                gate = self._open(paths.build_lock, stack if exclusive else passing) if self._may_create else None
                if gate is not None:
                    self._wait(lambda: system.try_lock_byte(gate, _GATE, exclusive=exclusive), deadline, exclusive)
                lock = self._open(paths.store_lock, stack)
                if lock is not None:
                    self._wait(lambda: system.try_flock(lock, exclusive=exclusive), deadline, exclusive)
            # Only now: what interrupts before, at the gate's closing too, gives every lock back.
            return stack.pop_all()

    def _open(self, path: Path, stack: contextlib.ExitStack) -> int | None:
        """A descriptor of a lock file, which the stack closes, and with it the lock."""
        system = self._files.system
        try:
            descriptor = system.open_lock(str(path)) if self._may_create else system.open_read(str(path))
        except OSError as error:
            if not self._may_create:
                return None
            raise store_error(error, "open a lock of the store", path) from error
        stack.callback(_close, system, descriptor)
        return descriptor

    def _wait(self, attempt: Callable[[], bool], deadline: float, exclusive: bool) -> None:
        system, path = self._files.system, self._files.paths.store_lock
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                if attempt():
                    return
            except OSError as error:
                raise store_error(error, "lock the store", path) from error
            if system.monotonic_seconds() + pause > deadline:
                break
            system.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise BusyError(
            "store_busy",
            f"the store is in use: no {'exclusive' if exclusive else 'shared'} lock in time",
            context={"path": str(path)},
            cause="a build or load is running" if exclusive else "a gc or clear is running",
            hint="try again, or wait longer with --lock-timeout",
        )


def _close(system: System, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        system.close(descriptor)


class UnitLocks:
    """Locks of unit keys: bytes of one file.  A key is compiled by one process of a machine at a time."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        path = files.paths.build_lock
        try:
            self._descriptor: int | None = files.system.open_lock(str(path))
        except OSError as error:
            raise store_error(error, "open the build lock of the store", path) from error

    @staticmethod
    def _offset(unit_key: str) -> int:
        # 62 bits: two keys on one byte only wait for each other.
        return int(unit_key[:16], 16) >> 2

    def try_lock(self, unit_key: str) -> bool:
        """Whether this process may compile the unit now.  Raises StoreError."""
        assert self._descriptor is not None
        try:
            return self._files.system.try_lock_byte(self._descriptor, self._offset(unit_key))
        except OSError as error:
            raise store_error(error, "lock a unit of the store", self._files.paths.build_lock) from error

    def unlock(self, unit_key: str) -> None:
        """Let others have it.  Never fails: closing the file gives every lock back."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._files.system.unlock_byte(self._descriptor, self._offset(unit_key))

    def close(self) -> None:
        """Give every lock back."""
        if self._descriptor is not None:
            _close(self._files.system, self._descriptor)
            self._descriptor = None

    def __enter__(self) -> UnitLocks:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
