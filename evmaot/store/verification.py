"""Verification: is what lies in a store what was published.

Job: findings of the levels that need bytes and names only: ``meta`` (documents, names, sizes, owners, modes), ``hash``
(the bytes of every library), ``trust`` (who else could change the store) and ``elf`` (what a loader would follow,
and whether the library's own table has what the manifest lists); each does what those before it do.
What runs code, or judges members by their bytecode, is in `evmaot.verify`.
Invariants: it changes nothing, and never stops at the first finding; an unreferenced or left-over file is a note and
no damage.  May import: `evmaot.abi`, `evmaot.errors`, the store's lower modules.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from evmaot.abi.library import ParsedTable
from evmaot.errors import EvmaotError, UsageError
from evmaot.store.codes import MAX_CODES_BYTES, unpack_codes
from evmaot.store.elf_rules import MAX_SPAN_BYTES, read_layout, table_of
from evmaot.store.files import StoreFiles
from evmaot.store.findings import Finding, Severity
from evmaot.store.index import Pack, StoreIndex
from evmaot.store.negative import MAX_NEGATIVE_BYTES, parse_record, record_paths
from evmaot.store.paths import PROFILE_ID
from evmaot.store.pins import pin_findings
from evmaot.store.removal import leftovers, unreferenced
from evmaot.store.trust import trust_findings

LEVELS: Final = ("meta", "hash", "trust", "elf")


def verify(files: StoreFiles, index: StoreIndex, level: str, only: Collection[Path] | None = None) -> list[Finding]:
    """All findings, in an order that depends on names only.  Raises UsageError ``unknown_level``.

    `only`: the manifests of the packs whose libraries are looked at; None: all.
    """
    if level not in LEVELS:
        raise UsageError(
            "unknown_level",
            f"unknown verification level {level!r}",
            context={"level": level, "known": list(LEVELS)},
            hint="one of: " + ", ".join(LEVELS),
        )
    findings = [
        # A newer version's document is not damage: this version leaves it alone.
        Finding(f.code, f.subject, f.message, Severity.NOTE) if f.code == "format_newer" else f
        for f in index.refusals
    ]
    # Packs of several profiles may refer to one library; each is judged once.
    judged: dict[Path, ParsedTable | None] = {}
    for pack in index.packs:
        if only is not None and pack.manifest_path not in only:
            continue
        if pack.object_path not in judged:
            found, judged[pack.object_path] = _library(files, pack, LEVELS.index(level))
            findings += [] if found is None else [found]
        table = judged[pack.object_path]
        if table is not None:
            findings += _table(files, pack, table)
    looks = [_duplicates(files, index), _strays(files), _records(files), _pins(files, index)]
    if LEVELS.index(level) >= LEVELS.index("hash"):
        looks.append(_codes(files, judged))
    if LEVELS.index(level) >= LEVELS.index("trust"):
        looks.append(trust_findings(files))
    for look in looks:
        try:
            findings += look
        except EvmaotError as error:
            path = str(error.context.get("path", files.paths.root))
            findings.append(Finding(error.reference, files.subject(Path(path)), error.cause or error.message))
    return list(dict.fromkeys(findings))


def _library(files: StoreFiles, pack: Pack, depth: int) -> tuple[Finding | None, ParsedTable | None]:
    """What is wrong with a library; its own table, where that was asked for and nothing is."""
    try:
        found = _judged(files, pack, depth)
    except EvmaotError as error:
        return Finding(error.reference, files.subject(pack.object_path), error.cause or error.message), None
    return (found, None) if isinstance(found, Finding) else (None, found)


def _judged(files: StoreFiles, pack: Pack, depth: int) -> Finding | ParsedTable | None:
    path, record = pack.object_path, pack.manifest.object
    subject = files.subject(path)
    try:
        files.trusted_directory(path.parent)
        with files.opened(path) as (_, status):
            if status.st_size != record.size:
                return Finding(
                    "size_mismatch", subject, f"the library has {status.st_size} bytes, its manifest says {record.size}"
                )
            if stat.S_IMODE(status.st_mode) & 0o222:
                message = f"the library can be written to: mode {stat.S_IMODE(status.st_mode):04o}"
                return Finding("library_writable", subject, message)
        if depth >= LEVELS.index("hash"):
            sha256, _ = files.sha256(path)
            if sha256 != record.sha256:
                return Finding("hash_mismatch", subject, f"the library's SHA-256 is {sha256}")
        if depth >= LEVELS.index("elf"):
            data = files.read(path, MAX_SPAN_BYTES)
            layout = read_layout(data, architecture=pack.profile.profile.target.architecture)
            if isinstance(layout, str):
                return Finding(f"elf_rule:{layout}", subject, "the library breaks a rule for what may be loaded")
            return table_of(data, layout)
    except FileNotFoundError:
        return Finding("library_missing", subject, f"{files.subject(pack.manifest_path)} refers to it")
    except OSError as error:
        return Finding("unreadable", subject, error.strerror or str(error), Severity.UNCHECKED)
    return None


def _table(files: StoreFiles, pack: Pack, table: ParsedTable) -> Iterator[Finding]:
    """What a manifest says that the library itself does not; more entries than members are right."""
    message = None
    if table.profile_id.hex() != pack.manifest.profile:
        message = f"the library is of the profile {table.profile_id.hex()[:16]}"
    elif table.abi_fingerprint.hex() != pack.profile.profile.abi:
        message = "the library is of another native interface than its profile"
    for member in pack.manifest.members:
        if message is None and table.find(bytes.fromhex(member.code_sha256), bytes.fromhex(member.rules)) is None:
            message = f"the library has no code with SHA-256 {member.code_sha256[:16]} and rules {member.rules[:16]}"
    if message is not None:
        yield Finding("table_mismatch", files.subject(pack.manifest_path), message)


def _duplicates(files: StoreFiles, index: StoreIndex) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], Pack] = {}
    for entry in index:
        key = (entry.pack.manifest.profile, entry.member.code_sha256, entry.member.rules)
        first = seen.setdefault(key, entry.pack)
        if first is not entry.pack:
            message = f"0x{entry.member.code_hash} is in {files.subject(first.manifest_path)} as well"
            yield Finding("duplicate_member", files.subject(entry.pack.manifest_path), message, Severity.NOTE)


def _codes(files: StoreFiles, libraries: Collection[Path]) -> Iterator[Finding]:
    """Bytecode that can't be read: the library is whole, but could not be compiled again."""
    for library in sorted(libraries):
        path = files.paths.pack_codes(library.stem)
        try:
            unpack_codes(files.read(path, MAX_CODES_BYTES))
        except FileNotFoundError:
            continue  # a pack without it is whole
        except (OSError, EvmaotError) as error:
            cause = error.strerror if isinstance(error, OSError) else error.cause
            message = f"{cause or error}: this pack can't be compiled again from the store"
            yield Finding("codes_damaged", files.subject(path), message, Severity.NOTE)


def _strays(files: StoreFiles) -> Iterator[Finding]:
    for path in unreferenced(files):
        yield Finding("unreferenced", files.subject(path), "a library that no manifest refers to", Severity.NOTE)
    for path in leftovers(files):
        yield Finding("leftover", files.subject(path), "left by a process that was interrupted", Severity.NOTE)


def _pins(files: StoreFiles, index: StoreIndex) -> Iterator[Finding]:
    yield from pin_findings(files, index)


def _records(files: StoreFiles) -> Iterator[Finding]:
    for profile_id in files.names(files.paths.negative):
        try:
            if PROFILE_ID.fullmatch(profile_id):
                files.trusted_directory(files.paths.negative / profile_id)
        except EvmaotError as error:
            subject = files.subject(files.paths.negative / profile_id)
            yield Finding(error.reference, subject, error.cause or error.message)
    for path in record_paths(files):
        try:
            record = parse_record(files.read(path, MAX_NEGATIVE_BYTES), path.stem)
        except (OSError, EvmaotError):
            record = None
        if record is None:
            message = "a remembered failure that can't be read; it counts as none"
            yield Finding("negative_unusable", files.subject(path), message, Severity.NOTE)
