"""Functions that worker processes run in tests: well-behaved ones, and ones that hang, crash or eat memory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from evmaot.errors import CompileError


def job(argument: Any) -> Any:
    """Do what the argument says."""
    verb, *rest = argument if isinstance(argument, tuple) else (argument,)
    return _VERBS[verb](*rest)


def _error() -> None:
    raise CompileError("named_reason", "it did not work", cause="because", hint="try harder")


def _bug() -> None:
    raise AssertionError("an invariant\nof ours")


def _hang() -> None:
    while True:
        time.sleep(1000)


def _spin() -> None:
    while True:
        pass


def _eat() -> int:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def _interrupt() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def _abort(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
    os.abort()


def _talk(size_bytes: int) -> str:
    sys.stdout.write("o" * size_bytes)
    sys.stderr.write("e" * size_bytes)
    sys.stderr.flush()
    return "talked"


def _unsendable() -> Any:
    return lambda: None


def _touch_and_hang(path: str) -> None:
    Path(path).touch()
    _hang()


def _channel() -> int:
    """The descriptor of this worker's end of the channel."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                return int(name)
    raise AssertionError("there is no channel")


def _babble() -> None:
    os.write(_channel(), bytes([8, 0, 0, 0, 0, 0, 0, 0]) + b"nonsense")
    _hang()


def _keep_channel_open() -> None:
    if os.fork() == 0:
        os.close(2)
        time.sleep(5)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


_VERBS: dict[str, Any] = {
    "echo": lambda value: value,
    "size": len,
    "bytes": lambda size: b"x" * size,
    "pid": os.getpid,
    "error": _error,
    "bug": _bug,
    "hang": _hang,
    "spin": _spin,
    "eat": _eat,
    "kill": lambda number: os.kill(os.getpid(), number),
    "interrupt": _interrupt,
    "exit": lambda code: os._exit(code),
    "abort": _abort,
    "talk": _talk,
    "unsendable": _unsendable,
    "babble": _babble,
    "keep_channel_open": _keep_channel_open,
    "modules": lambda: sorted(name for name in ("click", "rich", "llvmlite", "__main__.x") if name in sys.modules),
    "path": lambda: sys.path,
    "touch_and_hang": _touch_and_hang,
}
