"""What lies in a store besides its packs: remembered failures, quarantine, pins, left-over files.

Job: counts and sizes for `evmaot stats`.  Invariants: reads names and sizes, and a bounded number of failure records;
changes nothing; what disappears while it looks is not counted.  May import: `evmaot.errors`, the store's lower modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evmaot.errors import EvmaotError
from evmaot.store.files import StoreFiles
from evmaot.store.negative import MAX_NEGATIVE_BYTES, NegativeRecord, parse_record, record_paths
from evmaot.store.removal import leftovers, libraries, referenced_libraries

MAX_RECORDS_READ: Final = 1000
"""Failure records whose reasons are counted; what is beyond is only counted."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Files of one kind."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Everything in a store that is not a pack in use."""

    failures: int
    """Remembered failures."""
    failure_reasons: Mapping[str, int]
    """Their number by reason, of the first `MAX_RECORDS_READ`."""
    quarantined: Usage
    """Directories in quarantine, and the size of what they hold."""
    unreferenced: Usage
    """Libraries that no manifest refers to."""
    not_used: Usage
    """Libraries whose manifests this version can't use: newer ones, or damaged."""
    left_over: Usage
    """Files of writers that were interrupted, or are still writing."""
    pins: tuple[str, ...]
    """Names of pins."""


NOTHING: Final = StoreUsage(0, {}, Usage(0, 0), Usage(0, 0), Usage(0, 0), Usage(0, 0), ())
"""Where there is no store."""


def store_usage(files: StoreFiles, referenced: Iterable[str]) -> StoreUsage:
    """Look at everything but packs.  `referenced`: SHA-256 (hex) of the libraries that manifests refer to.

    Raises TrustError and StoreError.
    """
    wanted, named = frozenset(referenced), referenced_libraries(files)
    beside = [path for path in libraries(files) if path.stem not in wanted]
    failures = list(record_paths(files))
    reasons = Counter(record.reason for _, record in failure_records(files, failures[:MAX_RECORDS_READ]))
    quarantined = [files.paths.quarantine / name for name in files.names(files.paths.quarantine)]
    inside = [folder / name for folder in quarantined for name in _names(files, folder)]
    return StoreUsage(
        failures=len(failures),
        failure_reasons=dict(reasons.most_common()),
        quarantined=Usage(len(quarantined), _usage(files, inside).size_bytes),
        unreferenced=_usage(files, (path for path in beside if path.stem not in named)),
        not_used=_usage(files, (path for path in beside if path.stem in named)),
        left_over=_usage(files, leftovers(files)),
        pins=tuple(name[:-5] for name in files.names(files.paths.pins) if name.endswith(".json")),
    )


def failure_records(files: StoreFiles, paths: Iterable[Path]) -> Iterator[tuple[Path, NegativeRecord]]:
    """The records that can be read."""
    for path in paths:
        try:
            record = parse_record(files.read(path, MAX_NEGATIVE_BYTES), path.stem)
        except (OSError, EvmaotError):
            continue
        if record is not None:
            yield path, record


def _names(files: StoreFiles, directory: Path) -> list[str]:
    try:
        return files.names(directory)
    except EvmaotError:
        return []


def _usage(files: StoreFiles, paths: Iterable[Path]) -> Usage:
    count = size_bytes = 0
    for path in paths:
        try:
            size_bytes += files.system.lstat(str(path)).st_size
        except OSError:
            continue
        count += 1
    return Usage(count, size_bytes)
