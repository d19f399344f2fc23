"""What machine code is made for, and what this host can run; known without LLVM.

Job: the target part of an artifact's profile.  Invariant: a target is a value; nothing here asks
the host except `host_features` and `host_target`.  May import: `evmaot.errors`.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evmaot.errors import UsageError


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: LLVM triple, CPU level, and the CPU features its code may use beyond the triple's base."""

    triple: str
    cpu: str
    features: tuple[str, ...] = ()
    """Names as in /proc/cpuinfo, sorted."""

    @property
    def architecture(self) -> str:
        """First part of the triple: ``x86_64`` or ``aarch64``."""
        return self.triple.split("-", 1)[0]


_X86_64_V2 = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")
_X86_64_V3 = tuple(sorted((*_X86_64_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")))

TARGETS: dict[str, Target] = {
    "x86_64-linux": Target("x86_64-unknown-linux-gnu", "x86-64"),
    "x86_64-v2-linux": Target("x86_64-unknown-linux-gnu", "x86-64-v2", _X86_64_V2),
    "x86_64-v3-linux": Target("x86_64-unknown-linux-gnu", "x86-64-v3", _X86_64_V3),
    "aarch64-linux": Target("aarch64-unknown-linux-gnu", "generic"),
}
"""Named targets.  The default is generic: native features gained nothing in EVM code, measured."""


def target_named(name: str) -> Target:
    """The target of that name; ``host`` is the generic target of this machine.  Raises UsageError."""
    if name == "host":
        return host_target()
    if name not in TARGETS:
        raise UsageError(
            "unknown_target",
            f"unknown target {name!r}",
            context={"target": name, "known": sorted(TARGETS)},
            hint="one of: host, " + ", ".join(sorted(TARGETS)),
        )
    return TARGETS[name]


def host_target() -> Target:
    """The generic target of this machine.  Raises UsageError where there is none."""
    machine = platform.machine().lower()
    name = {"x86_64": "x86_64-linux", "amd64": "x86_64-linux", "aarch64": "aarch64-linux", "arm64": "aarch64-linux"}
    if platform.system() != "Linux" or machine not in name:
        raise UsageError(
            "unsupported_host",
            f"no native target for {platform.system()} on {machine}",
            hint="evmaot runs artifacts on Linux, on x86-64 and aarch64",
        )
    return TARGETS[name[machine]]


@cache
def host_features() -> frozenset[str]:
    """CPU features of this machine as the kernel names them; empty where it does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def refusal(triple: str, features: tuple[str, ...] | list[str]) -> str | None:
    """Why this host cannot run code for that triple and feature list, or None when it can.

    The reasons are ``architecture:<name>`` and ``isa_missing:<feature>``.
    """
    if triple.split("-", 1)[0] != host_target().architecture:
        return f"architecture:{triple.split('-', 1)[0]}"
    missing = sorted(set(features) - host_features())
    return f"isa_missing:{missing[0]}" if missing else None
