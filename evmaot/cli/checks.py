"""The checks of `evmaot doctor`: this machine, the compiler, the store.

Job: one function per check, each a row with what was found and, where something is wrong, what to do.  Invariants: a
check never raises and never writes to the store; what is merely absent and optional is a note.  May import: everything
below `evmaot.cli`, `evmaot.cli.invocation`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evmaot.cli.files import existing
from evmaot.cli.invocation import Invocation
from evmaot.cli.output import counted, human_seconds, human_size
from evmaot.errors import EvmaotError, TrustError
from evmaot.store.findings import Severity
from evmaot.version import VERSION

if TYPE_CHECKING:
    from evmaot.store.index import Pack

_LITTLE_SPACE: Final = 0.05
"""Part of a disk below which the collector keeps free, by default."""
_CLOCK_TOLERANCE_SECONDS: Final = 120
_HASHED_BYTES: Final = 64 << 20
"""What is hashed of the libraries: some 0.1 s."""
_NETWORK_FILE_SYSTEMS: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "lustre")
_EXTRAS: Final = (
    ("sign", ("cryptography",), "signed exports and imports"),
    ("zstd", ("zstandard",), "compressed exports"),
    ("dask", ("distributed",), "builds on a cluster"),
    ("eels", ("ethereum",), "EELS as a host, statetest, verify --level exec"),
    ("vectors", ("gmpy2", "blake2b", "py_arkworks_bls12381"), "native precompiles of official vectors"),
)
"""What is optional: extra, its modules, what it gives."""
_SMOKE_CODE: Final = bytes.fromhex("602a5f5260205ff3")
"""Returns 42."""


class Health(str, Enum):
    """How a check ended, the worst last."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the report."""

    name: str
    health: Health
    message: str
    hint: str | None = None
    exit_code: int = 6
    """What the command exits with where this is an error."""


def all_checks(invocation: Invocation) -> Iterator[Check]:
    """Every check, in the order of the report."""
    checks: tuple[Callable[[Invocation], Iterator[Check]], ...] = (
        _python, _llvm, _cpu, _smoke, _limits, _store, _layers, _contents, _file_system, _space, _locks, _clock, _stale,
        _extras,
    )  # fmt: skip
    for check in checks:
        try:
            yield from check(invocation)
        except Exception as error:  # A doctor that dies of a symptom helps nobody.
            words = f"could not check: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            yield Check(check.__name__.strip("_").replace("_", " "), Health.WARNING, words)


def _python(_: Invocation) -> Iterator[Check]:
    bits = 64 if sys.maxsize > 1 << 32 else 32
    words = f"evmaot {VERSION}, {platform.python_implementation()} {platform.python_version()}, {bits} bits"
    if sys.implementation.name != "cpython" or bits != 64:
        hint = "install evmaot in a CPython of 64 bits: python3 -m venv .venv && .venv/bin/pip install evmaot"
        yield Check("python", Health.ERROR, words, hint)
    else:
        yield Check("python", Health.OK, f"{words}, {sys.executable}")


def _llvm(_: Invocation) -> Iterator[Check]:
    try:
        from evmaot.codegen.backend.llvm import LLVM_VERSION, LLVMLITE_VERSION
    except (ImportError, OSError) as error:
        hint = "python -m pip install --force-reinstall llvmlite; artifacts that are stored run without it"
        yield Check("llvm", Health.ERROR, f"llvmlite cannot be loaded: {error}", hint)
        return
    yield Check("llvm", Health.OK, f"LLVM {LLVM_VERSION} (llvmlite {LLVMLITE_VERSION})")


def _cpu(_: Invocation) -> Iterator[Check]:
    from evmaot.target import TARGETS, host_features, host_target, refusal

    try:
        host = host_target()
    except EvmaotError as error:
        yield Check("cpu", Health.ERROR, error.message, error.hint)
        return
    if not host_features():
        yield Check("cpu", Health.WARNING, "the kernel does not tell this CPU's features", "mount /proc")
        return
    here = [name for name, target in TARGETS.items() if refusal(target.triple, target.features) is None]
    missing = [
        f"{name}: {refusal(target.triple, target.features)}"
        for name, target in TARGETS.items()
        if target.architecture == host.architecture and name not in here
    ]
    words = f"runs {', '.join(here)}"
    yield Check("cpu", Health.OK, words + (f"; not {'; '.join(missing)}" if missing else ""))


def _smoke(_: Invocation) -> Iterator[Check]:
    """Compile, link, load and run eight bytes: what a build and a runtime need, all at once."""
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import fork_named
    from evmaot.execution.hashing import keccak256
    from evmaot.execution.programs import JitPrograms
    from evmaot.runtime import EnvironmentRecord, FramePool, Status

    start = time.perf_counter()
    try:
        program = JitPrograms(CompileOptions(Tier.FAST)).program_for(
            _SMOKE_CODE, keccak256(_SMOKE_CODE), fork_named("osaka")
        )
        assert program is not None
        environment = EnvironmentRecord(chain_id=1, number=1)
        frame = FramePool().acquire()
        frame.start(
            gas=100_000, code=_SMOKE_CODE, input=b"", recipient=0xC0DE, sender=0xCA11, value=0, is_static=False,
            depth=0, environment_address=environment.address,
        )  # fmt: skip
        status = frame.run(program)
        right = status is Status.RETURN and int.from_bytes(frame.output(), "big") == 42
        frame.release()
    except (EvmaotError, OSError, MemoryError) as error:
        cause = getattr(error, "cause", None) or ""
        hint = "a policy (SELinux, seccomp, vm.overcommit_memory=2) or a limit (ulimit -v) may be in the way"
        yield Check("compiler", Health.ERROR, f"a contract of 8 bytes failed: {error} {cause}".strip(), hint)
        return
    seconds = human_seconds(time.perf_counter() - start)
    if right:
        yield Check("compiler", Health.OK, f"compiled, linked, loaded and ran a contract in {seconds}")
    else:
        yield Check("compiler", Health.ERROR, "a contract of 8 bytes gave a wrong result", "report this", 1)


def _limits(_: Invocation) -> Iterator[Check]:
    import resource

    problems = []
    space, _hard = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY and space < 8 << 30:
        problems.append(("ulimit -v unlimited", f"address space is limited to {human_size(space)}"))
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < 256:
        problems.append(("ulimit -n 1024", f"only {files} open files are allowed"))
    overcommit = _first_word("/proc/sys/vm/overcommit_memory")
    if overcommit == "2":
        problems.append(
            ("sysctl vm.overcommit_memory=0", "the kernel commits all reserved memory (vm.overcommit_memory is 2)")
        )
    if problems:
        hints = "; ".join(hint for hint, _ in problems)
        yield Check("limits", Health.WARNING, "; ".join(words for _, words in problems), hints)
    else:
        yield Check("limits", Health.OK, f"{files} open files, address space not limited, {_cpus()}")


def _cpus() -> str:
    return counted(len(os.sched_getaffinity(0)), "CPU") + " for this process"


def _first_word(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return None


def _store(invocation: Invocation) -> Iterator[Check]:
    from evmaot.cli.stores import open_store

    path = invocation.settings.store
    origin = invocation.configuration.origins["store"]
    try:
        store = open_store(invocation)
        index = store.index()
    except TrustError as error:
        yield Check("store", Health.ERROR, f"{error.message}: {error.cause}", error.hint, error.exit_code)
        return
    except EvmaotError as error:
        if error.reference == "store_missing":
            words = f"there is none yet at {path} ({origin})"
            yield Check("store", Health.NOTE, words, "evmaot build --fork osaka INPUT...")
            return
        cause = f": {error.cause}" if error.cause else ""
        yield Check("store", Health.ERROR, error.message + cause, error.hint, error.exit_code)
        return
    yield Check("store", Health.OK, f"{path} ({origin}): {counted(len(index), 'artifact')}, trusted")
    if index.refusals:
        first = index.refusals[0]
        words = f"{counted(len(index.refusals), 'part')} not used; the first: {first.subject}: {first.message}"
        yield Check("manifests", Health.ERROR, words, "evmaot verify", 4)
    writable = os.access(path, os.W_OK)
    if invocation.settings.read_only or not writable:
        why = "--read-only" if invocation.settings.read_only else "its owner or mode"
        yield Check("writing", Health.NOTE, f"the store cannot be written by this user ({why}); loading works")


def _mounts() -> list[tuple[str, str]]:
    """(directory, type) of what is mounted."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [(fields[1].replace("\\040", " "), fields[2]) for fields in map(str.split, lines) if len(fields) > 2]


def _file_system(invocation: Invocation) -> Iterator[Check]:
    path = Path(os.path.realpath(existing(invocation.settings.store)))
    mounts = [mount for mount in _mounts() if path.is_relative_to(mount[0])]
    kind = max(mounts, key=lambda mount: len(mount[0]))[1] if mounts else "unknown"
    flags = os.statvfs(path).f_flag
    if flags & os.ST_NOEXEC:
        hint = "evmaot --store DIR on another file system, or mapping='copy' in the runtime"
        words = f"{kind}, mounted noexec: the dynamic loader refuses every library"
        yield Check("file system", Health.ERROR, words, hint)
    elif flags & os.ST_RDONLY:
        yield Check("file system", Health.NOTE, f"{kind}, mounted read-only: loading works, building does not")
    elif kind in _NETWORK_FILE_SYSTEMS:
        hint = "build to a local store, then copy it or use it as a read-only layer"
        yield Check("file system", Health.WARNING, f"{kind}: locks between machines are not safe", hint)
    else:
        yield Check("file system", Health.OK, f"{kind}, libraries can be executed")


def _space(invocation: Invocation) -> Iterator[Check]:
    path = existing(invocation.settings.store)
    disk, status = shutil.disk_usage(path), os.statvfs(path)
    words = f"{human_size(disk.free)} free of {human_size(disk.total)}"
    if status.f_files and status.f_favail < 1000:
        yield Check("disk", Health.ERROR, f"{status.f_favail} inodes left", "evmaot gc", 73)
    elif disk.free < 64 << 20:
        yield Check("disk", Health.ERROR, words, "evmaot gc --keep-free 5%", 73)
    elif disk.free < disk.total * _LITTLE_SPACE:
        yield Check("disk", Health.WARNING, f"{words}: less than 5 %", "evmaot gc --keep-free 5%")
    else:
        yield Check("disk", Health.OK, words)


def lock_holders(paths: list[Path]) -> list[tuple[str, int, str]]:
    """(name of the lock, process, its command) of whoever holds locks on these files, as the kernel tells."""
    by_inode = {}
    for path in paths:
        try:
            by_inode[path.stat().st_ino] = path.name
        except OSError:
            continue
    holders = []
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or fields[1] == "->":
            continue
        inode = int(fields[5].rpartition(":")[2])
        if inode in by_inode:
            # An open-file-description lock belongs to no process: -1.
            process = int(fields[4])
            command = _first_word(f"/proc/{process}/comm") if process > 0 else None
            holders.append((by_inode[inode], process, command or "?"))
    return holders


def _locks(invocation: Invocation) -> Iterator[Check]:
    folder = invocation.settings.store / "locks"
    if not folder.is_dir():
        return
    holders = lock_holders([folder / "store.lock", folder / "build.lock"])
    if not holders:
        yield Check("locks", Health.OK, "none held")
        return
    words = ", ".join(
        f"{name} by {command} ({process})" if process > 0 else f"{name} by a build"
        for name, process, command in holders
    )
    yield Check("locks", Health.NOTE, f"held: {words}", "wait for them, or see: evmaot --lock-timeout 5min VERB")


def _clock(invocation: Invocation) -> Iterator[Check]:
    """A clock behind the store's newest file makes everything look young to the collector."""
    now, newest = time.time(), 0.0
    profiles = invocation.settings.store / "v1" / "profiles"
    try:
        for entry in os.scandir(profiles):
            newest = max(newest, os.stat(Path(entry.path) / "packs").st_mtime)
    except OSError:
        pass
    if newest > now + _CLOCK_TOLERANCE_SECONDS:
        words = f"the store's newest pack is {human_seconds(newest - now)} in the future"
        hint = "set the clock: timedatectl set-ntp true; then: evmaot gc --dry-run"
        yield Check("clock", Health.WARNING, words, hint)
    elif now < 1_700_000_000:
        yield Check("clock", Health.WARNING, "the clock says a time before this program was made", "set the clock")
    else:
        yield Check("clock", Health.OK, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _layers(invocation: Invocation) -> Iterator[Check]:
    """The stores below it: one that is not there or not trusted is left out of every look-up."""
    from evmaot.store.directory import ArtifactDirectory

    for number, path in enumerate(invocation.settings.store_layers, 1):
        try:
            layer = ArtifactDirectory.open(path, read_only=True)
            index = layer.index()
        except EvmaotError as error:
            words = f"{error.message}: {error.cause}" if error.cause else error.message
            yield Check(f"layer {number}", Health.WARNING, f"left out: {words}", error.hint)
        else:
            yield Check(f"layer {number}", Health.OK, f"{path}: {counted(len(index), 'artifact')}, trusted")


def _contents(invocation: Invocation) -> Iterator[Check]:
    """Hash what can be hashed in a moment, chosen by chance, and say what was not: that is `evmaot verify`."""
    from evmaot.cli.stores import store_or_none

    try:
        store = store_or_none(invocation)
        packs = [] if store is None else list({pack.object_path: pack for pack in store.packs()}.values())
    except EvmaotError:
        return  # the check of the store has told
    if store is None or not packs:
        return
    random.SystemRandom().shuffle(packs)
    chosen: list[Pack] = []
    size_bytes = 0
    for pack in packs:
        size_bytes += pack.manifest.object.size
        # One library at least, however large.
        if chosen and size_bytes > _HASHED_BYTES:
            size_bytes -= pack.manifest.object.size
            break
        chosen.append(pack)
    findings = store.verify("hash", {pack.manifest_path for pack in chosen})
    bad = [one for one in findings if one.severity is Severity.ERROR and one.subject.startswith("v1/objects/")]
    done = f"{len(chosen):,} of {counted(len(packs), 'library', 'libraries')} ({human_size(size_bytes)})"
    if bad:
        words = f"{len(bad)} damaged of those hashed; the first: {bad[0].subject}: {bad[0].message}"
        yield Check("contents", Health.ERROR, words, "evmaot verify --repair", 4)
    elif len(chosen) < len(packs):
        words = f"hashed {done}, chosen by chance; the others were not looked at"
        yield Check("contents", Health.NOTE, words, "evmaot verify hashes all")
    else:
        yield Check("contents", Health.OK, f"hashed {done}")


def _stale(invocation: Invocation) -> Iterator[Check]:
    from evmaot.cli.stores import open_store
    from evmaot.toolchain import stale_in

    try:
        index = open_store(invocation).index()
    except EvmaotError:
        return
    stale = [pack for pack in index.packs if stale_in(pack.profile.profile)]
    if not stale:
        return
    artifacts = sum(len(pack.manifest.members) for pack in stale)
    size = human_size(sum(pack.manifest.object.size for pack in stale))
    words = f"{counted(artifacts, 'artifact')} ({size}) of other versions of the compiler"
    yield Check("stale", Health.NOTE, words, "evmaot build again, then: evmaot gc --stale")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _extras(_: Invocation) -> Iterator[Check]:
    """What is optional, and what it would give; told where the program that needs it is installed."""
    hosts = [name for name, module in (("EELS", "ethereum"), ("py-evm", "eth"), ("eth-tester", "eth_tester"),
                                       ("titanoboa", "boa")) if _installed(module)]  # fmt: skip
    if hosts:
        names = ", ".join(hosts)
        if _installed("coincurve"):
            yield Check("coincurve", Health.OK, f"signatures are recovered natively ({names})")
        else:
            words = f"not installed: each transaction of {names} recovers its signature in Python, 30 ms"
            yield Check("coincurve", Health.WARNING, words, "python -m pip install coincurve")
    linkers = [name for name in ("ld", "ld.lld", "cc") if shutil.which(name)]
    others = f"{', '.join(linkers)} could be used with --linker" if linkers else "none is installed, none is needed"
    words = f"own; {others}"
    yield Check("linker", Health.OK, words)
    missing = [row for row in _EXTRAS if not all(map(_installed, row[1]))]
    present = [row[0] for row in _EXTRAS if row not in missing]
    if present:
        yield Check("extras", Health.OK, f"installed: {', '.join(present)}")
    for extra, _modules, gives in missing:
        yield Check("extras", Health.NOTE, f"{extra} is not installed: no {gives}", f"pip install 'evmaot[{extra}]'")
