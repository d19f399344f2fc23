"""Which compiler this is: a digest of its sources, and the LLVM that is installed with it.

Job: what profiles say of the compiler, found without importing any of it, so that a process that only loads code can
tell code of another compiler too.  Invariant: nothing is read before somebody asks.  May import: the standard library.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from typing import Final

_FOLDERS: Final = ("abi", "codegen", "evm")


@cache
def compiler_digest() -> str:
    """SHA-256, hex, of the sources that decide compiled bytes.  LLVM's version is a field of its own in profiles.

    The fork table is left out: what a compilation consults of it is in the rules digest, so that an
    artifact can serve a fork that is added later.
    """
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if path == root / "evm" / "forks.py":
                continue
            data = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode())
            digest.update(data)
    return digest.hexdigest()


@cache
def installed_llvmlite() -> str | None:
    """Version of the llvmlite that would compile here, None where there is none.  It is not imported."""
    if "llvmlite" in sys.modules:
        return getattr(sys.modules["llvmlite"], "__version__", None)
    # Not at the top: the module costs as much as the rest of the runtime.
    from importlib import metadata

    try:
        return metadata.version("llvmlite")
    except metadata.PackageNotFoundError:
        return None
