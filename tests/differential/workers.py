"""Chunks in forked processes: parallel, bounded in memory, and alive after a crash of native code.

Job: `Workers.run` yields chunks' results as they come.  The parent loads everything once, each child inherits it and
does one chunk.  A child that dies takes its last word (`progress`, in shared memory) with it to the report, and its
chunk is done again without that world.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.differential.chunks import Chunk, run_chunk, sources_digest
from tests.differential.compare import COMPILING, Comparison

CPU_LIMIT_SECONDS: Final = 900
"""Of one chunk, shrinking included."""
MAX_CRASHES: Final = 8
"""Of one chunk, after which it is given up."""
_LAST_WORD_BYTES: Final = 512
_RECURSION_LIMIT: Final = 100_000
"""EELS interprets a call by a recursion of several Python functions, and the EVM allows 1,024."""


@dataclass(slots=True)
class _Child:
    chunk: Chunk
    pid: int
    reader: int
    last_word: mmap.mmap
    data: bytearray


class Workers:
    """At most `count` children at once."""

    def __init__(self, comparison: Comparison, count: int) -> None:
        self._comparison = comparison
        self._count = count
        self._children: dict[int, _Child] = {}
        self._crashes: dict[tuple[str, int], list[dict[str, Any]]] = {}

    def run(self, chunks: Iterable[Chunk]) -> Iterator[dict[str, Any]]:
        """Results in any order; takes the next chunk when a child is free."""
        waiting = iter(chunks)
        try:
            while True:
                while len(self._children) < self._count:
                    chunk = next(waiting, None)
                    if chunk is None:
                        break
                    self._start(chunk)
                if not self._children:
                    return
                yield from self._results()
        finally:
            self.stop()

    def stop(self) -> None:
        """End all children."""
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            os.close(child.reader)
        self._children.clear()

    def _start(self, chunk: Chunk) -> None:
        reader, writer = os.pipe()
        last_word = mmap.mmap(-1, _LAST_WORD_BYTES)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(chunk, self._comparison, writer, last_word)
        os.close(writer)
        self._children[reader] = _Child(chunk, pid, reader, last_word, bytearray())

    def _results(self) -> Iterator[dict[str, Any]]:
        ready, _, _ = select.select(list(self._children), [], [])
        for reader in ready:
            child = self._children[reader]
            data = os.read(reader, 1 << 20)
            if data:
                child.data += data
                continue
            del self._children[reader]
            os.close(reader)
            status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            if status == 0:
                result = json.loads(child.data)
                result["found"] += self._crashes.pop((child.chunk.family, child.chunk.number), [])
                yield result
            else:
                yield from self._crashed(child, status)

    def _crashed(self, child: _Child, status: int) -> Iterator[dict[str, Any]]:
        """Write a crash down, and do the chunk again without the world; or give up."""
        chunk = child.chunk
        word = child.last_word[:].rstrip(b"\0").decode(errors="replace")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}: {child.data.decode()}"
        if word.startswith(COMPILING):
            self._start(replace(chunk, alone=True))
            return
        crashes = self._crashes.setdefault((chunk.family, chunk.number), [])
        crashes.append({"seed": word.rpartition(" ")[2], "tier": "", "fork": "", "words": [f"crash: {how}, {word}"]})
        if len(crashes) < MAX_CRASHES:
            self._start(replace(chunk, skipped=chunk.skipped | {word.rpartition(" ")[2]}))
            return
        yield {
            "sources": sources_digest(), "seed": chunk.seed, "family": chunk.family, "number": chunk.number,
            "every": chunk.every, "programs": {}, "created": {}, "counts": {}, "opcodes": {}, "found": crashes,
            "seconds": 0.0,
        }  # fmt: skip
        del self._crashes[chunk.family, chunk.number]


def _child(chunk: Chunk, comparison: Comparison, writer: int, last_word: mmap.mmap) -> None:
    """Do a chunk, send its result, and end without a word to the parent's files."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_SECONDS, CPU_LIMIT_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.setrecursionlimit(_RECURSION_LIMIT)

        def progress(word: str) -> None:
            last_word[:] = word.encode()[:_LAST_WORD_BYTES].ljust(_LAST_WORD_BYTES, b"\0")

        _write(writer, json.dumps(run_chunk(chunk, comparison, progress)).encode())
        status = 0
    except BaseException:
        _write(writer, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]
