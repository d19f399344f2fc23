"""One worker process as its parent sees it: a process, a socket, the job it has.

Job: start it, send and receive whole messages without ever waiting for a worker that does not listen, and end it.
Invariants: a message is complete or not there; a signal reaches this process or none, whoever has its number by now;
a worker is waited for, so no dead process stays.  May import: `evmaot.worker_process`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO, Any, Final

from evmaot.worker_process import HEADER, WorkerLimits

MAX_MESSAGE_BYTES: Final = 1 << 30
_RECEIVE_BYTES: Final = 1 << 20
_END_TIMEOUT_SECONDS: Final = 10.0
_LONGEST_FORK_WAIT_SECONDS: Final = 5.0

# -I: the search path is the parent's and nothing else's, not even the working directory.
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from evmaot.worker_process import worker_main; worker_main(int(sys.argv[1]))"
)

_lingering: list[subprocess.Popen[bytes]] = []
"""Killed, and not dead yet: the kernel waits for a device, and nobody else does."""


@dataclass(slots=True)
class Job:
    """What was submitted."""

    token: Any
    message: bytes
    limits: WorkerLimits
    attempts: int = 1


class WorkerHandle:
    """One process, as the parent sees it."""

    __slots__ = (
        "begun", "born", "buffer", "deadline", "job", "jobs_done", "outgoing", "pidfd", "process", "ready",
        "signal_lock", "socket", "started", "stderr",
    )  # fmt: skip

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, stderr: IO[bytes]) -> None:
        self.process = process
        self.socket = channel
        # The flag MSG_DONTWAIT would not do: a socket with a timeout waits for it all the same.
        self.socket.setblocking(False)
        self.stderr = stderr
        self.buffer = bytearray()
        self.outgoing = bytearray()
        """What the worker has not taken yet."""
        self.signal_lock = threading.Lock()
        self.pidfd = _pidfd(process.pid)
        """Readable when the process has ended; -1 where the system has no such thing."""
        self.born = False
        """Whether it ends with its parent from now on, even while it is stopped."""
        self.ready = False
        self.begun = False
        self.job: Job | None = None
        self.started = time.monotonic()
        self.deadline = 0.0
        self.jobs_done = 0

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a job."""
        return self.ready and self.job is None

    def messages(self) -> list[tuple[str, Any]] | None:
        """Complete messages that have arrived, None where the worker is gone."""
        gone = False
        while True:
            try:
                data = self.socket.recv(_RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                gone = True
                break
            self.buffer += data
        found = []
        while len(self.buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self.buffer)
            if size > MAX_MESSAGE_BYTES:
                return None
            if len(self.buffer) < HEADER.size + size:
                break
            try:
                kind, value = pickle.loads(memoryview(self.buffer)[HEADER.size : HEADER.size + size])
            except Exception:  # a process that broke its own memory may say anything
                return None
            found.append((kind, value))
            del self.buffer[: HEADER.size + size]
        return found if found or not gone else None

    def send(self, message: bytes) -> bool:
        """Send a message, now as much as the worker takes; False where it is gone."""
        self.outgoing += HEADER.pack(len(message)) + message
        return self.flush()

    def flush(self) -> bool:
        """Send more of what is left; False where the worker is gone."""
        try:
            while self.outgoing:
                del self.outgoing[: self.socket.send(self.outgoing, socket.MSG_NOSIGNAL)]
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            self.outgoing.clear()
            return False
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, from any thread; nothing where it is gone."""
        with self.signal_lock, contextlib.suppress(OSError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)
            else:
                self.process.send_signal(number)

    def kill(self) -> int:
        """End the process; answers its return code (negative: the signal that ended it)."""
        self.send_signal(signal.SIGKILL)
        return self.end()

    def end(self) -> int:
        """Wait for a process that is ending, and free what the parent holds of it."""
        self.socket.close()
        try:
            code = self.process.wait(_END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            _lingering.append(self.process)
            code = -signal.SIGKILL
        self.forget()
        _lingering[:] = [process for process in _lingering if process.poll() is None]
        return code

    def abandon(self) -> None:
        """Let go of a process that is another's: in a child of `fork`, where nobody will give a lock back."""
        self.signal_lock = threading.Lock()
        self.forget()
        # Not our child, so there is nothing to wait for or to warn of.
        self.process.returncode = 0
        self.stderr.close()

    def forget(self) -> None:
        """Give its descriptors back, but for its last words."""
        self.socket.close()
        with self.signal_lock:
            pidfd, self.pidfd = self.pidfd, -1
            if pidfd >= 0:
                os.close(pidfd)

    def last_words(self) -> str:
        """The end of what it wrote to stderr; closes that."""
        with self.stderr as stream:
            size = os.fstat(stream.fileno()).st_size
            return os.pread(stream.fileno(), 4096, max(0, size - 4096)).decode("utf-8", "replace").strip()


def _pidfd(process_id: int) -> int:
    try:
        return os.pidfd_open(process_id)
    except OSError:  # an old kernel, or a host that takes away its own children
        return -1


def ending(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def spawn() -> WorkerHandle:
    """A new process that is to serve jobs.  Raises OSError."""
    with _spawning, contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        with theirs:
            # It lives as long as the worker.
            stderr = stack.enter_context(tempfile.TemporaryFile(prefix="evmaot-worker-"))
            path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOTSTRAP, str(theirs.fileno()), path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the parent: it says what is published, and then ends the workers.
                start_new_session=True,
            )
        stack.pop_all()
        return WorkerHandle(process, ours, stderr)


# A child that is forked while a process is spawned would get the ends of its socket and pipe, and while it lived,
# neither the death of the worker would be seen nor, by `subprocess`, that the worker had started.
_spawning = threading.RLock()
_forking = threading.local()


def _before_fork() -> None:
    _forking.has_lock = _spawning.acquire(timeout=_LONGEST_FORK_WAIT_SECONDS)


def _after_fork_in_parent() -> None:
    if _forking.has_lock:
        _spawning.release()


def _after_fork_in_child() -> None:
    global _spawning
    _spawning = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
