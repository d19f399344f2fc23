"""What packs hold, in numbers: a memory of manifests that were read before.

Job: for each pack its size, its members, and how many serve which forks, without reading 50 MB of manifests each time.
Invariants: manifests are the only truth: a summary counts only for a manifest of the same inode, times and size, under
the same fork table, and is made anew from the manifest otherwise; the file can be removed at any time; what can't be
used is never remembered.  It serves words; nothing is loaded or removed by it.  May import: `evmaot.errors`,
`evmaot.json_text`, the store's lower modules.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evmaot.errors import EvmaotError
from evmaot.json_text import parse_json
from evmaot.store.files import StoreFiles
from evmaot.store.findings import Finding
from evmaot.store.index import IndexReader
from evmaot.store.keys import StoredProfile, canonical_json
from evmaot.store.manifest import PackManifest
from evmaot.store.serving import ServedForks, fork_table_digest

SUMMARIES_SCHEMA: Final = "evmaot.summaries/1"
MAX_SUMMARIES_BYTES: Final = 64 << 20

Signature = tuple[int, int, int, int]
"""Inode, modification and change time in nanoseconds, size: what changes when a file does."""


@dataclass(frozen=True, slots=True)
class PackSummary:
    """A pack in numbers."""

    size_bytes: int
    """Of the library."""
    members: int
    created: str
    served: Mapping[tuple[str, ...], int]
    """Members by the forks that they serve."""
    built_for: tuple[str, ...]
    """Forks that any member was built for."""


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """All packs that can be used, by profile, and what can't be used."""

    profiles: Mapping[str, StoredProfile]
    """By the profile's id."""
    packs: Mapping[str, Mapping[str, PackSummary]]
    """By the profile's id and the SHA-256 (hex) of the library."""
    refusals: tuple[Finding, ...]


def summarise(manifest: PackManifest, served: ServedForks) -> PackSummary:
    """A manifest in numbers."""
    kinds = Counter((member.opcodes, member.rules, member.forks) for member in manifest.members)
    numbers: Counter[tuple[str, ...]] = Counter()
    built: set[str] = set()
    for (opcodes, rules, forks), number in kinds.items():
        numbers[served.of(opcodes, rules, forks)] += number
        built.update(forks)
    return PackSummary(
        manifest.object.size, len(manifest.members), manifest.created, dict(numbers), tuple(sorted(built))
    )


def read_summaries(files: StoreFiles, *, may_write: bool, require_signed: bool = False) -> StoreSummary:
    """What the store holds now.  Raises TrustError and StoreError for the directories.

    With `may_write`, what was read is remembered, where the store is this user's.  With `require_signed` nothing is,
    for what was remembered does not say who signed.
    """
    served = ServedForks()
    profiles: dict[str, StoredProfile] = {}
    packs: dict[str, dict[str, PackSummary]] = {}
    refusals: list[Finding] = []
    reader = IndexReader(files, require_signed=require_signed)
    for profile, manifests in reader.places(None, refusals):
        known = {} if require_signed else _remembered(files, profile.short)
        found: dict[str, tuple[Signature, PackSummary]] = {}
        for path in manifests:
            sha256 = path.stem
            signature = _signature(files, path)
            if signature is not None and sha256 in known and known[sha256][0] == signature:
                found[sha256] = known[sha256]
                continue
            manifest = reader.manifest(path, profile, refusals, {})
            # Looked at before it was read: what changes in between is read again the next time.
            if manifest is not None and signature is not None:
                found[sha256] = (signature, summarise(manifest, served))
        profiles[profile.short] = profile
        packs[profile.short] = {sha256: summary for sha256, (_, summary) in found.items()}
        if may_write and not require_signed and found != known:
            _remember(files, profile.short, found)
    return StoreSummary(profiles, packs, tuple(refusals))


def _signature(files: StoreFiles, path: Path) -> Signature | None:
    try:
        status = files.system.lstat(str(path))
        files.require_trusted(status, path)
    except (OSError, EvmaotError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _remembered(files: StoreFiles, profile_id: str) -> dict[str, tuple[Signature, PackSummary]]:
    """What was remembered under this fork table; nothing where anything about it is wrong."""
    try:
        document = parse_json(files.read(files.paths.summary(profile_id), MAX_SUMMARIES_BYTES), allow_constants=False)
        if document["schema"] != SUMMARIES_SCHEMA or document["fork_table"] != fork_table_digest():
            return {}
        groups = [tuple(map(str, group)) for group in document["groups"]]
        return {sha256: _known(row, groups) for sha256, row in document["packs"].items()}
    except (OSError, EvmaotError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return {}


def _known(row: dict[str, Any], groups: list[tuple[str, ...]]) -> tuple[Signature, PackSummary]:
    inode, modified, changed, size_bytes = map(int, row["signature"])
    served = {groups[at]: int(number) for at, number in row["served"]}
    summary = PackSummary(int(row["size"]), int(row["members"]), str(row["created"]), served, groups[row["built_for"]])
    return (inode, modified, changed, size_bytes), summary


def _remember(files: StoreFiles, profile_id: str, found: Mapping[str, tuple[Signature, PackSummary]]) -> None:
    """Write the summaries of a profile, or leave it: they are a convenience."""
    groups = _numbered({group for _, one in found.values() for group in (*one.served, one.built_for)})
    document = {
        "schema": SUMMARIES_SCHEMA,
        "fork_table": fork_table_digest(),
        "groups": list(groups),
        "packs": {
            sha256: {
                "signature": signature,
                "size": one.size_bytes,
                "members": one.members,
                "created": one.created,
                "served": [[groups[group], number] for group, number in one.served.items()],
                "built_for": groups[one.built_for],
            }
            for sha256, (signature, one) in found.items()
        },
    }
    path = files.paths.summary(profile_id)
    with contextlib.suppress(OSError, EvmaotError):
        owner = files.system.lstat(str(files.paths.root)).st_uid
        if owner != files.system.user_id():
            return
        if not files.trusted_directory(path.parent):
            files.system.mkdir(str(path.parent))
        files.replace_document(path, canonical_json(document) + b"\n")


def _numbered(groups: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    return {group: number for number, group in enumerate(sorted(groups))}
