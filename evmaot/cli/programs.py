"""Native code for `evmaot run`: from the store where it has it, compiled here where not.

Job: a `ProgramSource` that counts what it gave.  Invariant: an artifact is used only under rules that
it serves; one that stands for its code by hash alone may not look at its own bytes.
May import: `evmaot.execution`, `evmaot.runtime`, `evmaot.store`, `evmaot.cli`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import StoreError, UsageError
from evmaot.execution.hashing import keccak256
from evmaot.execution.programs import JitPrograms
from evmaot.runtime.directory_store import DirectoryStore
from evmaot.runtime.preload import Preload, ResidentPrograms
from evmaot.runtime.preloading import CURRENT

if TYPE_CHECKING:
    from pathlib import Path

    from evmaot.cli.invocation import Invocation
    from evmaot.evm.forks import Fork
    from evmaot.execution.protocol import Message
    from evmaot.runtime.program import CompiledProgram

_LOOKS_AT_CODE = ("CODECOPY", "EXTCODECOPY")
"""Opcodes that may read the running code, which the store does not keep."""
_SMALLEST_CODE = b"\x00"


def _may_be_there(store: Path) -> bool:
    """False where there is no store; one that may not be looked at is there, and opening it says why it is not used."""
    try:
        os.lstat(store / "STORE")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


class RunPrograms:
    """The store first, then the compiler."""

    def __init__(self, invocation: Invocation, *, use_store: bool, tier: Tier | None = None) -> None:
        """`tier`: code of exactly this one, and what compiling it takes is to be told without the start of LLVM.

        None: of the configured one, or whatever the store has.
        """
        self._invocation = invocation
        # A tier that was asked for is meant; otherwise whatever the store has is good enough.
        self._start_first = tier is not None
        is_meant = tier is not None or invocation.configuration.origins["tiers"].kind == "flag"
        tier = tier or Tier(invocation.settings.tier)
        self._tier = tier.value if is_meant else None
        self._compiler = JitPrograms(CompileOptions(tier))
        self._known: dict[tuple[bytes, str], CompiledProgram] = {}
        self._is_started = False
        self._resident = self._open() if use_store else None
        self._by_hash_alone: bytes | None = None
        self._stored: set[bytes] = set()

    @property
    def stored(self) -> int:
        """Codes that the store had."""
        return len(self._stored)

    @property
    def compiled(self) -> int:
        """Codes compiled here."""
        return self._compiler.statistics.compiled

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling."""
        return self._compiler.statistics.compile_seconds

    def _open(self) -> ResidentPrograms | None:
        settings = self._invocation.settings
        stores = [path for path in (settings.store, *settings.store_layers) if _may_be_there(path)]
        if not stores:
            return None
        # What the runtime leaves out is no matter here: it is compiled instead.  -v tells the reasons.
        log = logging.getLogger("evmaot.runtime")
        log.handlers = [logging.StreamHandler() if self._invocation.output.verbosity else logging.NullHandler()]
        resident = ResidentPrograms(profiles=CURRENT if self._tier is None else self._profiles(stores))
        for path in stores:
            try:
                store = DirectoryStore(path, require_signed=settings.require_signed)
                resident.add_store(store, preload=Preload.LAZY)
            except StoreError as error:
                from evmaot.cli import failures

                error.context.setdefault("effect", "this store is not asked; what no other has is compiled here")
                failures.say(error, self._invocation.output, "warning")
        return resident

    def _profiles(self, stores: list[Path]) -> list[str]:
        """Digests of this compiler's profiles of the tier: of several artifacts the store would choose by itself."""
        from evmaot.store.directory import ArtifactDirectory
        from evmaot.toolchain import stale_in

        found = []
        for path in stores:
            # What can't be opened is told where it is added.
            with contextlib.suppress(StoreError):
                profiles = [one.profile for one in ArtifactDirectory.open(path, read_only=True).profiles()]
                found += [one.digest for one in profiles if one.tier == self._tier and not stale_in(one)]
        return found

    def prepare(self, message: Message, fork: Fork) -> None:
        """Have the message's own code ready, so that its run is timed without compiling."""
        if message.code:
            self.program_for(message.code, message.code_hash, fork)

    def artifact(self, code_hash: str, fork: Fork) -> tuple[bytes, bytes]:
        """Bytes of the right length that stand for the code of a stored artifact, and its code hash.

        Raises UsageError `not_in_store`, `code_needed`.
        """
        from evmaot.cli.stores import open_store
        from evmaot.evm.instruction_set import opcodes_of_bitmap
        from evmaot.evm.opcodes import BY_MNEMONIC

        index = open_store(self._invocation).index()
        entries = [entry for entry in index.serving(code_hash, fork) if not entry.member.holes]
        if not entries:
            others = index.by_code_hash(code_hash)
            what = f"no artifact of 0x{code_hash} that serves {fork.name}"
            hint = "see: evmaot show 0x" + code_hash[:16] if others else "32 bytes of code are read from a file or -"
            raise UsageError("not_in_store", f"the store has {what}", hint=hint)
        member = entries[0].member
        opcodes = opcodes_of_bitmap(member.opcodes)
        if any(BY_MNEMONIC[name].value in opcodes for name in _LOOKS_AT_CODE):
            raise UsageError(
                "code_needed",
                f"0x{code_hash} reads its own code, which the store does not keep",
                hint="give the code, as hex or as a file: the artifact is used all the same",
            )
        self._by_hash_alone = bytes.fromhex(code_hash)
        return bytes(member.length), self._by_hash_alone

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        """The program of a code under a fork's rules."""
        known = self._known.get((code, fork.name))
        if known is None:
            known = self._known[code, fork.name] = self._found(code, code_hash, fork)
        return known

    def _found(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        if self._resident is not None:
            hashed = code_hash or keccak256(code)
            by_hash_alone = hashed == self._by_hash_alone
            program = self._resident.lookup(hashed, fork.name, None if by_hash_alone else code)
            if program is not None and (by_hash_alone or self._tier in (None, program.tier)):
                self._stored.add(hashed)
                return program
            if by_hash_alone:
                raise UsageError(
                    "not_loadable",
                    f"the artifact of 0x{hashed.hex()} cannot be loaded here",
                    hint="see: evmaot verify, and evmaot show 0x" + hashed.hex()[:16],
                )
        if self._start_first and not self._is_started:
            # What loading LLVM takes is no part of compiling a contract.
            self._is_started = True
            JitPrograms(self._compiler.options).program_for(_SMALLEST_CODE, None, fork)
        return self._compiler.program_for(code, code_hash, fork)
