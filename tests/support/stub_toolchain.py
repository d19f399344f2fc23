"""A toolchain for tests of the build: it compiles nothing, and its libraries are text.

The first byte of a code tells the stub compiler what to do (`CODES`); everything else of the build is real.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evmaot.abi.library import LibraryTable
from evmaot.build_report import BuildRequest
from evmaot.codegen.options import CompileOptions
from evmaot.errors import CompileError, LinkError, LoadError
from evmaot.evm.forks import forks_selected
from evmaot.evm.keccak import keccak256
from evmaot.inputs.source import ContractSource
from evmaot.store.keys import Profile
from evmaot.toolchain import SelfTestJob, Toolchain, UnitJob, UnitOutput
from tests.support.store_samples import profile

HANG, CRASH, EAT, ERROR, UNLINKABLE, UNLOADABLE, WAIT = 0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6
"""First bytes with a meaning; any other compiles."""


def code(number: int, size_bytes: int = 40, first: int = 0x60) -> bytes:
    """A code of its own for each number: PUSH1, ADD, STOP and data."""
    return bytes((first, 1, 0x01, 0x00)) + number.to_bytes(8, "big") + bytes(size_bytes - 12)


def clz(number: int) -> bytes:
    """A code that only the newest rules give a price to."""
    return bytes((0x1E, 0x00)) + number.to_bytes(8, "big")


def source(number: int, data: bytes | None = None, label: str | None = None) -> ContractSource:
    return ContractSource(code(number) if data is None else data, label or f"c{number:03d}", f"test#{number}")


def opcodes(data: bytes) -> frozenset[int]:
    """What the stub takes for reachable: up to the first STOP."""
    return frozenset(data[: data.index(0) + 1])


def compile_stub(job: UnitJob) -> UnitOutput:
    """Do what the first byte says; note each compilation where the environment says so."""
    notes = os.environ.get("EVMAOT_TEST_NOTES")
    if notes:
        with open(notes, "ab", buffering=0) as stream:
            stream.write(job.symbol.encode() + b"\n")
    first = job.code[0]
    if first == HANG:
        while True:
            time.sleep(1000)
    elif first == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif first == EAT:
        held = []
        while True:
            held.append(bytearray(16 << 20))
    elif first == ERROR:
        raise CompileError("stub_refused", "the stub refuses this code", hint="none")
    elif first == WAIT:
        gate = os.environ["EVMAOT_TEST_GATE"]
        while not os.path.exists(gate):
            time.sleep(0.005)
    text = json.dumps([job.symbol, job.code.hex(), job.rules.digest]).encode()
    return UnitOutput(text, keccak256(job.code).hex(), {"codegen": 0.002})


def link_stub(table: LibraryTable, objects: Sequence[bytes], soname: str) -> bytes:
    """A library: everything that went into it."""
    if any(json.loads(data)[1].startswith(f"{UNLINKABLE:02x}") for data in objects):
        raise LinkError("stub_unlinkable", "the stub does not link this code")
    entries = [[entry.code_sha256.hex(), entry.rules.hex(), entry.symbol] for entry in table.sorted_entries]
    document = [soname, table.profile_id.hex(), entries, [data.decode() for data in objects]]
    return json.dumps(document).encode()


def self_test_stub(job: SelfTestJob) -> None:
    """Check in another process that the written file is the library."""
    _, profile_digest, entries, objects = json.loads(Path(job.path).read_bytes())
    if any(json.loads(text)[1].startswith(f"{UNLOADABLE:02x}") for text in objects):
        os.kill(os.getpid(), signal.SIGSEGV)
    found = frozenset((bytes.fromhex(sha256), bytes.fromhex(rules)) for sha256, rules, _ in entries)
    if found != job.keys or profile_digest != job.profile_digest:
        raise LoadError("table_mismatch", "not what was linked")


def tools(of: Profile | None = None, **changes: Any) -> Toolchain:
    fields: dict[str, Any] = {
        "profile": of or profile(),
        "options": CompileOptions(),
        "reachable_opcodes": opcodes,
        "compile_function": compile_stub,
        "link": link_stub,
        "self_test": self_test_stub,
        "warm_up": int,
    }
    return Toolchain(**(fields | changes))


def request(*sources: Any, forks: str = "osaka", **options: Any) -> BuildRequest:
    defaults: dict[str, Any] = {"jobs": 2, "timeout_seconds": 30.0, "memory_limit_bytes": 512 << 20}
    return BuildRequest(sources=sources, forks=forks_selected(forks), **(defaults | options))
