"""Exports for tests: what a store holds, and an export that was changed with lists and hashes that are right."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

from evmaot.sharing.archive import ArchiveReader, write_archive
from evmaot.sharing.contents import Contents, ExportedFile, ExportedPack
from evmaot.store.keys import Profile, parse_profile, profile_document
from evmaot.store.manifest import PackManifest, parse, to_json


def packs_of(store: Path) -> dict[str, bytes]:
    """Libraries of a store by name."""
    return {path.name: path.read_bytes() for path in (store / "v1" / "objects").rglob("*.so")}


Parts = tuple[Profile, PackManifest, bytes, bytes]
Change = Callable[[Profile, PackManifest, bytes, bytes], Parts]


def changed(signed: Path, change: Change) -> bytes:
    """An export whose only pack was changed, with lists and hashes that are right."""
    reader = ArchiveReader(io.BytesIO(signed.read_bytes()), limit_bytes=1 << 30)
    bodies = [data for _, data in reader.files()]
    profile, manifest, library, codes = change(parse_profile(bodies[0]).profile, parse(bodies[1]), bodies[2], bodies[3])
    sha256 = hashlib.sha256(library).hexdigest()
    made: dict[str, bytes] = {}

    def file(name: str, data: bytes) -> ExportedFile:
        made[name] = data
        return ExportedFile(name, hashlib.sha256(data).hexdigest(), len(data))

    head = file(f"v1/profiles/{profile.short}/profile.json", profile_document(profile))
    pack = ExportedPack(
        sha256,
        head,
        file(f"v1/profiles/{profile.short}/packs/{sha256}.json", to_json(manifest)),
        file(f"v1/objects/{sha256[:2]}/{sha256}.so", library),
        file(f"v1/codes/{sha256[:2]}/{sha256}.codes", codes),
    )
    stream = io.BytesIO()
    write_archive(stream, Contents((head,), (pack,)), lambda item: made[item.name], zstd=False)
    return stream.getvalue()
