"""Keys: what makes two artifacts the same.

Job: the profile (everything but code and fork) and the unit key (profile, rules, code, holes), both SHA-256 of
canonical JSON.  Invariants: what is not in a key may not influence compiled bytes; all digests are lowercase hex.
May import: `evmaot.errors`, `evmaot.json_text`, `evmaot.target`, `evmaot.store.paths`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evmaot.errors import CorruptionError
from evmaot.json_text import parse_json
from evmaot.store.paths import PROFILE_ID_DIGITS
from evmaot.target import Target

PROFILE_SCHEMA: Final = "evmaot.profile/1"
MAX_PROFILE_BYTES: Final = 64 * 1024

Holes = tuple[tuple[int, int], ...]
"""(offset, length) in bytes of what a template leaves open; ascending, disjoint."""


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(value: object) -> str:
    """SHA-256, hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything besides code and fork rules that compiled bytes depend on."""

    compiler: str
    """Digest of the compiler's sources, its builtins included."""
    llvm: str
    llvmlite: str
    abi: str
    """Fingerprint of the native ABI."""
    triple: str
    cpu: str
    features: tuple[str, ...]
    """CPU features beyond the triple's base, sorted: what the host that loads must have."""
    tier: str
    linker: str = "own"
    """What linked the objects: it decides bytes of the library, though not what they do."""
    single_error: bool = False
    """Whether every exceptional halt has one status."""

    def preimage(self) -> dict[str, Any]:
        """What the digest is taken of; the content of `profile.json`."""
        options: dict[str, Any] = {"linker": self.linker, "tier": self.tier}
        if self.single_error:
            # Named only where it is chosen: what was made before there was this choice keeps its key.
            options["single_error"] = True
        return {
            "schema": PROFILE_SCHEMA,
            "abi": self.abi,
            "compiler": self.compiler,
            "llvm": self.llvm,
            "llvmlite": self.llvmlite,
            "options": options,
            "target": {"cpu": self.cpu, "features": list(self.features), "triple": self.triple},
        }

    @property
    def digest(self) -> str:
        """SHA-256, hex: the profile id in the library's table."""
        return digest_of(self.preimage())

    @property
    def short(self) -> str:
        """First digits of the digest: the profile id as a directory name."""
        return self.digest[:PROFILE_ID_DIGITS]

    @property
    def target(self) -> Target:
        """The target as the compiler takes it."""
        return Target(self.triple, self.cpu, self.features)


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile as found in a store; of a newer version it may have been made of more than `Profile` shows."""

    digest: str
    profile: Profile

    @property
    def short(self) -> str:
        """The profile id as a directory name."""
        return self.digest[:PROFILE_ID_DIGITS]


def profile_document(profile: Profile) -> bytes:
    """The bytes of `profile.json`."""
    return canonical_json(profile.preimage()) + b"\n"


def parse_profile(data: bytes) -> StoredProfile:
    """Read `profile.json`.  Raises CorruptionError ``profile_damaged`` with the first thing that is wrong."""
    try:
        document = parse_json(data, allow_constants=False)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        if document.get("schema") != PROFILE_SCHEMA:
            raise ValueError(f"schema is {document.get('schema')!r}, not {PROFILE_SCHEMA}")
        profile = Profile(
            compiler=_text(document, "compiler"),
            llvm=_text(document, "llvm"),
            llvmlite=_text(document, "llvmlite"),
            abi=_text(document, "abi"),
            triple=_text(_object(document, "target"), "triple"),
            cpu=_text(_object(document, "target"), "cpu"),
            features=_texts(_object(document, "target"), "features"),
            tier=_text(_object(document, "options"), "tier"),
            linker=_text(_object(document, "options"), "linker"),
            single_error=_object(document, "options").get("single_error") is True,
        )
        return StoredProfile(digest_of(document), profile)
    except ValueError as error:
        raise CorruptionError("profile_damaged", f"the profile document can't be used: {error}") from error


def unit_key(profile_digest: str, rules_digest: str, code_sha256: str, length: int, holes: Holes = ()) -> str:
    """The key of one compiled unit: SHA-256, hex.  Digests in hex, `length` of the code in bytes."""
    return digest_of(
        {
            "schema": "evmaot.unit/1",
            "code_sha256": code_sha256,
            "holes": [list(hole) for hole in holes],
            "length": length,
            "profile": profile_digest,
            "rules": rules_digest,
        }
    )


def entry_symbol(unit_key: str) -> str:
    """The name of a unit's entry in the objects that are linked; 128 bits of the key name nothing twice."""
    return f"u_{unit_key[:32]}"


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} is not a list of texts")
    items: Sequence[str] = value
    return tuple(items)
