"""Stores of releases, frozen: every later version reads them, or says why not (P9).

`tests/data/stores/<version>.tar.gz` was written by that version; it is never made again.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from evmaot.evm.forks import fork_named
from evmaot.runtime import open_runtime
from evmaot.store.codes import read_codes
from evmaot.store.collection import Limits, collect
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.findings import Severity
from evmaot.store.pins import read_pin
from evmaot.verify import verify
from tests.support.fixtures import REPOSITORY
from tests.support.store_samples import labels, open_store, pack, sha, tree

FROZEN = sorted((REPOSITORY / "tests" / "data" / "stores").glob("*.tar.gz"))
LABELS = ["returns 3", "storage"]


@pytest.fixture(params=FROZEN, ids=lambda path: path.name.removesuffix(".tar.gz"))
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (tmp_path / "store").rglob("*"):
        path.chmod(0o444 if path.suffix == ".so" else 0o700 if path.is_dir() else 0o600)
    return tmp_path / "store"


def test_there_is_a_frozen_store() -> None:
    assert FROZEN


def test_its_contents_are_read(frozen: Path) -> None:
    store = ArtifactDirectory.open(frozen, read_only=True)
    assert sorted({entry.member.label for entry in store.index()}) == LABELS
    assert store.verify("elf") == []
    (pack_there,) = store.packs()
    codes = read_codes(store.files, pack_there.manifest.object.sha256)
    assert codes is not None
    assert sorted({code.label for code in codes}) == LABELS
    assert len(read_pin(store.files, "release").members) == len(store.index())
    for entry in store.index():
        assert fork_named(entry.member.forks[-1]).name in entry.member.forks


def test_it_is_loaded_or_refused_with_a_reason(frozen: Path) -> None:
    statistics = open_runtime(frozen).statistics()
    assert statistics.libraries_loaded + sum(statistics.skipped.values()) == 1
    assert {finding.severity for finding in verify(ArtifactDirectory.open(frozen), "load")} <= {Severity.UNCHECKED}


def test_it_can_be_written_to_and_keeps_what_it_had(frozen: Path) -> None:
    before = {name: content for name, content in tree(frozen).items() if name.endswith((".so", ".json"))}
    store = open_store(frozen)
    store.publish(*pack("new"))
    collect(store, Limits())
    after = tree(frozen)
    assert all(after[name] == content for name, content in before.items())
    assert sorted(set(labels(open_store(frozen)))) == sorted(["new", *LABELS])


def test_what_a_newer_version_wrote_is_left_alone(frozen: Path) -> None:
    """Documents of later majors, unknown keys, unknown files and directories."""
    store = open_store(frozen)
    (there,) = store.packs()
    packs = store.paths.packs(there.profile.short)
    newer = [packs / f"{sha('newer')}.json", store.paths.v1 / "later" / "index.db", frozen / "v2" / "STORE"]
    for path in newer:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        path.write_text(json.dumps({"schema": "evmaot.pack/2", "anything": 1}))
        path.chmod(0o600)
    manifest = json.loads(there.manifest_path.read_text())
    there.manifest_path.write_text(json.dumps(manifest | {"later": [1]}))
    again = open_store(frozen)
    assert sorted(set(labels(again))) == LABELS
    assert [finding.code for finding in again.verify("hash")] == ["format_newer"]
    again.publish(*pack("new"))
    again.sweep()
    collect(again, Limits(max_size_bytes=0))
    assert all(path.exists() for path in newer)
