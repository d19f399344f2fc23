"""EELS as a host: execution-specs' forks run whole messages natively.

Job: `enable` / `disable` / `native` replace `process_message` and `process_create_message` of each fork's
`vm.interpreter` at depth 0; children are the executor's.  State is read lazily and written back once.
Invariants: what cannot run natively runs on EELS's own interpreter, is counted by reason, and shows in
`statistics()`; with `strict` it raises instead.  Results are EELS's own types.
Needs the extra ``evmaot[eels]``.  May import: `evmaot.execution`, `evmaot.evm`, `evmaot.abi`, errors; EELS.

Falls back: an active tracer (``--trace``, ``--opcode.count``), an open state snapshot, a code without
program (`NotNative`) or that does not compile.  A fork whose opcodes are not those of evmaot's table is
left alone.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from evmaot.errors import CompileError, HostError, UsageError
from evmaot.evm.forks import Fork, fork_named
from evmaot.execution.executor import Executor
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import FrameObserver, NotNative, ProgramSource
from evmaot.hosts.eels_state import ForkTypes

FORKS_PACKAGE = "ethereum.forks"
_CLONE_SUFFIX = re.compile(r"_clone\d+$")
"""How EELS's tools name the temporary forks that they make (`Hardfork.clone`)."""
_EELS_NAMES = {"constantinople": "petersburg"}
"""EELS's Constantinople never had EIP-1283: it is Petersburg."""


@dataclass
class EelsStatistics:
    """What ran how since `enable`, summed over all forks and threads."""

    native_messages: int = 0
    native_frames: int = 0
    fallbacks: Counter[str] = field(default_factory=Counter)
    """Messages that EELS interpreted, by reason."""


class _Host:
    """What `enable` switched on."""

    def __init__(self, programs: ProgramSource, *, strict: bool, observer: FrameObserver | None) -> None:
        self.programs = programs
        self.observer = observer
        self.strict = strict
        self.statistics = EelsStatistics()
        self.patches: list[tuple[Any, str, Any]] = []
        """(object, attribute, what was there)."""
        self._local = threading.local()

    def patch(self, target: Any, name: str, value: Any) -> None:
        """Set an attribute, to be restored by `restore`."""
        self.patches.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    def restore(self) -> None:
        """Undo all patches, newest first."""
        while self.patches:
            target, name, value = self.patches.pop()
            setattr(target, name, value)

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """An executor that is not running a message: this thread's, or a new one within a message."""
        idle: list[Executor] | None = getattr(self._local, "idle", None)
        if idle is None:
            idle = self._local.idle = []
        executor = idle.pop() if idle else Executor(self.programs, self.observer)
        try:
            yield executor
        finally:
            idle.append(executor)


_host: _Host | None = None


def enable(
    programs: ProgramSource | None = None,
    *,
    forks: Iterable[str] | None = None,
    strict: bool = False,
    observer: FrameObserver | None = None,
) -> tuple[str, ...]:
    """Switch EELS to native execution; the names of the EELS forks that are.

    `programs` is where native code comes from (default: compiled in this process on demand); `forks` are
    EELS package names (default: all that are installed and known).  With `strict`, what cannot run natively
    raises.  `observer` is told of every native message.

    Raises UsageError `eels_enabled` when it is on already, and UsageError `eels_missing`.
    """
    global _host
    if _host is not None:
        raise UsageError("eels_enabled", "EELS runs natively already", hint="call disable() first")
    host = _Host(programs if programs is not None else JitPrograms(), strict=strict, observer=observer)
    names = list(forks) if forks is not None else _installed_forks()
    done = []
    try:
        for name in names:
            if _patch_fork(host, f"{FORKS_PACKAGE}.{name}", wanted=forks is not None):
                done.append(name)
        _patch_clones(host)
    except BaseException:
        host.restore()
        raise
    _host = host
    return tuple(done)


def disable() -> EelsStatistics:
    """Switch back to EELS's interpreter; the final statistics.  Does nothing when it is off."""
    global _host
    host, _host = _host, None
    if host is None:
        return EelsStatistics()
    host.restore()
    return host.statistics


@contextmanager
def native(
    programs: ProgramSource | None = None,
    *,
    forks: Iterable[str] | None = None,
    strict: bool = False,
    observer: FrameObserver | None = None,
) -> Iterator[EelsStatistics]:
    """`enable` for the duration of a `with` block; gives the statistics."""
    enable(programs, forks=forks, strict=strict, observer=observer)
    try:
        yield statistics()
    finally:
        disable()


def statistics() -> EelsStatistics:
    """Live statistics since `enable`; all 0 when it is off."""
    return _host.statistics if _host is not None else EelsStatistics()


def fork_of_package(name: str) -> Fork | None:
    """The rules of an EELS fork by its package's name (``osaka``, ``bpo1``, ``cancun_clone123``), None if unknown."""
    name = _CLONE_SUFFIX.sub("", name)
    try:
        return fork_named(_EELS_NAMES.get(name, name))
    except UsageError:
        return None


def _installed_forks() -> list[str]:
    try:
        package = importlib.import_module(FORKS_PACKAGE)
    except ImportError as error:
        raise UsageError(
            "eels_missing", "EELS is not installed", cause=str(error), hint="pip install 'evmaot[eels]'"
        ) from error
    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]


def _patch_fork(host: _Host, path: str, *, wanted: bool) -> bool:
    """Patch one fork package; False if its rules are not known."""
    name = path.rpartition(".")[2]
    fork = fork_of_package(name)
    try:
        interpreter = importlib.import_module(f"{path}.vm.interpreter")
    except ImportError as error:
        raise UsageError("eels_fork_missing", f"EELS has no fork {name!r}", cause=str(error)) from error
    if fork is None or not _has_opcodes_of(interpreter, fork):
        if wanted:
            raise UsageError(
                "eels_fork_unknown",
                f"evmaot does not know the rules of EELS's fork {name!r}",
                hint="see: evmaot forks; leave it out, EELS's interpreter runs it",
            )
        return False
    _patch_interpreter(host, interpreter, ForkTypes(path, fork))
    return True


def _has_opcodes_of(interpreter: ModuleType, fork: Fork) -> bool:
    """Whether EELS's fork has exactly the opcodes of our table: a changed fork must not run by our rules."""
    theirs = {int(op.value) for op in interpreter.op_implementation}
    return theirs == {value for value, price in enumerate(fork.opcode_gas) if price is not None}


def _patch_interpreter(host: _Host, interpreter: ModuleType, types: ForkTypes) -> None:
    interpret_message = interpreter.process_message
    interpret_create = interpreter.process_create_message

    def process_message(message: Any) -> Any:
        # Inside a create that EELS interprets, this is the run of its init code.
        if int(message.depth) or not message.target:
            return interpret_message(message)
        return _run(host, types, message, interpret_message)

    def process_create_message(message: Any) -> Any:
        if int(message.depth):
            return interpret_create(message)
        return _run(host, types, message, interpret_create)

    host.patch(interpreter, "process_message", process_message)
    host.patch(interpreter, "process_create_message", process_create_message)


def _run(host: _Host, types: ForkTypes, message: Any, interpret: Callable[[Any], Any]) -> Any:
    """Run a depth-0 message natively, or say why not and let EELS interpret it."""
    reason = types.reason_to_interpret(message)
    if reason is None:
        try:
            with host.executor() as executor:
                evm, native_frames = types.run(executor, message)
            host.statistics.native_messages += 1
            host.statistics.native_frames += native_frames
            return evm
        except (NotNative, CompileError) as error:
            if host.strict:
                raise
            reason = error.reference
    if host.strict:
        raise HostError("not_native", f"a message cannot run natively: {reason}", context={"reason": reason})
    host.statistics.fallbacks[reason] += 1
    return interpret(message)


def _patch_clones(host: _Host) -> None:
    """Forks that EELS's t8n makes on the way (other blob parameters) are patched when they are made."""
    try:
        hardfork = importlib.import_module("ethereum_spec_tools.forks").Hardfork
    except ImportError:
        return
    original = hardfork.clone

    def clone(*arguments: Any, **options: Any) -> Any:
        made = original(*arguments, **options)
        fork = fork_of_package(made.short_name)
        interpreter = made.module("vm.interpreter")
        if fork is not None and _has_opcodes_of(interpreter, fork):
            _patch_interpreter(host, interpreter, ForkTypes(made.name, fork))
        return made

    host.patches.append((hardfork, "clone", staticmethod(original)))
    hardfork.clone = staticmethod(clone)
