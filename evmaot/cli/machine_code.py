"""The machine code and the LLVM IR of one artifact, for `evmaot show`.

Job: disassemble a member of a library with the system's objdump, and compile its kept bytecode again up to the IR.
Invariants: the library's bytes are compared with the manifest before a tool reads them; what is shown as IR is what
this compiler makes, and that is said where another one made the artifact.  May import: `evmaot.codegen`,
`evmaot.store`, `evmaot.evm`, errors.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from evmaot.errors import CorruptionError, UsageError
from evmaot.store.codes import read_codes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.index import Entry

_SYMBOL: Final = re.compile(r"^([0-9a-f]{8,16}) .{7} \.text\t([0-9a-f]{8,16}) (?:\S+ )?(\S+)$")
"""A function in the output of ``objdump -t``: address, flags, section, size, name."""
_INNER: Final = re.compile(r"region[0-9]+")
"""Functions of a contract that stand before its entry."""
_TIMEOUT_SECONDS: Final = 60


def disassembly(store: ArtifactDirectory, entry: Entry) -> str:
    """The instructions of a member.  Raises UsageError ``objdump_missing``, CorruptionError, StoreError."""
    tool = shutil.which("objdump")
    if tool is None:
        hint = "install binutils, or see: evmaot dump --stage assembly"
        raise UsageError("objdump_missing", "objdump is not installed, which --disasm uses", hint=hint)
    path = entry.pack.object_path
    sha256, _ = store.files.sha256(path)
    if sha256 != entry.pack.manifest.object.sha256:
        raise CorruptionError(
            "hash_mismatch", f"not shown: the library {path.name} is damaged", context={"path": str(path)},
            cause=f"its SHA-256 is {sha256}", hint="evmaot verify",
        )  # fmt: skip
    first, end = _range(_output([tool, "-t", str(path)], path), entry.member.symbol, path)
    text = _output(
        [tool, "-d", "--no-show-raw-insn", f"--start-address={first:#x}", f"--stop-address={end:#x}", str(path)], path
    )
    _, _, body = text.partition("Disassembly of section .text:")
    return body.strip("\n") + "\n"


def _range(symbols: str, name: str, path: Path) -> tuple[int, int]:
    """Addresses of a contract's first function, and of the end of its entry, which is its last."""
    rows = sorted(
        (int(match[1], 16), int(match[2], 16), match[3])
        for match in map(_SYMBOL.match, symbols.splitlines())
        if match is not None
    )
    for position, (address, size_bytes, symbol) in enumerate(rows):
        if symbol == name:
            first = position
            while first and _INNER.fullmatch(rows[first - 1][2]):
                first -= 1
            return rows[first][0], address + size_bytes
    raise CorruptionError("symbol_missing", f"{path.name} has no function {name}", context={"path": str(path)})


def _output(command: list[str], path: Path) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS, check=False
    )
    if done.returncode:
        cause = done.stderr.strip() or f"exit code {done.returncode}"
        hint = "the objdump of binutils-multiarch knows other processors"
        raise UsageError("objdump_failed", f"objdump could not read {path.name}", cause=cause, hint=hint)
    return done.stdout


def intermediate_code(store: ArtifactDirectory, entry: Entry) -> str:
    """LLVM IR after the passes, of the bytecode that the pack keeps.  Raises UsageError ``code_not_kept``."""
    from evmaot.codegen.dump import dump
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.evm.forks import FORKS

    pack, member = entry
    codes = read_codes(store.files, pack.manifest.object.sha256) or ()
    code = next((item.code for item in codes if item.sha256 == member.code_sha256), None)
    fork = next((FORKS[name] for name in member.forks if name in FORKS), None)
    if code is None or fork is None:
        raise UsageError(
            "code_not_kept",
            f"the store does not keep the bytecode of 0x{member.code_hash[:12]}",
            hint="evmaot dump --stage optimised FILE, with the code itself",
        )
    options = CompileOptions(Tier(pack.profile.profile.tier), pack.profile.profile.target)
    return dump(code, fork, options, "optimised")
