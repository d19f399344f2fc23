"""Threads that wait for work, and how they are woken.

Job: `Waker`, which a look-up may use, and `TaskThread`, which runs callbacks and what may block on a disk.
Invariants: nothing here blocks its caller; a wake-up is never lost, and never written into somebody else's
descriptor; a task is run, refused, or said to be dropped; one that raises is logged and costs nothing else; threads
are daemons, so that none keeps an interpreter alive.  May import: the standard library.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("evmaot.jit")

Task = Callable[[], object]


class Waker:
    """A descriptor that becomes readable when somebody calls `wake`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        # Reentrant: the collector may run a finalizer, which wakes, in the middle of `wake`.
        self._lock = threading.RLock()

    @property
    def descriptor(self) -> int:
        """To wait for."""
        return self._read

    def wake(self) -> None:
        """Make the descriptor readable; nothing after `close`."""
        with self._lock:
            if self._write >= 0:
                # A full pipe is readable already.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write, b"\0")

    def rest(self) -> None:
        """Make it unreadable."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def forget(self) -> None:
        """Give the descriptors back in a child of `fork`, where a lock may never be free again."""
        self._lock = threading.RLock()
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            for descriptor in {self._read, self._write} - {-1}:
                os.close(descriptor)
            self._read = self._write = -1


class TaskThread:
    """Runs tasks one after the other in a thread, which begins with the first task."""

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._capacity = capacity
        self._tasks: deque[tuple[Task, Task | None]] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def submit(self, task: Task, dropped: Task | None = None) -> bool:
        """Queue a task; False where there is no room, no thread can be had, or it is closing.

        `dropped` is called instead of it where `close` drops it: who waits for the task is told so.
        """
        with self._condition:
            if self._is_closing or len(self._tasks) >= self._capacity or not self._has_thread():
                return False
            self._tasks.append((task, dropped))
            self._condition.notify()
            return True

    def _has_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                logger.error("%s: %s", self._name, error)
                return False
            self._thread = thread
        return True

    @property
    def waiting(self) -> int:
        """Tasks that have not begun."""
        return len(self._tasks)

    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.current_thread() is self._thread

    def close(self, timeout_seconds: float, *, drop: bool) -> bool:
        """End the thread after what is queued (with `drop`: after the task that it runs); whether it ended in time."""
        lost: list[tuple[Task, Task | None]] = []
        with self._condition:
            self._is_closing = True
            if drop:
                lost = list(self._tasks)
                self._tasks.clear()
            self._condition.notify()
            thread = self._thread
        for _, dropped in lost:
            if dropped is not None:
                dropped()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, timeout_seconds))
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._tasks:
                    if self._is_closing:
                        return
                    self._condition.wait()
                task, _ = self._tasks.popleft()
            try:
                task()
            except BaseException:  # even one that is meant to end a thread: others count on this one
                logger.exception("%s: a task failed", self._name)
            # Not held while it waits for the next: it may keep a program loaded.
            del task


def remaining(deadline: float) -> float:
    """Seconds until a moment of the monotonic clock, at least 0."""
    return max(0.0, deadline - time.monotonic())
