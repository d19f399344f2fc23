"""One worker process as its parent sees it: a process, a socket, the job it has.

Job: send and receive whole messages without ever waiting for a worker that does not listen, and end it.  Invariants:
a message is complete or not there; a worker is waited for, so no dead process stays.  May import:
`evmaot.worker_process`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import IO, Any, Final

from evmaot.worker_process import HEADER, WorkerLimits

MAX_MESSAGE_BYTES: Final = 1 << 30
_RECEIVE_BYTES: Final = 1 << 20
_SEND_TIMEOUT_SECONDS: Final = 30.0
_END_TIMEOUT_SECONDS: Final = 10.0


@dataclass(slots=True)
class Job:
    """What was submitted."""

    token: Any
    message: bytes
    limits: WorkerLimits
    attempts: int = 1


class WorkerHandle:
    """One process, as the parent sees it."""

    __slots__ = ("begun", "buffer", "deadline", "job", "jobs_done", "process", "ready", "socket", "started", "stderr")

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, stderr: IO[bytes]) -> None:
        self.process = process
        self.socket = channel
        self.stderr = stderr
        self.buffer = bytearray()
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

    def messages(self) -> list[Any] | None:
        """Complete messages that have arrived, None where the worker is gone."""
        gone = False
        # The flag MSG_DONTWAIT would not do: a socket with a timeout waits for it all the same.
        self.socket.setblocking(False)
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
            found.append(pickle.loads(memoryview(self.buffer)[HEADER.size : HEADER.size + size]))
            del self.buffer[: HEADER.size + size]
        return found if found or not gone else None

    def send(self, message: bytes) -> bool:
        """Whether the worker took the message."""
        try:
            self.socket.settimeout(_SEND_TIMEOUT_SECONDS)
            self.socket.sendall(HEADER.pack(len(message)) + message, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def kill(self) -> int:
        """End the process; answers its return code (negative: the signal that ended it)."""
        with contextlib.suppress(OSError):
            self.process.kill()
        return self.end()

    def end(self) -> int:
        """Wait for a process that is ending, and free what the parent holds of it."""
        self.socket.close()
        try:
            code = self.process.wait(_END_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code

    def last_words(self) -> str:
        """The end of what it wrote to stderr; closes that."""
        with self.stderr as stream:
            size = os.fstat(stream.fileno()).st_size
            return os.pread(stream.fileno(), 4096, max(0, size - 4096)).decode("utf-8", "replace").strip()


def ending(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
