"""The runtime: load compiled contracts, look them up in O(1), run them.  Needs no compiler.

Job: the public names.  Invariant: importing this loads neither llvmlite, click nor rich, and what
reads stores is loaded when it is first asked for (half of the 50 ms).  May import: `evmaot.runtime.*`.

A store that ``evmaot build`` filled, one contract of it, one message; ``store_path`` is the store's
directory and ``code`` the contract's bytecode (here ``602a5f5260205ff3``, which returns 42):

>>> from evmaot.evm.keccak import keccak256
>>> from evmaot.runtime import EnvironmentRecord, FramePool, Status, open_runtime
>>> programs = open_runtime(store_path)
>>> program = programs.lookup(keccak256(code), "osaka", code)
>>> environment = EnvironmentRecord(chain_id=1, number=23_000_000)
>>> pool = FramePool()
>>> frame = pool.acquire()
>>> frame.start(
...     gas=100_000, code=code, input=b"", recipient=0xC0DE, sender=0xCA11, value=0,
...     is_static=False, depth=0, environment_address=environment.address,
... )
>>> frame.run(program)
<Status.RETURN: 1>
>>> int.from_bytes(frame.output(), "big"), 100_000 - frame.gas
(42, 16)
>>> frame.release()
>>> programs.lookup(keccak256(code), "paris", code) is None  # PUSH0 came with Shanghai
True
>>> statistics = programs.statistics()
>>> statistics.programs_loaded, dict(statistics.skipped)
(1, {})

A frame that asks for a call or create returns `Status.CALL` or `Status.CREATE`: read `Frame.request`,
run the child in the next frame of the pool, answer with `Frame.resume`, run again.  Storage, logs and
accounts come from a `HostTable`.  `execute` does all of that for an object with the methods of `Host`;
whole messages with a state and the rules of every fork are `evmaot.execution`'s; look-ups that compile
what is missing in the background are `evmaot.jit`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evmaot.abi.status import AccountFlag, CallKind, Status, StorageStatus
from evmaot.runtime.environment import EnvironmentRecord
from evmaot.runtime.frame import FRAME_LIMIT, Frame, FramePool, Request
from evmaot.runtime.host_table import HostTable
from evmaot.runtime.lookup import (
    Compiled,
    Interpret,
    InterpretReason,
    LookupDecision,
    LookupRequest,
    RuntimeCacheKey,
    is_eligible,
)
from evmaot.runtime.program import CompiledProgram, ProgramKind

if TYPE_CHECKING:
    from evmaot.runtime.artifacts import (
        ArtifactKey,
        ArtifactLibrary,
        ArtifactManifest,
        ArtifactStore,
        Inventory,
        NewLibrary,
        StoredArtifact,
        TemplateStore,
        WatchedStore,
    )
    from evmaot.runtime.config import (
        BackendSelection,
        JitMode,
        OptLevel,
        RuntimeConfig,
        RuntimeTuning,
    )
    from evmaot.runtime.directory_store import DirectoryStore
    from evmaot.runtime.events import (
        CompilationEvent,
        CompilationKind,
        EvictedEvent,
        PreloadedEvent,
        PublicationFailedEvent,
        PublishedEvent,
        RuntimeEvent,
        SkippedEvent,
        WorkerRestartedEvent,
    )
    from evmaot.runtime.host import Child, ChildResult, FrameMessage, FrameResult, Host, HostDriver, execute, told
    from evmaot.runtime.preload import PreloadStatistics, ResidentPrograms, open_runtime
    from evmaot.runtime.preloading import LibraryMapping, Preload
    from evmaot.runtime.statistics import RuntimeStatsSnapshot
    from evmaot.runtime.temporary_store import RuntimeArtifactStore

_NAMES_OF = {
    "artifacts": "ArtifactKey ArtifactLibrary ArtifactManifest ArtifactStore Inventory NewLibrary StoredArtifact "
    "TemplateStore WatchedStore",
    "config": "BackendSelection JitMode OptLevel RuntimeConfig RuntimeTuning",
    "directory_store": "DirectoryStore",
    "events": "CompilationEvent CompilationKind EvictedEvent PreloadedEvent PublicationFailedEvent PublishedEvent "
    "RuntimeEvent SkippedEvent WorkerRestartedEvent",
    "host": "Child ChildResult FrameMessage FrameResult Host HostDriver execute told",
    "preload": "PreloadStatistics ResidentPrograms open_runtime",
    "preloading": "LibraryMapping Preload",
    "statistics": "RuntimeStatsSnapshot",
    "temporary_store": "RuntimeArtifactStore",
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


__all__ = [
    # stores and look-up
    "open_runtime",
    "ResidentPrograms",
    "Preload",
    "LibraryMapping",
    "PreloadStatistics",
    "RuntimeCacheKey",
    "LookupRequest",
    "LookupDecision",
    "Compiled",
    "Interpret",
    "InterpretReason",
    "is_eligible",
    # configuration, events and statistics of a backend (`evmaot.jit.JitBackend`)
    "RuntimeConfig",
    "RuntimeTuning",
    "JitMode",
    "OptLevel",
    "BackendSelection",
    "RuntimeStatsSnapshot",
    "RuntimeEvent",
    "CompilationEvent",
    "CompilationKind",
    "PreloadedEvent",
    "SkippedEvent",
    "EvictedEvent",
    "PublishedEvent",
    "PublicationFailedEvent",
    "WorkerRestartedEvent",
    # artifacts
    "ArtifactStore",
    "DirectoryStore",
    "RuntimeArtifactStore",
    "ArtifactKey",
    "ArtifactManifest",
    "StoredArtifact",
    "TemplateStore",
    "WatchedStore",
    "ArtifactLibrary",
    "Inventory",
    "NewLibrary",
    # programs and frames
    "CompiledProgram",
    "ProgramKind",
    "FramePool",
    "Frame",
    "Request",
    "EnvironmentRecord",
    "HostTable",
    # whole frames on a host of one's own
    "execute",
    "HostDriver",
    "Host",
    "FrameMessage",
    "FrameResult",
    "Child",
    "ChildResult",
    "told",
    "FRAME_LIMIT",
    # values of the native ABI
    "Status",
    "CallKind",
    "AccountFlag",
    "StorageStatus",
]
