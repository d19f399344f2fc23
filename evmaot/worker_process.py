"""What runs in a worker process (`evmaot.workers` is the parent's side).

Job: take jobs from a socket, one at a time, run each within its limits, and answer.  Invariants: Ctrl-C is the
parent's; a worker ends when the socket does, and the kernel ends it with the thread that started it, whatever it does
and even if it is stopped; nothing is written but a bounded stderr, and no core.  May import: `evmaot.errors`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from evmaot.errors import EvmaotError

HEADER: Final = struct.Struct("<Q")
"""Size in bytes of the pickled message that follows."""
MAX_CAUSE_CHARACTERS: Final = 4000
_ORPHAN_GRACE_SECONDS: Final = 5.0
_MAX_STDERR_BYTES: Final = 16 << 20
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one job may cost."""

    timeout_seconds: float
    """Wall time, from when a worker has it."""
    memory_limit_bytes: int
    """Address space beyond what the worker has before its first job."""


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job has no value."""

    reason: str
    """``compile_timeout``, ``compile_memory``, ``compile_crash``, ``compiler_bug``, or an EvmaotError's reference."""
    message: str
    cause: str | None = None
    hint: str | None = None
    is_repeatable: bool = True
    """False where something outside the job may have been the reason: it is worth another attempt."""


def timeout_failure(limits: WorkerLimits) -> JobFailure:
    """The job did not end in time."""
    return JobFailure(
        "compile_timeout",
        f"not compiled within {limits.timeout_seconds:g} seconds",
        hint="allow more time with --timeout, or use --opt fast",
    )


def memory_failure(limits: WorkerLimits, cause: str | None) -> JobFailure:
    """The job needed more memory than it may have; `cause` is what was said about it."""
    limit = limits.memory_limit_bytes
    return JobFailure(
        "compile_memory",
        f"not compiled within {f'{limit >> 20} MiB' if limit >= 1 << 20 else f'{limit} bytes'} of memory",
        cause[-MAX_CAUSE_CHARACTERS:] if cause else None,
        "allow more with --memory-limit, or use --opt fast",
    )


def worker_main(descriptor: int) -> None:
    """Serve jobs from a socket until it ends: what a worker process runs."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_STDERR_BYTES)
    channel = socket.socket(fileno=descriptor)
    with channel, channel.makefile("rb", buffering=0) as stream:
        _answer(channel, ("born", None))
        hello = _receive(stream)
        if hello is None:
            return
        function_data, preload, limits = pickle.loads(hello)
        for name in preload:
            importlib.import_module(name)
        function = pickle.loads(function_data)
        base_bytes = _address_space_bytes()
        _answer(channel, ("ready", None))
        while (message := _receive(stream)) is not None:
            # A worker that dies without having said this never had the job: another one may do it.
            _answer(channel, ("begun", None))
            kind, value = _run(function, message, limits, base_bytes)
            _answer(channel, (kind, value))
            if kind == "last":
                # What failed to get memory may have left LLVM in any state.
                return


def _run(function: Callable[[Any], Any], message: bytes, limits: WorkerLimits, base_bytes: int) -> tuple[str, Any]:
    # The parent's deadline is of wall time; this one, of processor time, is for when the parent is gone.
    signal.setitimer(signal.ITIMER_PROF, limits.timeout_seconds + _ORPHAN_GRACE_SECONDS)
    _limit(resource.RLIMIT_AS, base_bytes + limits.memory_limit_bytes)
    try:
        return "value", function(pickle.loads(message))
    except MemoryError:
        # The traceback holds the frames, and with them the memory.
        return "last", memory_failure(limits, None)
    except EvmaotError as error:
        return "failure", JobFailure(error.reference, error.message, error.cause, error.hint)
    except Exception as error:
        text = "".join(traceback.format_exception(error))[-MAX_CAUSE_CHARACTERS:]
        summary = f"{type(error).__name__}: {error}".splitlines()[0][:400]
        return "failure", JobFailure("compiler_bug", summary, text, "please report it with the bytecode")
    finally:
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone: a stopped one sees no end of a socket."""
    # One that went before is found out by the first answer, for until then nobody stops us.
    # SAFETY: prctl with numbers alone; it reads and writes no memory of ours.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _limit(what: int, value: int) -> None:
    """Set a soft limit as near to `value` as the hard one allows."""
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY and (value == resource.RLIM_INFINITY or value > hard):
        value = hard
    resource.setrlimit(what, (value, hard))


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()


def _receive(stream: Any) -> bytes | None:
    header = _read_exactly(stream, HEADER.size)
    return None if header is None else _read_exactly(stream, HEADER.unpack(header)[0])


def _read_exactly(stream: Any, size_bytes: int) -> bytes | None:
    data = bytearray()
    while len(data) < size_bytes:
        more = stream.read(size_bytes - len(data))
        if not more:
            return None
        data += more
    return bytes(data)


def _answer(channel: socket.socket, message: tuple[str, Any]) -> None:
    try:
        data = pickle.dumps(message)
    except Exception as error:  # a value that can't be pickled is the function's fault, and must not end the worker
        failure = JobFailure("compiler_bug", f"the result can't be sent: {error}"[:400])
        data = pickle.dumps(("failure", failure))
    try:
        channel.sendall(HEADER.pack(len(data)) + data, socket.MSG_NOSIGNAL)
    except OSError:
        os._exit(0)  # the parent is gone
