"""What could not be compiled, remembered: `evmaot.negative/1`.

Job: a record per unit key with its named reason, so that a second build does not run into the same limit again.
Invariants: it is a memory, not a truth: a record that can't be read is no record, and one that was made under
tighter limits does not count.  May import: `evmaot.errors`, `evmaot.json_text`, the store's lower modules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from evmaot.errors import EvmaotError, TrustError
from evmaot.json_text import parse_json
from evmaot.store.files import StoreFiles, translated
from evmaot.store.keys import canonical_json
from evmaot.store.manifest import clean_label
from evmaot.store.paths import DIGEST, MANIFEST_NAME, PROFILE_ID

NEGATIVE_SCHEMA: Final = "evmaot.negative/1"
MAX_NEGATIVE_BYTES: Final = 64 * 1024
MAX_MESSAGE_CHARACTERS: Final = 4096
LIMIT_OF_REASON: Final = {"compile_timeout": "timeout_seconds", "compile_memory": "memory_limit_bytes"}
"""Reasons that depend on a limit: with a higher one the unit is tried again."""


@dataclass(frozen=True, slots=True)
class NegativeRecord:
    """Why one unit could not be compiled."""

    unit_key: str
    code_sha256: str
    length: int
    """Bytes of code."""
    rules: str
    label: str
    reason: str
    """Stable snake_case, such as ``compile_timeout``."""
    message: str
    timeout_seconds: float
    memory_limit_bytes: int
    created: str = ""
    code_hash: str = ""
    """Keccak-256 of the code, hex; empty in records of the first version."""

    def holds(self, timeout_seconds: float, memory_limit_bytes: int) -> bool:
        """Whether the reason would still be there under these limits."""
        limits = {"timeout_seconds": timeout_seconds, "memory_limit_bytes": memory_limit_bytes}
        name = LIMIT_OF_REASON.get(self.reason)
        return name is None or bool(limits[name] <= getattr(self, name))


def record_paths(files: StoreFiles, profile_ids: Iterable[str] | None = None) -> Iterator[Path]:
    """Documents of remembered failures, of all profiles or of some.  Raises TrustError and StoreError.

    A profile's directory that is not to be trusted (a link, another user's) is passed over, as a record that can't be
    read is: `verify` says so, and neither statistics nor the collector stop for it.
    """
    wanted = None if profile_ids is None else frozenset(profile_ids)
    for profile_id in files.names(files.paths.negative):
        if PROFILE_ID.fullmatch(profile_id) is None or (wanted is not None and profile_id not in wanted):
            continue
        directory = files.paths.negative / profile_id
        with contextlib.suppress(TrustError):
            for name in files.names(directory):
                if MANIFEST_NAME.fullmatch(name) and DIGEST.fullmatch(name[:64]):
                    yield directory / name


def read_record(files: StoreFiles, profile_id: str, unit_key: str) -> NegativeRecord | None:
    """The record of a unit, None where there is none that can be used."""
    path = files.paths.negative_document(profile_id, unit_key)
    try:
        return parse_record(files.read(path, MAX_NEGATIVE_BYTES), unit_key)
    except (OSError, EvmaotError):
        return None


def parse_record(data: bytes, unit_key: str) -> NegativeRecord | None:
    """A record from its bytes, None where they are none of that unit."""
    try:
        document: dict[str, Any] = parse_json(data, allow_constants=False)
        if document.pop("schema") != NEGATIVE_SCHEMA:
            return None
        # Fields as they are declared: a newer version's additional ones are left out.
        types: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
        fields: dict[str, Any] = {}
        document.setdefault("code_hash", "")
        for name, declared in NegativeRecord.__annotations__.items():
            fields[name] = document[name]
            if type(fields[name]) not in types[declared]:
                return None
        record = NegativeRecord(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if record.unit_key == unit_key else None


def write_record(files: StoreFiles, profile_id: str, record: NegativeRecord) -> Path:
    """Remember a failure.  Raises StoreError."""
    path = files.paths.negative_document(profile_id, record.unit_key)
    document = asdict(record) | {
        "schema": NEGATIVE_SCHEMA,
        "created": record.created or files.now(),
        "label": clean_label(record.label),
        "message": record.message[:MAX_MESSAGE_CHARACTERS],
    }
    with translated("remember a failed compilation", path):
        files.make_directory(path.parent)
        files.replace_document(path, canonical_json(document) + b"\n")
    return path


def forget_record(files: StoreFiles, profile_id: str, unit_key: str) -> None:
    """Forget a failure, where there is one.  Never fails: an old record is only asked for when a unit is missing."""
    with contextlib.suppress(OSError):
        files.system.unlink(str(files.paths.negative_document(profile_id, unit_key)))
