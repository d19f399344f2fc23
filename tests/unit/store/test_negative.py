"""Remembered failures: which still count, and that a damaged one counts as none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot.errors import BusyError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.negative import NegativeRecord
from evmaot.store.removal import Selector
from tests.support.store_samples import errors, open_store, profile, sha

RECORD = NegativeRecord(
    unit_key=sha("unit"),
    code_sha256=sha("code"),
    length=77,
    rules=sha("rules"),
    label="src/X.sol:X",
    reason="compile_timeout",
    message="not compiled within 10 seconds",
    timeout_seconds=10.0,
    memory_limit_bytes=1 << 30,
    created="2026-01-02T03:04:05Z",
)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    store = open_store(tmp_path / "store")
    store.remember_failure(profile(), RECORD)
    return store


def document(store: ArtifactDirectory) -> Path:
    return store.paths.negative_document(profile().short, RECORD.unit_key)


def test_a_failure_is_remembered(store: ArtifactDirectory) -> None:
    assert open_store(store.paths.root).failure(profile(), RECORD.unit_key) == RECORD
    assert store.failure(profile("two"), RECORD.unit_key) is None
    assert store.failure(profile(), sha("another unit")) is None
    assert store.verify("hash") == []


def test_a_failure_can_be_forgotten(store: ArtifactDirectory) -> None:
    for _ in range(2):
        store.forget_failure(profile(), RECORD.unit_key)
        assert store.failure(profile(), RECORD.unit_key) is None


@pytest.mark.parametrize(
    ("reason", "timeout_seconds", "memory_limit_bytes", "holds"),
    [
        ("compile_timeout", 10.0, 1 << 30, True),
        ("compile_timeout", 5.0, 1 << 40, True),
        ("compile_timeout", 10.1, 1 << 30, False),
        ("compile_memory", 1000.0, 1 << 30, True),
        ("compile_memory", 10.0, (1 << 30) + 1, False),
        ("compile_crash", 1000.0, 1 << 40, True),
        ("compiler_bug", 1000.0, 1 << 40, True),
    ],
)
def test_a_failure_holds_until_its_limit_is_raised(
    reason: str, timeout_seconds: float, memory_limit_bytes: int, holds: bool
) -> None:
    assert replace(RECORD, reason=reason).holds(timeout_seconds, memory_limit_bytes) is holds


def test_a_limit_larger_than_any_float_is_a_limit(store: ArtifactDirectory) -> None:
    record = replace(RECORD, reason="compile_memory", memory_limit_bytes=10**400)
    assert record.holds(1.0, 1 << 30)


def test_text_from_elsewhere_is_cleaned_and_bounded(store: ArtifactDirectory) -> None:
    store.remember_failure(profile(), replace(RECORD, label="\x1b[31m" + "x" * 1000, message="y" * 100_000))
    found = store.failure(profile(), RECORD.unit_key)
    assert found is not None
    assert found.label.startswith("?[31mxx")
    assert len(found.label) == 512
    assert len(found.message) == 4096


def changed(**fields: Any) -> bytes:
    base = {"schema": "evmaot.negative/1"} | {name: getattr(RECORD, name) for name in RECORD.__slots__}
    return json.dumps(base | fields).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 60_000, b" " * 70_000,
        changed(schema="evmaot.negative/2"), changed(unit_key=sha("another")), changed(length="7"),
        changed(timeout_seconds="10"), changed(reason=None), changed(memory_limit_bytes=True),
    ],
)  # fmt: skip
def test_a_record_that_can_not_be_used_counts_as_none(store: ArtifactDirectory, content: bytes) -> None:
    document(store).write_bytes(content)
    assert store.failure(profile(), RECORD.unit_key) is None
    findings = store.verify("meta")
    assert [finding.code for finding in findings] == ["negative_unusable"]
    assert errors(findings) == []
    store.remember_failure(profile(), RECORD)
    assert store.failure(profile(), RECORD.unit_key) == RECORD


def test_fields_of_a_later_version_are_ignored(store: ArtifactDirectory) -> None:
    document(store).write_bytes(changed(later=[1]))
    assert store.failure(profile(), RECORD.unit_key) == RECORD


def test_clearing_a_profile_or_everything_forgets_its_failures(store: ArtifactDirectory) -> None:
    store.remember_failure(profile("two"), RECORD)
    assert store.clear(Selector(pattern="src/*")).records_removed == 0
    assert store.clear(Selector(profiles=(profile("two").digest,))).records_removed == 1
    assert store.failure(profile("two"), RECORD.unit_key) is None
    assert store.failure(profile(), RECORD.unit_key) == RECORD
    assert store.clear(Selector(everything=True), dry_run=True).records_removed == 1
    assert store.clear(Selector(everything=True)).records_removed == 1
    assert store.failure(profile(), RECORD.unit_key) is None


def test_a_failure_is_not_written_while_somebody_sweeps(store: ArtifactDirectory) -> None:
    """A sweep takes what lies in tmp/, also what is about to be renamed."""
    other = open_store(store.paths.root)
    with other.exclusive_lock(), pytest.raises(BusyError):
        store.remember_failure(profile(), RECORD)
    with store.shared_lock():
        store.remember_failure(profile(), RECORD)
