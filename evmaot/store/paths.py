"""The names of everything in a store; no other module knows a path.

Job: this tree, in code.  Invariants: a name is made from checked parts only (a digest, a profile id), so that no
document can lead outside the store; nothing here touches the disk.  May import: `evmaot.errors`.

    <root>                                    mode 0700
      CACHEDIR.TAG                            backup programs leave the directory out
      STORE                                   schema, id, created, writer_min, reader_min
      locks/store.lock                        flock: shared = build, import, load; exclusive = gc, clear
      locks/build.lock                        single flight: a byte-range lock at an offset from the unit key
      v1/profiles/<pid>/profile.json          the whole preimage of the profile digest
      v1/profiles/<pid>/packs/<object sha>.json   the manifest, THE COMMIT POINT
      v1/objects/ab/<object sha>.so           0444, immutable, named by content
      v1/codes/ab/<object sha>.codes          the bytecode in a library, to compile it again
      v1/negative/<pid>/<unit key>.json       inputs that failed to compile, with the reason
      v1/tmp/<process>-<random>               what is being written
      v1/summaries/<pid>.json                 what ls knows of manifests that it read before; may be removed
      v1/quarantine/<time>-<object sha>/      what was found damaged, moved aside
      v1/pins/<name>.json                     what the collector keeps
      v1/gc.json                              when the collector ran last
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from evmaot.errors import CompilerBug

PROFILE_ID_DIGITS: Final = 16
PROFILE_ID: Final = re.compile(r"[0-9a-f]{16}")
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
MANIFEST_NAME: Final = re.compile(r"[0-9a-f]{64}\.json")
OBJECT_NAME: Final = re.compile(r"[0-9a-f]{64}\.so")
CODES_NAME: Final = re.compile(r"[0-9a-f]{64}\.codes")
SHARD_NAME: Final = re.compile(r"[0-9a-f]{2}")
PIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
QUARANTINE_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{64}")

ROOT_NAMES: Final = frozenset({"CACHEDIR.TAG", "STORE", "locks", "v1"})
"""What a store's root holds; a directory with other names in it is not made into a store."""

CACHEDIR_TAG: Final = b"Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache of evmaot: compiled EVM code.\n"
"""https://bford.info/cachedir/"""


def _checked(pattern: re.Pattern[str], name: str) -> str:
    if pattern.fullmatch(name) is None:
        raise CompilerBug(f"not a name of the store: {name!r}")
    return name


class StorePaths:
    """Paths of one store."""

    __slots__ = (
        "build_lock", "codes", "collected", "locks", "negative", "objects", "pins", "profiles", "quarantine", "root",
        "store_document", "store_lock", "summaries", "tag", "tmp", "v1",
    )  # fmt: skip

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tag = root / "CACHEDIR.TAG"
        self.store_document = root / "STORE"
        self.locks = root / "locks"
        self.store_lock = self.locks / "store.lock"
        self.build_lock = self.locks / "build.lock"
        self.v1 = root / "v1"
        self.profiles = self.v1 / "profiles"
        self.objects = self.v1 / "objects"
        self.codes = self.v1 / "codes"
        self.negative = self.v1 / "negative"
        self.tmp = self.v1 / "tmp"
        self.quarantine = self.v1 / "quarantine"
        self.pins = self.v1 / "pins"
        self.collected = self.v1 / "gc.json"
        self.summaries = self.v1 / "summaries"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that a store always has, parents first."""
        parts = (self.profiles, self.objects, self.codes, self.negative, self.tmp, self.quarantine, self.pins)
        return (self.root, self.locks, self.v1, *parts)

    def profile(self, profile_id: str) -> Path:
        """Directory of a profile."""
        return self.profiles / _checked(PROFILE_ID, profile_id)

    def profile_document(self, profile_id: str) -> Path:
        """The preimage of a profile's digest."""
        return self.profile(profile_id) / "profile.json"

    def packs(self, profile_id: str) -> Path:
        """Directory of a profile's manifests."""
        return self.profile(profile_id) / "packs"

    def manifest(self, profile_id: str, object_sha256: str) -> Path:
        """Manifest of the pack whose library has that SHA-256 (hex)."""
        return self.packs(profile_id) / f"{_checked(DIGEST, object_sha256)}.json"

    def object(self, object_sha256: str) -> Path:
        """The library with that SHA-256 (hex)."""
        return self.objects / _checked(DIGEST, object_sha256)[:2] / f"{object_sha256}.so"

    def pack_codes(self, object_sha256: str) -> Path:
        """The bytecode of the pack whose library has that SHA-256 (hex)."""
        return self.codes / _checked(DIGEST, object_sha256)[:2] / f"{object_sha256}.codes"

    def pin(self, name: str) -> Path:
        """The document of a pin."""
        return self.pins / f"{_checked(PIN_NAME, name)}.json"

    def negative_document(self, profile_id: str, unit_key: str) -> Path:
        """Why a unit could not be compiled."""
        return self.negative / _checked(PROFILE_ID, profile_id) / f"{_checked(DIGEST, unit_key)}.json"

    def summary(self, profile_id: str) -> Path:
        """What is remembered of a profile's manifests."""
        return self.summaries / f"{_checked(PROFILE_ID, profile_id)}.json"

    def quarantined(self, stamp: str, object_sha256: str) -> Path:
        """Directory for a damaged pack; `stamp` is a time without separators."""
        return self.quarantine / f"{stamp}-{_checked(DIGEST, object_sha256)}"
