"""Stores for tests: small packs that need no compiler, and systems that fail or lose power."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import opcode_bitmap
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import rules_digest
from evmaot.store.keys import Profile
from evmaot.store.manifest import Member, ObjectRecord, Origin, PackManifest, sorted_members
from evmaot.store.system import System

OPCODES = opcode_bitmap({0x00, 0x01, 0x60})
"""STOP, ADD, PUSH1: the same in every fork."""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def profile(name: str = "one", **changes: Any) -> Profile:
    fields: dict[str, Any] = {
        "compiler": sha(name),
        "llvm": "22.1.0",
        "llvmlite": "0.50.0",
        "abi": sha("abi"),
        "triple": "x86_64-unknown-linux-gnu",
        "cpu": "x86-64",
        "features": (),
        "tier": "optimised",
    }
    return Profile(**(fields | changes))


def member(name: str, forks: Sequence[str] = ("osaka",), opcodes: str = OPCODES, **changes: Any) -> Member:
    row = Member(
        code_hash=sha(f"hash of {name}"),
        code_sha256=sha(f"code of {name}"),
        compile_ms=12,
        forks=tuple(forks),
        holes=(),
        label=name,
        length=100,
        opcodes=opcodes,
        rules=rules_digest(FORKS[forks[0]], opcodes),
        slot=0,
        symbol=f"u_{sha(name)[:32]}",
    )
    return row._replace(**changes)


def pack(names: str, of: Profile | None = None, **changes: Any) -> tuple[bytes, PackManifest, Profile]:
    """A library (not a real one), its manifest and profile; one member for each word."""
    of = of or profile()
    library = f"library {names} {of.digest}".encode() * 50
    rows = sorted_members(member(name, **changes) for name in names.split())
    manifest = PackManifest(
        profile=of.digest,
        object=ObjectRecord(hashlib.sha256(library).hexdigest(), len(library), "evmaot-test.so", "evmaot_table"),
        origin=Origin("build", "evmaot 0.0", "host"),
        created="2026-01-02T03:04:05Z",
        members=tuple(row._replace(slot=slot) for slot, row in enumerate(rows)),
    )
    return library, manifest, of


class QuickSystem(System):
    """Does not wait for the disk: most tests do not cut the power."""

    def fsync(self, descriptor: int) -> None:
        os.fstat(descriptor)


class HastySystem(QuickSystem):
    """Its time goes by instead of it waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_seconds = 0.0

    def monotonic_seconds(self) -> float:
        return super().monotonic_seconds() + self._passed_seconds

    def sleep(self, seconds: float) -> None:
        self._passed_seconds += seconds


def no_rules(library: bytes) -> str | None:
    return None


def open_store(path: Path, **options: Any) -> ArtifactDirectory:
    """A store that takes libraries that are none."""
    defaults: dict[str, Any] = {
        "create": True,
        "library_rules": no_rules,
        "lock_timeout_seconds": 0.0,
        "system": QuickSystem(),
    }
    return ArtifactDirectory.open(path, **(defaults | options))


def errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def labels(store: ArtifactDirectory) -> list[str]:
    return sorted(entry.member.label for entry in store.index())


def tree(path: Path) -> dict[str, tuple[int, bytes | None]]:
    """Everything in a directory: mode and content by relative path."""
    found: dict[str, tuple[int, bytes | None]] = {}
    for item in sorted(path.rglob("*")):
        mode = item.lstat().st_mode
        found[str(item.relative_to(path))] = (mode, item.read_bytes() if item.is_file() else None)
    return found


class Killed(BaseException):
    """The process is gone: no handler of the store may run a system call after it."""


MUTATING = ("create", "write", "chmod", "fsync", "rename", "link", "unlink", "rmdir", "mkdir", "touch", "close")
READING = (
    "open_read",
    "open_directory",
    "read",
    "listdir",
    "lstat",
    "fstat",
    "open_lock",
    "try_flock",
    "try_lock_byte",
    "space",
)


class ScriptedSystem(QuickSystem):
    """Counts calls, and does something else at the n-th (from 1)."""

    def __init__(self, at: int, act: Callable[[str], None], names: Sequence[str] = MUTATING + READING) -> None:
        self.calls = 0
        self._at = at
        self._act = act
        self._names = frozenset(names)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "calls" or name not in self._names:
            return super().__getattribute__(name)
        method = super().__getattribute__(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                self._act(name)
            return method(*arguments, **options)

        return call


def failing(at: int, number: int) -> ScriptedSystem:
    """The n-th call fails with that errno; closing a descriptor closes it all the same."""

    def act(name: str) -> None:
        raise OSError(number, os.strerror(number))

    return ScriptedSystem(at, act, tuple(name for name in MUTATING + READING if name != "close"))


class KilledSystem(QuickSystem):
    """The process is killed at the n-th call: that one and all after it do nothing."""

    def __init__(self, at: int) -> None:
        self.calls = 0
        self._at = at

    def __getattribute__(self, name: str) -> Any:
        if name not in MUTATING + READING:
            return super().__getattribute__(name)
        method = super().__getattribute__(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls >= self._at:
                if name == "close":
                    method(*arguments)  # the kernel does it for the dead
                raise Killed
            return method(*arguments, **options)

        return call


class ShortWriteSystem(QuickSystem):
    """Takes at most seven bytes at a time."""

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return super().write(descriptor, data[:7])


class PowerLossSystem(KilledSystem):
    """Like `KilledSystem`, and then loses what was never synced."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self._synced: set[int] = set()
        self._written: set[int] = set()
        self._undo: dict[str, list[Callable[[], None]]] = {}

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._written.add(os.fstat(descriptor).st_ino)
        self._synced.discard(os.fstat(descriptor).st_ino)
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        super().fsync(descriptor)
        self._synced.add(os.fstat(descriptor).st_ino)
        self._undo.pop(os.readlink(f"/proc/self/fd/{descriptor}"), None)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        super().mkdir(path, mode)
        self._remember(path, lambda: shutil.rmtree(path, ignore_errors=True))

    def rename(self, source: str, target: str) -> None:
        before = Path(target).read_bytes() if os.path.exists(target) else None
        super().rename(source, target)
        self._remember(target, lambda: _restore(target, before))

    def link(self, source: str, target: str) -> None:
        super().link(source, target)
        self._remember(target, lambda: _restore(target, None))

    def unlink(self, path: str) -> None:
        before = Path(path).read_bytes() if os.path.exists(path) else None
        times = (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) if before is not None else None
        super().unlink(path)
        if before is not None and "/tmp/" not in path[-60:]:
            self._remember(path, lambda: _restore(path, before, times))

    def _remember(self, path: str, undo: Callable[[], None]) -> None:
        self._undo.setdefault(os.path.dirname(path), []).append(undo)

    def lose_data(self, root: Path, *, zeroed: bool) -> None:
        """Names are there, unsynced bytes are not."""
        for path in root.rglob("*"):
            inode = path.lstat().st_ino
            if path.is_file() and inode in self._written - self._synced:
                size = path.stat().st_size
                path.chmod(0o600)
                path.write_bytes(bytes(size) if zeroed else b"")

    def lose_names(self, directory: str | None = None) -> None:
        """Unsynced names of one directory, or of all, are as they were."""
        for name, steps in self._undo.items():
            if directory in (None, name):
                for undo in reversed(steps):
                    undo()

    @property
    def unsynced_directories(self) -> list[str]:
        return sorted(self._undo)


def _restore(path: str, before: bytes | None, times_ns: tuple[int, int] | None = None) -> None:
    if before is None:
        if os.path.lexists(path):
            os.unlink(path)
    elif os.path.isdir(os.path.dirname(path)):
        if os.path.exists(path):
            os.chmod(path, 0o600)
        Path(path).write_bytes(before)
        os.chmod(path, 0o444 if path.endswith(".so") else 0o600)
        if times_ns is not None:
            os.utime(path, ns=times_ns)


ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EINTR)
