"""Verification: each kind of damage has its name, and is found at its level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.errors import UsageError
from evmaot.store.collection import Limits, collect
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.negative import NegativeRecord
from evmaot.store.removal import Selector
from evmaot.store.usage import Usage, store_usage
from tests.support.store_samples import QuickSystem, errors, open_store, pack, profile, sha, tree


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    store = open_store(tmp_path / "store")
    store.publish(*pack("a"))
    store.publish(*pack("b c"))
    return store


def the_library(store: ArtifactDirectory) -> Path:
    return store.index().by_code_hash(sha("hash of a"))[0].pack.object_path


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    rewrite(path, bytes(data))


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


LIBRARY_DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "gone": (lambda path: path.unlink(), "library_missing", "meta"),
    "truncated": (lambda path: rewrite(path, path.read_bytes()[:-1]), "size_mismatch", "meta"),
    "empty": (lambda path: rewrite(path, b""), "size_mismatch", "meta"),
    "longer": (lambda path: rewrite(path, path.read_bytes() + b"x"), "size_mismatch", "meta"),
    "writable": (lambda path: path.chmod(0o644), "library_writable", "meta"),
    "writable by others": (lambda path: path.chmod(0o666), "store_untrusted", "meta"),
    "a symbolic link": (link, "store_untrusted", "meta"),
    "one bit": (lambda path: flip(path, 1234), "hash_mismatch", "hash"),
}


def test_a_sound_store_has_no_findings(store: ArtifactDirectory) -> None:
    assert store.verify("meta") == []
    assert store.verify("hash") == []


@pytest.mark.parametrize("how", LIBRARY_DAMAGE)
def test_damage_of_a_library_is_found(store: ArtifactDirectory, how: str) -> None:
    act, code, level = LIBRARY_DAMAGE[how]
    path = the_library(store)
    act(path)
    before = tree(store.paths.root)
    (found,) = errors(store.verify("hash"))
    assert found.code == code
    assert found.subject == str(path.relative_to(store.paths.root))
    assert found.message
    assert len(errors(store.verify("meta"))) == (level == "meta")
    assert tree(store.paths.root) == before, "verify changes nothing"


def test_every_flipped_bit_of_a_library_is_found(store: ArtifactDirectory) -> None:
    path = the_library(store)
    original = path.read_bytes()
    for bit in range(0, len(original) * 8, 257):
        flip(path, bit)
        assert [finding.code for finding in errors(store.verify("hash"))] == ["hash_mismatch"]
        rewrite(path, original)
    assert store.verify("hash") == []


def test_damage_of_documents_is_found(store: ArtifactDirectory) -> None:
    (entry,) = store.index().by_code_hash(sha("hash of a"))
    entry.pack.manifest_path.write_bytes(b"{")
    assert [finding.code for finding in errors(store.verify("meta"))] == ["manifest_not_json"]
    store.paths.profile_document(profile().short).write_bytes(b"{}")
    assert [finding.code for finding in errors(store.verify("meta"))] == ["profile_damaged"]


def test_a_manifest_of_a_newer_version_is_no_damage(store: ArtifactDirectory) -> None:
    path = store.packs()[0].manifest_path
    path.write_bytes(path.read_bytes().replace(b"evmaot.pack/1", b"evmaot.pack/9"))
    findings = store.verify("hash")
    assert [finding.code for finding in findings] == ["format_newer"]
    assert errors(findings) == []


def test_what_a_newer_version_keeps_is_counted_though_not_used(store: ArtifactDirectory) -> None:
    """It was in no sum: neither in use, nor, for a manifest names it, unreferenced."""
    newer, rest = store.packs()
    newer.manifest_path.write_bytes(newer.manifest_path.read_bytes().replace(b"evmaot.pack/1", b"evmaot.pack/9"))
    size_bytes = newer.object_path.stat().st_size
    usage = store_usage(store.files, [rest.manifest.object.sha256])
    assert (usage.not_used, usage.unreferenced) == (Usage(1, size_bytes), Usage(0, 0))
    (refusal,) = store.index().refusals
    assert refusal.message.endswith(f"its library has {size_bytes} bytes")


class Later(QuickSystem):
    def now_seconds(self) -> float:
        return super().now_seconds() + 7200


def test_a_link_among_remembered_failures_stops_nothing(store: ArtifactDirectory, tmp_path: Path) -> None:
    """A memory that can't be trusted is none; only `verify` minds."""
    store.remember_failure(profile(), NegativeRecord(sha("u"), sha("c"), 1, sha("r"), "x", "why", "m", 1.0, 1))
    outside = tmp_path / "outside"
    (outside / "0123456789abcdef").mkdir(parents=True)
    planted = outside / "0123456789abcdef" / f"{sha('other')}.json"
    planted.write_bytes(b"{}")
    (store.paths.negative / "0123456789abcdef").symlink_to(outside / "0123456789abcdef")
    stamp = store.paths.quarantined("20260101T000000Z", sha("q"))
    stamp.symlink_to(outside)
    assert store_usage(store.files, ()).failures == 1
    later, old = open_store(store.paths.root, system=Later()), Limits(max_age_seconds=0.0)
    assert collect(later, old, dry_run=True).records_removed == 1
    assert collect(later, old).records_removed == 1
    store.remember_failure(profile(), NegativeRecord(sha("u"), sha("c"), 1, sha("r"), "x", "why", "m", 1.0, 1))
    assert store.clear(Selector(everything=True)).records_removed == 1
    assert planted.exists()
    assert [finding.code for finding in errors(store.verify("meta"))] == ["store_untrusted"]


def test_a_member_that_is_there_twice_is_noted(store: ArtifactDirectory) -> None:
    store.publish(*pack("a d"))
    findings = store.verify("meta")
    assert [finding.code for finding in findings] == ["duplicate_member"]
    assert errors(findings) == []


def test_all_damage_is_found_at_once(store: ArtifactDirectory) -> None:
    for pack_ in store.packs():
        flip(pack_.object_path, 8)
    assert len(errors(store.verify("hash"))) == 2


def test_an_untrusted_shard_is_found(store: ArtifactDirectory) -> None:
    the_library(store).parent.chmod(0o777)
    assert {finding.code for finding in errors(store.verify("meta"))} == {"store_untrusted"}


def test_an_unknown_level_is_refused(store: ArtifactDirectory) -> None:
    with pytest.raises(UsageError) as caught:
        store.verify("everything")
    assert caught.value.reference == "unknown_level"
