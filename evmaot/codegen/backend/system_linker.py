"""Objects to a shared library by a linker of the system, for those who prefer one (``--linker``).

Job: run ld, lld, cc or zig on the same objects that our own linker takes, with options that lead to a library of
the same kind: one export, no needed libraries, no code at load time.  Invariants: every run has a time limit and a
directory of its own; nothing of the environment's compiler flags is passed on.  May import: `evmaot.abi`,
`evmaot.target`, errors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evmaot.abi.library import TABLE_SYMBOL
from evmaot.errors import LinkError, UsageError
from evmaot.target import Target

SYSTEM_LINKERS: Final = ("ld", "lld", "cc", "zig")
DEFAULT_TIMEOUT_SECONDS: Final = 120.0
_MAX_MESSAGE_CHARACTERS: Final = 2000
_EMULATION: Final = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}
_ZIG_TARGET: Final = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
_VERSION_SCRIPT: Final = f"{{ global: {TABLE_SYMBOL}; local: *; }};\n"
_COMMON: Final = ("-Bsymbolic", "--build-id=none", "--no-eh-frame-hdr", "--hash-style=both", "--no-undefined")
_HARDENING: Final = ("-z", "noexecstack", "-z", "relro", "-z", "now")
_HINTS: Final = {
    "ld": "install binutils, or leave out --linker: evmaot links by itself",
    "lld": "install lld, or leave out --linker: evmaot links by itself",
    "cc": "install a C compiler, or leave out --linker: evmaot links by itself",
    "zig": "pip install ziglang, or leave out --linker: evmaot links by itself",
}
_UNSAFE_ENVIRONMENT: Final = ("LDFLAGS", "LD_RUN_PATH", "LD_LIBRARY_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH",
                              "LIBRARY_PATH", "SOURCE_DATE_EPOCH")  # fmt: skip


def find_linker(linker: str) -> list[str] | None:
    """The command of a system linker, None where the system has none.  `linker` is one of SYSTEM_LINKERS."""
    if linker == "zig":
        from importlib.util import find_spec

        if find_spec("ziglang") is not None:
            return [sys.executable, "-m", "ziglang", "cc"]
        found = shutil.which("zig")
        return None if found is None else [found, "cc"]
    found = shutil.which("ld.lld" if linker == "lld" else linker)
    return None if found is None else [found]


def _options(linker: str, soname: str, target: Target) -> list[str]:
    """Options for a command whose directory holds the objects and the version script."""
    options = [*_COMMON, *_HARDENING, "--version-script=exports", "-soname", soname]
    if linker in ("ld", "lld"):
        return ["-shared", "-m", _EMULATION[target.architecture], *options]
    driver = ["-target", _ZIG_TARGET[target.architecture]] if linker == "zig" else []
    return [*driver, "-shared", "-nostdlib", *[word for option in options for word in ("-Xlinker", option)]]


def link_with_system(
    linker: str,
    objects: Sequence[bytes],
    *,
    soname: str,
    target: Target,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> bytes:
    """Link with ``ld``, ``lld``, ``cc`` or ``zig``.

    Raises UsageError ``linker_not_found``; LinkError ``unsupported_target``, ``linker_failed`` (its cause holds what
    the linker said) or ``linker_timeout``.
    """
    command = find_linker(linker)
    if command is None:
        raise UsageError(
            "linker_not_found",
            f"the linker {linker!r} is not installed",
            context={"linker": linker},
            hint=_HINTS[linker],
        )
    if target.architecture not in _EMULATION:
        raise LinkError("unsupported_target", f"{linker} is not set up for {target.triple}", hint="use another target")
    with tempfile.TemporaryDirectory(prefix="evmaot-link-") as name:
        directory = Path(name)
        names = []
        for ordinal, data in enumerate(objects):
            names.append(f"{ordinal}.o")
            (directory / names[-1]).write_bytes(data)
        (directory / "exports").write_text(_VERSION_SCRIPT, encoding="ascii")
        # A file instead of arguments: 4096 objects would come near the limit of a command line.
        (directory / "arguments").write_text("\n".join(names), encoding="ascii")
        words = [*command, *_options(linker, soname, target), "-o", "library.so", "@arguments"]
        _run(linker, words, directory, timeout_seconds)
        return (directory / "library.so").read_bytes()


def _run(linker: str, words: list[str], directory: Path, timeout_seconds: float) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _UNSAFE_ENVIRONMENT}
    environment |= {"LC_ALL": "C", "TMPDIR": str(directory)}
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LinkError(
            "linker_timeout",
            f"{linker} did not finish within {timeout_seconds:g} seconds",
            context={"linker": linker, "timeout_seconds": timeout_seconds},
            hint="leave out --linker: evmaot links by itself",
        ) from error
    except OSError as error:
        raise LinkError(
            "linker_failed",
            f"{linker} could not be run",
            context={"linker": linker},
            cause=str(error),
            hint=_HINTS[linker],
        ) from error
    if done.returncode != 0 or not (directory / "library.so").is_file():
        raise LinkError(
            "linker_failed",
            f"{linker} ended with status {done.returncode}",
            context={"linker": linker, "status": done.returncode},
            cause=done.stdout.decode("utf-8", "replace")[:_MAX_MESSAGE_CHARACTERS].strip() or None,
            hint="leave out --linker: evmaot links by itself and names the symbol or section",
        )
