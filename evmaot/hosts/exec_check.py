"""Verification by execution: compiled code of a store against EELS's interpreter, frame by frame.

Job: `check_execution` runs every given code's artifacts on calls that are generated from the code (selectors, slots
and addresses that occur in it) and on recorded transactions, and finds what differs in gas, output, logs, state or
warm sets.  Invariants: what is judged is the artifact as the runtime loads it, found by the code's hash and rules;
other codes of a world are compiled here; the same seed gives the same calls.  It changes nothing in the store.
May import: hosts.*, `evmaot.execution`, `evmaot.runtime`, `evmaot.store`, `evmaot.evm`; EELS.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.execution.hashing import keccak256
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import ProgramSource
from evmaot.hosts.frame_trace_eels import CaseTrace, trace_case
from evmaot.hosts.recorded import DEFAULT_SENDER, recorded_test
from evmaot.hosts.state_test_eels import EELS_PACKAGES
from evmaot.hosts.state_tests import StateTest, fork_of_test
from evmaot.runtime.preload import Preload, ResidentPrograms
from evmaot.store.codes import read_codes
from evmaot.store.findings import Finding, Severity
from evmaot.store.keys import Holes

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.runtime.program import CompiledProgram
    from evmaot.store.directory import ArtifactDirectory
    from evmaot.store.index import Entry

DEFAULT_CALLS = 8
"""Generated calls of each artifact."""
_TARGET = 0xC0DE
_GAS = (60_000, 150_000, 300_000)
"""Of a call; EELS interprets about a million gas a second, so an endless loop costs a third of one."""
_HELPERS = ("60016000526020" + "6000f3", "3660006000373660" + "00f3", "60006000fd", "00")
"""Codes of accounts that the tested code may call: returns 1, echoes, reverts, stops."""


@dataclass(frozen=True, slots=True)
class CheckedCode:
    """A code whose artifacts are to be checked."""

    code: bytes
    label: str = ""
    holes: Holes = ()
    """Of a template: each call has other values there."""

    def deployment(self, seed: int, number: int) -> bytes:
        """The code that call runs: of a template with its holes filled."""
        filled = bytearray(self.code)
        chance = random.Random(f"{seed} {number} holes")
        for offset, size_bytes in self.holes:
            value = chance.choice((1, _TARGET, chance.getrandbits(8 * size_bytes)))
            filled[offset : offset + size_bytes] = (value % (1 << 8 * size_bytes)).to_bytes(size_bytes, "big")
        return bytes(filled)


@dataclass(slots=True)
class ExecutionReport:
    """What was checked, and what was found."""

    artifacts: int = 0
    calls: int = 0
    frames: int = 0
    findings: list[Finding] = field(default_factory=list)


class _Artifacts:
    """Programs of one profile of the store; what it lacks is compiled."""

    def __init__(self, store: ArtifactDirectory, profile: str) -> None:
        self._resident = ResidentPrograms(profiles={profile})
        self._resident.add_store(store.paths.root, preload=Preload.LAZY)
        self._compiler = JitPrograms(CompileOptions(Tier.FAST))
        self.used: set[bytes] = set()
        """SHA-256 of codes whose artifacts ran since it was cleared."""

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        """The artifact of a code, else one that is made here."""
        program = self._resident.lookup(code_hash or keccak256(code), fork.name, code)
        if program is None:
            return self._compiler.program_for(code, code_hash, fork)
        self.used.add(program.code_sha256)
        return program


def stored_codes(store: ArtifactDirectory, sample: int | None = None, seed: int = 1) -> tuple[list[CheckedCode], int]:
    """Codes whose packs have their bytecode, about `sample` of them; and how many contracts lack it."""
    found: dict[tuple[bytes, Holes], CheckedCode] = {}
    lacking = 0
    for pack in store.packs():
        codes = read_codes(store.files, pack.manifest.object.sha256)
        if codes is None:
            lacking += len(pack.manifest.members)
            continue
        for item in codes:
            found.setdefault((item.code, item.holes), CheckedCode(item.code, item.label, item.holes))
    chosen = sorted(found.values(), key=lambda item: (hashlib.sha256(item.code).digest(), item.holes))
    if sample is not None and sample < len(chosen):
        chosen = random.Random(seed).sample(chosen, sample)
    return chosen, lacking


def check_execution(
    store: ArtifactDirectory,
    codes: Iterable[CheckedCode],
    recorded: Sequence[StateTest] = (),
    *,
    calls: int = DEFAULT_CALLS,
    seed: int = 1,
) -> ExecutionReport:
    """Check the artifacts of the codes, and recorded transactions on all artifacts.

    Findings: ``wrong_result`` (an error: it names the artifact, the fork, the call and what differed), ``not_loaded``
    (a note: the artifact did not run, so nothing is known about it).
    """
    report = ExecutionReport()
    sources: dict[str, _Artifacts] = {}
    index = store.index()
    for checked in codes:
        entries = _served(index, checked)
        for entry, forks in entries:
            profile = entry.pack.manifest.profile
            if profile not in sources:
                sources[profile] = _Artifacts(store, profile)
            _check_artifact(store, sources[profile], entry, forks, checked, calls, seed, report)
    if recorded:
        for profile in sorted({pack.manifest.profile for pack in index.packs}):
            artifacts = sources.setdefault(profile, _Artifacts(store, profile))
            _check_recorded(artifacts, profile, recorded, report)
    return report


def _served(index: Any, checked: CheckedCode) -> list[tuple[Entry, list[str]]]:
    """Artifacts of a code or template with the forks of EELS that they serve."""
    code_hash = keccak256(checked.code).hex()
    found: dict[tuple[str, str, str], tuple[Entry, list[str]]] = {}
    for fork in FORKS.values():
        if EELS_PACKAGES.get(fork.name, fork.name) is None:
            continue
        for entry in index.serving(code_hash, fork):
            if entry.member.holes != checked.holes:
                continue
            key = (entry.pack.manifest.profile, entry.pack.manifest.object.sha256, entry.member.symbol)
            found.setdefault(key, (entry, []))[1].append(fork.name)
    return list(found.values())


def _check_artifact(
    store: ArtifactDirectory, artifacts: _Artifacts, entry: Entry, forks: list[str], checked: CheckedCode, calls: int,
    seed: int, report: ExecutionReport,
) -> None:  # fmt: skip
    report.artifacts += 1
    subject = f"{store.files.subject(entry.pack.object_path)}#0x{entry.member.code_hash}"
    ran = False
    for number in range(calls):
        code = checked.deployment(seed, number)
        sha256 = hashlib.sha256(code).digest()
        test = generated_call(code, forks[-1 - number % len(forks)], seed, number)
        artifacts.used.clear()
        (trace,) = _traced(test, artifacts, report)
        ran = ran or sha256 in artifacts.used
        problem = _problem(trace)
        if problem:
            name = f" ({checked.label})" if checked.label else ""
            text = f"wrong under {trace.fork_name}{name}, call {number} of seed {seed}: {problem}"
            report.findings.append(Finding("wrong_result", subject, text))
            return
    if not ran:
        report.findings.append(Finding("not_loaded", subject, "the artifact did not run here", Severity.NOTE))


def _check_recorded(
    artifacts: _Artifacts, profile: str, recorded: Sequence[StateTest], report: ExecutionReport
) -> None:
    for test in recorded:
        artifacts.used.clear()
        for trace in _traced(test, artifacts, report):
            problem = _problem(trace)
            if problem:
                place = f"{test.id} under {trace.fork_name}, profile {profile[:16]}"
                report.findings.append(Finding("wrong_result", test.id, f"wrong in {place}: {problem}"))
        if not artifacts.used:
            text = f"{test.id}: none of its codes is in the store with profile {profile[:16]}"
            report.findings.append(Finding("not_loaded", test.id, text, Severity.NOTE))


def _traced(test: StateTest, programs: ProgramSource, report: ExecutionReport) -> Iterator[CaseTrace]:
    for key in test.cases():
        fork = fork_of_test(key.fork_name)
        if fork is None or EELS_PACKAGES.get(fork.name, fork.name) is None:
            continue
        trace = trace_case(test, key, programs, "store")
        report.calls += 1
        report.frames += trace.frames
        yield trace


def _problem(trace: CaseTrace) -> str:
    """What differs between artifact and interpreter; empty if nothing does."""
    difference = trace.difference
    if difference is None:
        # The answer may be unknown or wrong; both sides must give the same one.
        same = trace.native_problem == trace.interpreter_problem
        return "" if same else f"native {trace.native_problem}, EELS {trace.interpreter_problem}"
    rows = "; ".join(f"{row.what}: native {row.native}, EELS {row.eels}" for row in difference.differences)
    code = difference.frame.values.get("code", b"")
    path = "/".join(map(str, difference.frame.path)) or "outermost"
    return f"frame {path} of code 0x{code.hex()} at {difference.moment}: {rows}"


# --- calls -------------------------------------------------------------------------------------------


def generated_call(code: bytes, fork_name: str, seed: int, number: int) -> StateTest:
    """A call of the code in a small world, made of what occurs in the code."""
    digest = hashlib.sha256(code).hexdigest()
    chance = random.Random(f"{seed} {digest} {number}")
    selectors, addresses = _constants(code)
    sender = int(DEFAULT_SENDER, 16)
    words = [0, 1, 2, 32, 1000, 10**18, 2**255, 2**256 - 1, sender, _TARGET, chance.getrandbits(256), *addresses]
    data = bytes.fromhex(chance.choice(selectors)) if selectors and chance.random() < 0.9 else b""
    data += b"".join(chance.choice(words).to_bytes(32, "big") for _ in range(chance.randrange(6)))
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data) + 1)]
    pre: dict[str, Any] = {
        _text(_TARGET): {"nonce": "0x1", "balance": "0x64", "code": f"0x{code.hex()}", "storage": _slots(chance, words)}
    }
    for address in addresses:
        helper = chance.choice(_HELPERS)
        pre.setdefault(_text(address), {"nonce": "0x1", "balance": "0x0", "code": f"0x{helper}", "storage": {}})
    transaction = {
        "to": _text(_TARGET), "sender": DEFAULT_SENDER, "data": [f"0x{data.hex()}"],
        "gasLimit": [hex(chance.choice(_GAS))], "value": [hex(chance.choice((0, 0, 0, 1)))],
    }  # fmt: skip
    return recorded_test(f"0x{digest[:16]}#{number}", {"pre": pre, "transaction": transaction}, fork_name)


def _slots(chance: random.Random, words: Sequence[int]) -> dict[str, str]:
    """Storage: the first slots, and the entries of mappings in them for the sender, as Solidity places them."""
    slots = {}
    for slot in range(10):
        if chance.random() < 0.6:
            slots[hex(slot)] = hex(chance.choice(words))
        if chance.random() < 0.6:
            place = keccak256(int(DEFAULT_SENDER, 16).to_bytes(32, "big") + slot.to_bytes(32, "big"))
            slots[f"0x{place.hex()}"] = hex(chance.choice(words))
    return {slot: value for slot, value in slots.items() if value != "0x0"}


def _constants(code: bytes) -> tuple[list[str], list[int]]:
    """What is pushed in four bytes (selectors) and in twenty (addresses)."""
    selectors: set[str] = set()
    addresses: set[int] = set()
    pc = 0
    while pc < len(code):
        size = code[pc] - 0x5F if 0x60 <= code[pc] <= 0x7F else 0
        operand = code[pc + 1 : pc + 1 + size]
        if size == 4:
            selectors.add(operand.hex())
        elif size == 20 and len(operand) == 20:
            addresses.add(int.from_bytes(operand, "big"))
        pc += 1 + size
    return sorted(selectors), sorted(address for address in addresses if 0xFFFF < address < 2**160 - 1)[:8]


def _text(address: int) -> str:
    return f"0x{address:040x}"
