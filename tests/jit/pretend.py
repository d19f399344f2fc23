"""A compiler that pretends: what workers run in tests of what is around compilation.

It answers at once with a library that was linked before, patched to be of the code that it is asked for; or it does
what the code says, in bytes that no EVM ever reaches: die, hang, eat memory, fail, or wait at a gate.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from evmaot.abi.layout import FINGERPRINT
from evmaot.codegen.frontend.decode import reachable_opcodes
from evmaot.compiler_version import compiler_digest, installed_llvmlite
from evmaot.errors import CompileError, LinkError
from evmaot.evm.forks import FORKS
from evmaot.evm.instruction_set import CompileRules, opcode_bitmap, restrict
from evmaot.jit.compiler import (
    CompileJob,
    CompileOutput,
    Job,
    KeyJob,
    KeyOutput,
    LinkJob,
    Unit,
    WarmUpJob,
    WarmUpOutput,
)
from evmaot.runtime.schedule import with_gas_params
from evmaot.store.keys import Profile, unit_key
from evmaot.target import host_target

MARK = b"\xfe!"
"""INVALID, and what stands behind it is data."""


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    # SAFETY: it is meant to be a fault of the hardware.
    ctypes.string_at(8)


def hang() -> None:
    while True:
        pass


def eat() -> None:
    held = []
    while True:
        held.append(bytearray(64 << 20))


def fail() -> None:
    raise CompileError("pretended", "it was told to fail", cause="the code says so")


def raise_something() -> None:
    raise ZeroDivisionError("as if by a bug")


DEEDS: dict[bytes, Callable[[], None]] = {
    b"kill": kill_me,
    b"crash": crash,
    b"hang": hang,
    b"eat": eat,
    b"fail": fail,
    b"raise": raise_something,
}


def profile(tier: str) -> Profile:
    target = host_target()
    llvmlite = installed_llvmlite() or "0"
    return Profile(compiler_digest(), "0", llvmlite, FINGERPRINT, target.triple, target.cpu, (), tier)


def told(code: bytes, word: bytes) -> bytes:
    """The code, told to do something when it is compiled."""
    return code + MARK + word


def count(path: Path, what: str) -> int:
    """How many workers did that at a gate."""
    marks = path.with_name(f"{path.name}.{what}")
    return marks.stat().st_size if marks.exists() else 0


def run_job(template: bytes, template_sha256: bytes, template_rules: bytes, job: Job) -> object:
    """What a worker does."""
    if isinstance(job, WarmUpJob):
        return WarmUpOutput(b"")
    if isinstance(job, LinkJob):
        raise LinkError("pretended", "it links nothing")
    if isinstance(job, KeyJob):
        return KeyOutput(_identity(job)[-1])
    _, mark, word = job.code.partition(MARK)
    if mark and word.startswith(b"gate:"):
        _, path, tiers = word.split(b":")
        if job.tier.encode() in tiers:
            with open(path, "rb") as gate:
                gate.read()
            with open(path + b".through", "ab") as through:
                through.write(b"x")
    elif mark:
        word, _, tier = word.partition(b":")
        if not tier or tier == job.tier.encode():
            DEEDS[word]()
    return _output(job, template, template_sha256, template_rules)


def _identity(job: CompileJob | KeyJob) -> tuple[frozenset[int], CompileRules, bytes, Profile, str]:
    opcodes = reachable_opcodes(job.code)
    rules = restrict(with_gas_params(FORKS[job.fork], job.gas_params), opcodes)
    code_sha256, of = hashlib.sha256(job.code).digest(), profile(job.tier)
    return opcodes, rules, code_sha256, of, unit_key(of.digest, rules.digest, code_sha256.hex(), len(job.code))


def _output(job: CompileJob, template: bytes, template_sha256: bytes, template_rules: bytes) -> CompileOutput:
    opcodes, rules, code_sha256, of, key = _identity(job)
    library = template.replace(template_sha256, code_sha256).replace(template_rules, bytes.fromhex(rules.digest))
    library = library.replace(bytes.fromhex(profile("fast").digest), bytes.fromhex(of.digest))
    unit = Unit(
        job.code_hash, code_sha256, len(job.code), rules.digest, opcode_bitmap(opcodes), f"u_{key[:32]}", key, of,
        dict.fromkeys(("analyse", "emit", "optimise", "codegen", "link"), 0.0),
    )  # fmt: skip
    return CompileOutput(unit, library, 64, library if job.wants_object else None, None)


def answer_rubbish(job: Job) -> object:
    """A worker whose libraries are none."""
    assert isinstance(job, CompileJob)
    unit = Unit(
        job.code_hash, hashlib.sha256(job.code).digest(), len(job.code), "00" * 32, "00" * 32, "u", "00" * 32,
        profile(job.tier), {},
    )  # fmt: skip
    return CompileOutput(unit, b"\x7fELF" + bytes(1000), 0, None, None)
