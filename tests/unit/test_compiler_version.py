"""The compiler's digest covers what decides bytes, and nothing else; LLVM is found without importing it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import llvmlite
import pytest

from evmaot.compiler_version import compiler_digest, installed_llvmlite


def test_the_digest_covers_the_sources_that_decide_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = compiler_digest()
    assert len(bytes.fromhex(digest)) == hashlib.sha256().digest_size
    fresh = compiler_digest.__wrapped__
    assert fresh() == digest
    read = Path.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "stack.py"))
        assert fresh() != digest
    with monkeypatch.context() as patch:
        # What a compilation consults of the fork table is in the rules digest.
        patch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.name == "forks.py"))
        assert fresh() == digest


def test_the_installed_llvmlite_is_known_before_it_is_imported() -> None:
    script = (
        "import sys\n"
        "from evmaot.compiler_version import installed_llvmlite\n"
        "print(installed_llvmlite()); assert 'llvmlite' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == llvmlite.__version__ == installed_llvmlite()


def test_without_llvmlite_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    assert installed_llvmlite.__wrapped__() is None
