"""Another version of the compiler, for tests of what an upgrade does to a store."""

from __future__ import annotations

import pytest

from evmaot import toolchain
from evmaot.runtime import loading


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process has another LLVM and other sources than those that built before."""
    now = {**toolchain._current_versions(), "llvm": "99.0.0", "llvmlite": "0.99.0", "compiler": "0" * 64}
    monkeypatch.setattr(toolchain, "_current_versions", lambda: now)
    for module in (toolchain, loading):
        monkeypatch.setattr(module, "compiler_digest", lambda: "0" * 64)
        monkeypatch.setattr(module, "installed_llvmlite", lambda: "0.99.0")
