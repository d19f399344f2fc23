"""Where the executor's native code comes from: compiled in this process, or resident from a store.

Job: the `ProgramSource`s.  Invariants: a program is found by SHA-256 of the code and rules digest, so
forks that a code cannot tell apart share one; a cached image is believed only after its own digest;
memory of images is bounded.  May import: `evmaot.codegen`, `evmaot.store.keys`, `evmaot.runtime`,
`evmaot.evm`; the compiler is loaded at the first miss.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evmaot.abi.layout import FINGERPRINT
from evmaot.execution.hashing import keccak256
from evmaot.execution.protocol import ProgramSource
from evmaot.runtime.image import load_image
from evmaot.runtime.program import CompiledProgram, ProgramKind

if TYPE_CHECKING:
    from evmaot.codegen.options import CompileOptions
    from evmaot.evm.forks import Fork
    from evmaot.evm.instruction_set import CompileRules
    from evmaot.store.keys import Profile

RESIDENT_PROGRAMS = 8192
"""Programs kept at once.  Each is a mapping of three segments; Linux grants a process 65,530."""
_SYMBOL = "evmaot_entry"
_DIGEST_BYTES = 32


@dataclass(slots=True)
class ProgramStatistics:
    """What a source did so far."""

    compiled: int = 0
    from_cache: int = 0
    compile_seconds: float = 0.0


class JitPrograms:
    """Compiles what it does not have, in this process.

    `cache` is a directory of linked images that processes may share: files are published by atomic rename
    and checked by digest.  Raises what the compiler raises (CompileError, CompilerBug) for a code that
    cannot be compiled.  Not thread-safe: LLVM has one lock anyway.
    """

    def __init__(
        self, options: CompileOptions | None = None, cache: Path | None = None, resident: int = RESIDENT_PROGRAMS
    ) -> None:
        from evmaot.codegen.options import CompileOptions

        self.options = options or CompileOptions()
        self.statistics = ProgramStatistics()
        self._cache = cache
        self._resident = resident
        self._known: dict[tuple[bytes, str], tuple[bytes, CompiledProgram]] = {}
        self._by_key: dict[tuple[bytes, str], CompiledProgram] = {}
        self._profile_digest: str | None = None

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        """The program of a code; compiles it on a miss."""
        # By the hash where there is one: a state gives new objects, and to hash 24 KB takes longer than many messages.
        # The hash is not believed.
        known = self._known.get((code_hash or code, fork.name))
        return known[1] if known is not None and known[0] == code else self._load(code, code_hash, fork)

    def _load(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram:
        from evmaot.codegen.driver import reachable_opcodes
        from evmaot.evm.instruction_set import restrict

        rules = restrict(fork, reachable_opcodes(code))
        code_sha256 = hashlib.sha256(code).digest()
        key = (code_sha256, rules.digest)
        program = self._by_key.get(key)
        if program is None:
            if len(self._by_key) >= self._resident:
                # Programs in use are held by who uses them; the rest is unmapped and read again if needed.
                self._by_key.clear()
                self._known.clear()
            image = self._image(code, code_sha256, rules)
            program = _load_program(image, code, code_sha256, code_hash, rules, self.options.tier.value)
            self._by_key[key] = program
        self._known[code_hash or code, fork.name] = code, program
        return program

    def _image(self, code: bytes, code_sha256: bytes, rules: CompileRules) -> bytes:
        if self._cache is None:
            return self._compile(code, code_sha256, rules)
        from evmaot.store.keys import unit_key

        if self._profile_digest is None:
            self._profile_digest = _profile(self.options).digest
        key = unit_key(self._profile_digest, rules.digest, code_sha256.hex(), len(code))
        path = self._cache / key[:2] / f"{key}.image"
        image = _read_image(path)
        if image is None:
            image = self._compile(code, code_sha256, rules)
            _publish_image(path, image)
        else:
            self.statistics.from_cache += 1
        return image

    def _compile(self, code: bytes, code_sha256: bytes, rules: CompileRules) -> bytes:
        start = time.perf_counter()
        image = compile_image(code, code_sha256, rules, self.options)
        self.statistics.compiled += 1
        self.statistics.compile_seconds += time.perf_counter() - start
        return image


class StorePrograms:
    """Programs that are resident already: ahead-of-time code.

    `lookup` is `runtime.preload`'s: of code hash, fork and code.
    """

    def __init__(self, lookup: Callable[[bytes, str, bytes], CompiledProgram | None]) -> None:
        self._lookup = lookup
        self._known: dict[tuple[bytes, str], tuple[bytes, CompiledProgram | None]] = {}

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram | None:
        """The resident program of a code, None if the store has none."""
        key = (code_hash or code, fork.name)
        known = self._known.get(key)
        if known is not None and known[0] == code:
            return known[1]
        program = self._lookup(code_hash or keccak256(code), fork.name, code)
        # A code hash is not proof enough for code that runs: the artifact names the SHA-256 of what it compiled.
        if program is not None and program.code_sha256 != hashlib.sha256(code).digest():
            program = None
        if len(self._known) >= RESIDENT_PROGRAMS:
            self._known.clear()
        self._known[key] = code, program
        return program


class ChainedPrograms:
    """The first source that has a program wins."""

    def __init__(self, sources: Sequence[ProgramSource]) -> None:
        self._sources = tuple(sources)

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram | None:
        """The program of the first source that has one."""
        for source in self._sources:
            program = source.program_for(code, code_hash, fork)
            if program is not None:
                return program
        return None


def compile_image(code: bytes, code_sha256: bytes, rules: CompileRules, options: CompileOptions) -> bytes:
    """One code as a linked library.  Raises CompileError, LinkError, CompilerBug."""
    from evmaot.abi.library import LibraryTable, TableEntry
    from evmaot.codegen.backend.linker import link_shared_library
    from evmaot.codegen.backend.llvm import compile_text
    from evmaot.codegen.builtins.module import builtins_object
    from evmaot.codegen.driver import compile_unit
    from evmaot.codegen.emit.table import table_text
    from evmaot.codegen.options import Tier

    unit = compile_unit(code, rules, options, _SYMBOL)
    entry = TableEntry(code_sha256, bytes.fromhex(rules.digest), _SYMBOL)
    table = LibraryTable(bytes.fromhex(FINGERPRINT), bytes(_DIGEST_BYTES), (entry,))
    table_object = compile_text(table_text(table), Tier.FAST, options.target).data
    objects = [unit.object_data, builtins_object(options.target), table_object]
    return link_shared_library(objects, soname="evmaot-unit.so", target=options.target)


def _profile(options: CompileOptions) -> Profile:
    from evmaot.codegen.backend import llvm
    from evmaot.codegen.driver import compiler_digest
    from evmaot.store.keys import Profile

    target = options.target
    return Profile(
        compiler_digest(), llvm.LLVM_VERSION, llvm.LLVMLITE_VERSION, FINGERPRINT,
        target.triple, target.cpu, target.features, options.tier.value,
    )  # fmt: skip


def _load_program(
    image: bytes, code: bytes, code_sha256: bytes, code_hash: bytes | None, rules: CompileRules, tier: str
) -> CompiledProgram:
    loaded = load_image(image)
    rules_digest = bytes.fromhex(rules.digest)
    return CompiledProgram(
        loaded.entries[code_sha256, rules_digest],
        code_sha256,
        code_hash or keccak256(code),
        rules_digest,
        kind=ProgramKind.JIT,
        tier=tier,
        size_bytes=len(image),
        backing=loaded,
    )


def _read_image(path: Path) -> bytes | None:
    """A cached image; None if there is none, or its bytes are not what was published."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, image = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return image if digest == hashlib.sha256(image).digest() else None


def _publish_image(path: Path, image: bytes) -> None:
    """Put an image into the cache; a cache that cannot be written is not an error, only slow."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(image).digest() + image)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
