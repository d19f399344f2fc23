"""The native side: programs compiled many at a time, and an observer that writes down how each frame ends.

Job: `NativeSide.run` gives a message's `MessageEnd`.  Invariants: what runs is the shipped compiler's code at the
tier's own levels; many programs share one LLVM module and one library only to save fixed costs, and after a batch
that fails they are compiled one by one; there is no interpreter to fall back to; what a batch compiled is unmapped
when the next one begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from evmaot.abi.layout import FINGERPRINT
from evmaot.abi.library import LibraryTable, TableEntry
from evmaot.abi.status import CallKind, Status
from evmaot.codegen.backend.linker import link_shared_library
from evmaot.codegen.backend.llvm import compile_text
from evmaot.codegen.builtins.module import builtins_object
from evmaot.codegen.driver import compile_unit, compiler_digest, plan, reachable_opcodes
from evmaot.codegen.emit.module import module_text
from evmaot.codegen.emit.table import table_text
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import CompilerBug, EvmaotError
from evmaot.evm.forks import FORKS, Fork
from evmaot.evm.instruction_set import CompileRules, restrict
from evmaot.execution.executor import Executor
from evmaot.execution.journal import Journal
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.protocol import Account, FrameStart, Message, delegate_of
from evmaot.execution.protocol import FrameEnd as ObservedEnd
from evmaot.runtime.image import load_image
from evmaot.runtime.program import CompiledProgram, ProgramKind
from tests.differential.frames import AccountEnd, FrameEnd, MessageEnd
from tests.support.native import ENVIRONMENT, SENDER, Call, Contract, block_hash

_DEFINED = re.compile(r"^(?:define internal [^@\n]*@|@)([\w.]+)", re.MULTILINE)
_NAME = re.compile(r"@([\w.]+)")
_SHARED = ("declare ", "attributes ", "!")
"""Beginnings of lines that modules of one compiler have in common."""


def merged_text(texts: list[str]) -> str:
    """Several modules as one: private names get the module's number, shared lines are kept once."""
    shared: dict[str, None] = {}
    parts = []
    for number, text in enumerate(texts):
        private = set(_DEFINED.findall(text))

        def rename(match: re.Match[str], number: int = number, private: set[str] = private) -> str:
            return f"@m{number}.{match[1]}" if match[1] in private else match[0]

        lines = []
        for line in text.split("\n"):
            if line.startswith(_SHARED):
                shared[line] = None
            else:
                lines.append(line)
        parts.append(_NAME.sub(rename, "\n".join(lines)))
    return "\n".join([*shared, *parts])


class BatchPrograms:
    """A `ProgramSource` of what was compiled ahead for the messages that come; compiles what is missing.

    `missed` counts the programs that had to be compiled alone.
    """

    def __init__(self, tier: str, cache: Path | None = None) -> None:
        self.options = CompileOptions(Tier(tier))
        self.missed = 0
        self._cache = cache
        self._programs: dict[tuple[bytes, bytes], CompiledProgram] = {}
        self._by_code: dict[tuple[bytes, str], CompiledProgram] = {}

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        """The program of a code, compiled now if it is not in the batch."""
        program = self._by_code.get((code, fork.name))
        if program is None:
            rules = restrict(fork, reachable_opcodes(code))
            key = (hashlib.sha256(code).digest(), bytes.fromhex(rules.digest))
            if key not in self._programs:
                self.missed += 1
                self._compile([(code, rules)])
            program = self._by_code[code, fork.name] = self._programs[key]
        return program

    def prepare(self, codes: Iterable[tuple[bytes, Fork]]) -> None:
        """Forget the last batch and compile these."""
        self._programs.clear()
        self._by_code.clear()
        units: dict[tuple[bytes, str], tuple[bytes, CompileRules]] = {}
        for code, fork in codes:
            rules = restrict(fork, reachable_opcodes(code))
            units.setdefault((code, rules.digest), (code, rules))
        if not units:
            return
        # A program that cannot be compiled fails the batch: then each is compiled alone when a message enters it,
        # and the one at fault is a difference of that message.
        with suppress(CompilerBug, EvmaotError):
            self._compile(list(units.values()))

    def _compile(self, units: list[tuple[bytes, CompileRules]]) -> None:
        """Compile, or take what the same compiler made of the same units before."""
        if self._cache is None or len(units) == 1:
            self._load(self._image(units), units)
            return
        digest = hashlib.sha256(f"{compiler_digest()} {self.options}".encode())
        for code, rules in units:
            digest.update(hashlib.sha256(code).digest() + bytes.fromhex(rules.digest))
        path = self._cache / digest.hexdigest()[:2] / digest.hexdigest()
        if path.exists():
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                self._load(data[32:], units)
                return
        image = self._image(units)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashlib.sha256(image).digest() + image)
        self._load(image, units)

    def _image(self, units: list[tuple[bytes, CompileRules]]) -> bytes:
        names = [f"unit{index}" for index in range(len(units))]
        if len(units) == 1:
            objects = [compile_unit(*units[0], self.options, names[0]).object_data]
        else:
            texts = [
                module_text(plan(code, rules, self.options), name)
                for (code, rules), name in zip(units, names, strict=True)
            ]
            objects = [compile_text(merged_text(texts), self.options.tier, self.options.target).data]
        entries = tuple(
            TableEntry(hashlib.sha256(code).digest(), bytes.fromhex(rules.digest), name)
            for (code, rules), name in zip(units, names, strict=True)
        )
        target = self.options.target
        table = table_text(LibraryTable(bytes.fromhex(FINGERPRINT), bytes(32), entries))
        objects += [builtins_object(target), compile_text(table, Tier.FAST, target).data]
        return link_shared_library(objects, soname="batch.so", target=target)

    def _load(self, image: bytes, units: list[tuple[bytes, CompileRules]]) -> None:
        loaded = load_image(image)
        for code, rules in units:
            key = (hashlib.sha256(code).digest(), bytes.fromhex(rules.digest))
            self._programs[key] = CompiledProgram(
                loaded.entries[key], key[0], bytes(32), key[1],
                kind=ProgramKind.JIT, tier=self.options.tier.value, size_bytes=0, backing=loaded,
            )  # fmt: skip


class FrameRecorder:
    """A `FrameObserver` that writes down each message that ends."""

    def __init__(self) -> None:
        self.ends: list[FrameEnd] = []
        self._started: list[tuple[FrameStart, int, int]] = []
        self._storages: Mapping[int, Mapping[int, int]] = {}
        self._warm: tuple[frozenset[int], frozenset[tuple[int, int]]] | None = None

    def begin(self, call: Call, storages: Mapping[int, Mapping[int, int]], *, tracks_access: bool) -> None:
        """Before each message: what it starts from."""
        self.ends = []
        self._started = []
        self._storages = storages
        self._warm = (call.warm_addresses, call.warm_slots) if tracks_access else None

    def entered(self, start: FrameStart, journal: Journal) -> None:
        """A frame starts; refund and logs of its own are what comes on top."""
        self._started.append((start, journal.refund[0], len(journal.logs)))

    def ended(self, end: ObservedEnd, journal: Journal) -> None:
        """A frame has ended."""
        start, refund, logs = self._started.pop()
        status = Status.OUT_OF_GAS if end.failure is not None else end.status
        outcome = "success" if status.succeeded else "revert" if status is Status.REVERT else "halt"
        row = FrameEnd(
            start.depth, start.recipient, start.sender, start.value, start.is_static, start.code, start.gas, outcome,
            0 if outcome == "halt" else end.gas_left, b"" if outcome == "halt" else end.output,
        )  # fmt: skip
        if outcome == "success":
            warm_addresses, warm_slots = frozenset[int](), frozenset[tuple[int, int]]()
            if self._warm is not None:
                warm_addresses, warm_slots = journal.warmed()
                warm_addresses |= self._warm[0]
                warm_slots |= self._warm[1]
            storage = {**self._storages.get(start.recipient, {}), **journal.storage(start.recipient)}
            row = row._replace(
                refund=journal.refund[0] - refund,
                logs=tuple((log.address, log.topics, log.data) for log in journal.logs[logs:]),
                storage={key: value for key, value in storage.items() if value},
                warm_addresses=warm_addresses,
                warm_slots=warm_slots,
            )
        self.ends.append(row)


_RESULT_FIELDS = (
    "status", "gas_left", "output", "refund", "failure", "native_frames", "logs", "changes", "warm_addresses",
    "warm_slots",
)  # fmt: skip


class NativeSide:
    """Runs messages on compiled code of one tier, with and without an observer."""

    def __init__(self, tier: str, cache: Path | None = None) -> None:
        self.tier = tier
        self.programs = BatchPrograms(tier, cache)
        self.recorder = FrameRecorder()
        self.executor = Executor(self.programs, self.recorder)
        self.unobserved = Executor(self.programs)
        self.native_frames = 0

    def state_of(self, call: Call, fork: str) -> MemoryState:
        """A call's world; messages on it do not change it."""
        return MemoryState(
            FORKS[fork],
            {a: Account(c.nonce, c.balance, c.code) for a, c in call.world.items()},
            {a: c.storage for a, c in call.world.items()},
            block_hash=block_hash,
        )

    def run(self, call: Call, fork: str, state: MemoryState | None = None) -> MessageEnd:
        """How the message ends."""
        if state is None:
            state = self.state_of(call, fork)
        rules = FORKS[fork]
        recorder = self.recorder
        recorder.begin(call, state.storages, tracks_access=rules.parameters.tracks_access)
        message = native_message(call, rules)
        result = self.executor.execute(message, ENVIRONMENT, state, rules)
        # An executor that nobody watches has shorter ways to the same end.
        unobserved = self.unobserved.execute(message, ENVIRONMENT, state, rules)
        differing = [name for name in _RESULT_FIELDS if getattr(result, name) != getattr(unobserved, name)]
        if differing:
            raise AssertionError(f"without an observer the message has another {', '.join(differing)}")
        self.native_frames += result.native_frames
        changes = result.changes
        changed: dict[int, AccountEnd | None] = {}
        for address in changes.accounts.keys() | changes.storage.keys():
            account = changes.accounts[address] if address in changes.accounts else state.accounts.get(address)
            slots = {**state.storages.get(address, {}), **changes.storage.get(address, {})}
            changed[address] = account and AccountEnd(
                account.nonce, account.balance, account.code, {key: value for key, value in slots.items() if value}
            )
        tracks = rules.parameters.tracks_access and not result.status.halted
        return MessageEnd(
            tuple(recorder.ends),
            changed,
            changes.destroyed,
            result.warm_addresses | call.warm_addresses if tracks else frozenset(),
            result.warm_slots | call.warm_slots if tracks else frozenset(),
            result.status.name,
        )


def native_message(call: Call, rules: Fork) -> Message:
    """The depth-0 message of a call."""
    account = call.world[call.target]
    delegate = delegate_of(account.code) if rules.parameters.delegations else None
    code = account.code if delegate is None else call.world.get(delegate, Contract()).code
    return Message(
        CallKind.CALL, SENDER, call.target, call.gas, code=code,
        code_address=call.target if delegate is None else delegate, input=call.input, value=call.value,
        is_static=call.is_static, is_delegated=delegate is not None,
        warm_addresses=call.warm_addresses, warm_slots=call.warm_slots,
    )  # fmt: skip
