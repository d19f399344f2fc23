"""What an export holds, `evmaot.export/1`: the files of packs by name, size and SHA-256.

Job: write and read the list.  Its names are those of a store (`evmaot.store.paths`), so that a directory with them is
a static mirror of one.  Invariants: a name is one of a few known forms, so that none leads anywhere else; each pack has
its profile, its manifest and its library, in this order, and no file is there twice; sizes are bounded.
May import: `evmaot.errors`, `evmaot.json_text`, `evmaot.store`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evmaot.errors import CorruptionError, UsageError
from evmaot.json_text import parse_json
from evmaot.store.codes import MAX_CODES_BYTES
from evmaot.store.keys import MAX_PROFILE_BYTES, canonical_json
from evmaot.store.manifest import MAX_MANIFEST_BYTES
from evmaot.store.paths import DIGEST

EXPORT_SCHEMA: Final = "evmaot.export/1"
_FAMILY: Final = re.compile(r"evmaot\.export/[0-9]{1,6}")
CONTENTS_NAME: Final = "index.json"
MAX_FILES: Final = 100_000
"""Of packs with 256 contracts 8 million; a process can't load so many libraries as this allows."""
MAX_CONTENTS_BYTES: Final = 24 << 20
"""What so many rows take, and a fifth more: the list is in memory while it is read."""
MAX_LIBRARY_BYTES: Final = 1 << 30
"""A library is one file in memory while it is judged."""

_FORMS: Final[dict[str, tuple[re.Pattern[str], int]]] = {
    "profile": (re.compile(r"v1/profiles/([0-9a-f]{16})/profile\.json"), MAX_PROFILE_BYTES),
    "manifest": (re.compile(r"v1/profiles/([0-9a-f]{16})/packs/([0-9a-f]{64})\.json"), MAX_MANIFEST_BYTES),
    "library": (re.compile(r"v1/objects/([0-9a-f]{2})/([0-9a-f]{64})\.so"), MAX_LIBRARY_BYTES),
    "codes": (re.compile(r"v1/codes/([0-9a-f]{2})/([0-9a-f]{64})\.codes"), MAX_CODES_BYTES),
}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export."""

    name: str
    """Path relative to a store's root."""
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class ExportedPack:
    """The files of one pack."""

    object_sha256: str
    profile: ExportedFile
    manifest: ExportedFile
    library: ExportedFile
    codes: ExportedFile | None

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """What is the pack's own, in the order of the export; its profile is shared."""
        found = (self.manifest, self.library)
        return found if self.codes is None else (*found, self.codes)


@dataclass(frozen=True, slots=True)
class Contents:
    """The list of an export: profiles, then the files of one pack after the other."""

    profiles: tuple[ExportedFile, ...]
    packs: tuple[ExportedPack, ...]

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """All files, in order."""
        return (*self.profiles, *(file for pack in self.packs for file in pack.files))

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size for file in self.files)


def damaged(cause: str, subject: str = CONTENTS_NAME) -> CorruptionError:
    """The failure of an export that is not what an export is."""
    return CorruptionError(
        "export_damaged",
        "not a usable export of evmaot",
        context={"subject": subject},
        cause=cause,
        hint="make it again with evmaot export, or fetch it again",
    )


def contents_document(contents: Contents) -> bytes:
    """The bytes of `index.json`; the same contents give the same bytes.  Raises UsageError ``export_too_large``."""
    if len(contents.files) > MAX_FILES:
        raise UsageError(
            "export_too_large",
            f"an export has at most {MAX_FILES:,} files, this one would have {len(contents.files):,}",
            hint="merge small packs (evmaot gc --repack), or export profiles or patterns one after the other",
        )
    rows = [{"name": file.name, "sha256": file.sha256, "size": file.size} for file in contents.files]
    return canonical_json({"schema": EXPORT_SCHEMA, "files": rows}) + b"\n"


def parse_contents(data: bytes) -> Contents:
    """Read `index.json`.  Raises CorruptionError ``export_damaged`` or ``format_newer``."""
    try:
        document = parse_json(data, depth_limit=8, allow_constants=False)
    except ValueError as error:
        raise damaged(f"its list is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != EXPORT_SCHEMA:
        if isinstance(schema, str) and _FAMILY.fullmatch(schema):
            raise CorruptionError(
                "format_newer",
                f"the export is {schema}, this version reads {EXPORT_SCHEMA}",
                hint="upgrade evmaot",
            )
        raise damaged("its list has no schema of an export")
    rows = document.get("files")
    if not isinstance(rows, list) or not rows:
        raise damaged("its list names no files")
    if len(rows) > MAX_FILES:
        raise damaged(f"its list names {len(rows):,} files, at most {MAX_FILES:,}")
    return _grouped([_file(row) for row in rows])


def _file(row: Any) -> ExportedFile:
    name, sha256, size = (row.get(key) for key in ("name", "sha256", "size")) if isinstance(row, dict) else (None,) * 3
    if not isinstance(name, str) or not isinstance(sha256, str) or type(size) is not int:
        raise damaged("a file in its list has no name, SHA-256 and size")
    kind, _, digest = form_of(name)
    if DIGEST.fullmatch(sha256) is None or not 0 <= size <= _FORMS[kind][1]:
        raise damaged(f"{name} has an impossible size or SHA-256")
    if kind == "library" and digest != sha256:
        raise damaged(f"{name} is not named by its SHA-256")
    return ExportedFile(name, sha256, size)


def form_of(name: str) -> tuple[str, str, str]:
    """Kind of a file, profile id or first digits, and digest, by its name.  Raises CorruptionError."""
    for kind, (pattern, _) in _FORMS.items():
        match = pattern.fullmatch(name)
        if match is not None:
            first, digest = match[1], match[2] if match.lastindex == 2 else ""
            if kind in ("library", "codes") and not digest.startswith(first):
                break
            return kind, first, digest
    raise damaged(f"{name[:200]!r} is no name of an export's file")


def _grouped(files: Sequence[ExportedFile]) -> Contents:
    profiles: dict[str, ExportedFile] = {}
    packs: list[ExportedPack] = []
    seen: set[str] = set()
    rest = list(reversed(files))
    while rest and form_of(rest[-1].name)[0] == "profile":
        file = rest.pop()
        profiles[form_of(file.name)[1]] = file
    while rest:
        manifest = rest.pop()
        kind, profile_id, digest = form_of(manifest.name)
        if kind != "manifest" or profile_id not in profiles or not rest:
            raise damaged(f"{manifest.name} is not where a pack's manifest should be")
        library = rest.pop()
        codes = rest.pop() if rest and form_of(rest[-1].name)[0] == "codes" else None
        others = [library] if codes is None else [library, codes]
        if form_of(library.name)[0] != "library" or any(form_of(file.name)[2] != digest for file in others):
            raise damaged(f"the manifest {manifest.name} is not followed by its library")
        packs.append(ExportedPack(digest, profiles[profile_id], manifest, library, codes))
    contents = Contents(tuple(profiles.values()), tuple(packs))
    for file in files:
        if file.name in seen:
            raise damaged(f"{file.name} is in its list twice")
        seen.add(file.name)
    if not packs:
        raise damaged("it holds no pack")
    return contents


def sorted_contents(profiles: Iterable[ExportedFile], packs: Iterable[ExportedPack]) -> Contents:
    """Contents in the order that depends on names only."""
    return Contents(
        tuple(sorted(profiles, key=lambda file: file.name)), tuple(sorted(packs, key=lambda pack: pack.manifest.name))
    )
