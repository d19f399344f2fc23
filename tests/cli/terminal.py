"""A command on a terminal of a given width, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def on_terminal(*arguments: str, columns: int, term: str = "xterm", more: dict[str, str] | None = None) -> str:
    """What the command writes to a terminal, stdout and stderr as they come; line ends as in a file."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": term, **(more or {})}
    command = [sys.executable, "-m", "evmaot", *arguments]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment):
        os.close(slave)
        text = b""
        while select.select([master], [], [], 120)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            text += piece
        os.close(master)
    return text.decode().replace("\r\n", "\n")
