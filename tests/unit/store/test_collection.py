"""The collector: what goes first, what never goes, and clocks that jump."""

from __future__ import annotations

import errno
import logging
import os
import random
from pathlib import Path

import pytest

from evmaot.errors import BusyError, CorruptionError
from evmaot.store.collection import Limits, collect, collect_if_due, last_collection, mark_used, store_size_bytes
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import Profile
from evmaot.store.negative import NegativeRecord
from evmaot.store.publication import NewPack
from tests.support.store_samples import QuickSystem, labels, open_store, pack, profile, sha, tree

HOUR, DAY = 3600.0, 86400.0
NOTHING = Limits(max_size_bytes=None, max_age_seconds=None, keep_free=None)


class Clock(QuickSystem):
    """The clock on the wall, moved by hand; files keep the times of the real one."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        self.free_bytes = 500

    def now_seconds(self) -> float:
        return super().now_seconds() + self.ahead_seconds

    def space(self, path: str) -> tuple[int, int]:
        return self.free_bytes, 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ArtifactDirectory:
    """Packs `a`, `b` and `c`, used 3, 2 and 1 days ago; now is two hours from now."""
    store = open_store(tmp_path / "store", system=clock)
    for number, name in enumerate("abc"):
        store.publish(*pack(name))
        used(store, name, 3 - number)
    clock.ahead_seconds = 2 * HOUR
    return store


def used(store: ArtifactDirectory, name: str, days_ago: float) -> None:
    """Let a pack have been written and used that long ago."""
    found = store.index().by_code_sha256(sha(f"code of {name}"))[0].pack
    moment = QuickSystem().now_seconds() - days_ago * DAY
    for path in (found.manifest_path, found.object_path):
        os.utime(path, (moment, moment))


def test_within_its_limits_nothing_goes(store: ArtifactDirectory) -> None:
    result = collect(store, Limits())
    assert (result.removed, result.freed_bytes, result.unmet) == ((), 0, ())
    assert labels(store) == ["a", "b", "c"]


def test_what_was_not_used_for_too_long_goes(store: ArtifactDirectory) -> None:
    result = collect(store, Limits(max_age_seconds=2.5 * DAY))
    assert [pack.reason for pack in result.removed] == ["max_age"]
    assert labels(store) == ["b", "c"]
    assert store.verify("hash") == []


def test_over_its_size_the_least_recently_used_go_first(store: ArtifactDirectory) -> None:
    size = store_size_bytes(store)
    result = collect(store, Limits(max_size_bytes=size - 1))
    assert [pack.reason for pack in result.removed] == ["max_size"]
    assert labels(store) == ["b", "c"]
    assert result.size_after_bytes == store_size_bytes(store) <= size - 1
    collect(store, Limits(max_size_bytes=0))
    assert labels(store) == []
    assert not list(store.paths.objects.rglob("*.so"))


@pytest.mark.parametrize("keep_free", [501, 0.501])
def test_room_is_made_on_the_disk(store: ArtifactDirectory, keep_free: float) -> None:
    result = collect(store, Limits(keep_free=keep_free))
    assert [pack.reason for pack in result.removed] == ["keep_free"]
    assert labels(store) == ["b", "c"]


def test_a_limit_that_cannot_be_kept_is_said(store: ArtifactDirectory, clock: Clock) -> None:
    clock.free_bytes = 0
    assert collect(store, Limits(keep_free=1 << 40)).unmet == ("keep_free",)
    assert labels(store) == []


def test_stale_profiles_go_only_when_asked(store: ArtifactDirectory, clock: Clock) -> None:
    clock.ahead_seconds = 0.0
    store.publish(*pack("old", profile("two")))
    clock.ahead_seconds = 2 * HOUR

    def is_stale(found: Profile) -> bool:
        return found.compiler == profile("two").compiler

    result = collect(store, Limits(is_stale=is_stale))
    assert [(pack.reason, pack.profile) for pack in result.removed] == [("stale", profile("two").digest)]
    assert labels(store) == ["a", "b", "c"]
    assert not store.paths.profile(profile("two").short).exists()


def test_what_is_pinned_stays_whatever_the_limits_say(store: ArtifactDirectory) -> None:
    store.pin("keep", [store.index().by_code_sha256(sha("code of a"))[0].key])
    result = collect(store, Limits(max_size_bytes=0, max_age_seconds=0.0, is_stale=lambda _: True))
    assert labels(store) == ["a"]
    assert result.pinned_packs == 1
    assert result.unmet == ("max_size",)


def test_a_pin_that_cannot_be_read_keeps_everything(store: ArtifactDirectory) -> None:
    store.pin("keep", [])
    store.paths.pin("keep").write_text("{")
    before = tree(store.paths.root)
    with pytest.raises(CorruptionError) as caught:
        collect(store, Limits(max_size_bytes=0))
    assert caught.value.reference == "pin_damaged"
    assert "unpin keep" in str(caught.value.hint)
    assert tree(store.paths.root) == before


def test_what_is_younger_than_an_hour_stays(store: ArtifactDirectory, clock: Clock) -> None:
    clock.ahead_seconds = 0.0
    store.publish(*pack("new"))
    (store.paths.tmp / "1-0123456789abcdef").write_bytes(b"being written")
    clock.ahead_seconds = HOUR - 60
    result = collect(store, Limits(max_size_bytes=0))
    assert labels(store) == ["new"]
    assert (result.young_packs, result.unmet) == (1, ("max_size",))
    assert list(store.paths.tmp.iterdir()), "somebody may be writing it"
    clock.ahead_seconds = HOUR + 60
    collect(store, Limits(max_size_bytes=0))
    assert labels(store) == []
    assert not list(store.paths.tmp.iterdir())


@pytest.mark.parametrize("back_seconds", [60.0, 400 * DAY])
def test_a_clock_that_went_back_removes_nothing_young(
    store: ArtifactDirectory, clock: Clock, back_seconds: float
) -> None:
    """Then the times of files lie in the future."""
    clock.ahead_seconds = 0.0
    store.publish(*pack("new"))
    clock.ahead_seconds = -back_seconds
    collect(store, Limits(max_size_bytes=0, max_age_seconds=0.0))
    assert "new" in labels(store)


def test_files_from_the_future_are_young(store: ArtifactDirectory) -> None:
    used(store, "a", -400)
    collect(store, Limits(max_size_bytes=0, max_age_seconds=0.0))
    assert labels(store) == ["a"]


def test_by_itself_it_does_not_believe_a_clock_that_is_far_ahead(store: ArtifactDirectory, clock: Clock) -> None:
    assert collect_if_due(store, Limits()) is not None
    clock.ahead_seconds = 1000 * DAY
    result = collect_if_due(store, Limits())
    assert result is not None
    assert result.removed == ()
    assert labels(store) == ["a", "b", "c"]
    clock.ahead_seconds += 2 * DAY
    assert collect_if_due(store, Limits()) is not None
    assert labels(store) == [], "a day later it is true"


def test_by_itself_it_runs_daily_and_its_time_is_recorded(store: ArtifactDirectory, clock: Clock) -> None:
    assert last_collection(store.files) is None
    assert collect_if_due(store, NOTHING) is not None
    assert last_collection(store.files) == int(clock.now_seconds())
    assert collect_if_due(store, NOTHING) is None
    clock.ahead_seconds += DAY + 1
    assert collect_if_due(store, NOTHING) is not None
    clock.ahead_seconds -= 300 * DAY
    assert collect_if_due(store, NOTHING) is not None, "a record from the future is none"


@pytest.mark.parametrize("seconds", ["1" + 400 * "0", "1e999", "-1e999", "true", "null", '"1"'])
def test_a_damaged_record_of_the_last_run_is_none(store: ArtifactDirectory, seconds: str) -> None:
    collect(store, NOTHING)
    store.paths.collected.write_text(f'{{"schema": "evmaot.collected/1", "seconds": {seconds}}}')
    assert collect_if_due(store, NOTHING) is not None
    assert (last_collection(store.files) or 0) > 1e9, "and written anew"


def test_a_disk_without_room_for_the_record_is_collected(
    store: ArtifactDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, mode: int = 0o600) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.files.system, "create", full)
    assert len(collect(store, Limits(max_size_bytes=0)).removed) == 3
    assert labels(store) == []
    assert last_collection(store.files) is None


def test_over_its_size_it_does_not_wait_for_the_day(store: ArtifactDirectory) -> None:
    """P6: the store exceeds its limit by one batch at most."""
    limits = Limits(max_size_bytes=store_size_bytes(store), max_age_seconds=None, keep_free=None)
    assert collect_if_due(store, limits) is not None
    assert collect_if_due(store, limits) is None
    store.publish(*pack("d"))
    result = collect_if_due(store, limits)
    assert result is not None
    assert labels(store) == ["b", "c", "d"]


def test_a_store_in_use_is_collected_another_time(store: ArtifactDirectory) -> None:
    with open_store(store.paths.root).shared_lock():
        assert collect_if_due(store, Limits(max_size_bytes=0)) is None
        with pytest.raises(BusyError):
            collect(store, Limits(max_size_bytes=0))
    assert labels(store) == ["a", "b", "c"]


def test_a_dry_run_changes_nothing_and_says_the_same(store: ArtifactDirectory) -> None:
    before = tree(store.paths.root)
    planned = collect(store, Limits(max_size_bytes=0), dry_run=True)
    assert tree(store.paths.root) == before
    assert collect(store, Limits(max_size_bytes=0)) == planned


def test_what_a_build_asked_for_was_used(store: ArtifactDirectory, clock: Clock) -> None:
    clock.ahead_seconds = 0.0
    mark_used(store, store.packs()[:])
    clock.ahead_seconds = 2 * HOUR
    assert collect(store, Limits(max_age_seconds=1.5 * DAY)).removed == ()


def test_verification_is_no_use(store: ArtifactDirectory) -> None:
    before = {path: path.stat().st_atime_ns for path in store.paths.objects.rglob("*.so")}
    store.verify("hash")
    assert {path: path.stat().st_atime_ns for path in store.paths.objects.rglob("*.so")} == before


def test_old_failures_leftovers_and_quarantine_go_with_their_age(store: ArtifactDirectory, clock: Clock) -> None:
    clock.ahead_seconds = 0.0
    record = NegativeRecord(sha("u"), sha("c"), 1, sha("r"), "x", "compile_timeout", "m", 1.0, 1)
    store.remember_failure(profile(), record)
    lone = store.paths.object(sha("nobody's"))
    lone.parent.mkdir(exist_ok=True)
    lone.write_bytes(b"library")
    store.quarantine(store.packs()[0])
    clock.ahead_seconds = 2 * HOUR
    result = collect(store, Limits())
    assert (result.records_removed, result.quarantine_bytes) == (0, 0)
    assert not lone.exists()
    assert result.leftovers_bytes == 7
    clock.ahead_seconds = 91 * DAY
    result = collect(store, Limits())
    assert result.records_removed == 1
    assert result.quarantine_bytes > 0
    assert not list(store.paths.quarantine.iterdir())


def test_foreign_files_are_not_touched(store: ArtifactDirectory, clock: Clock) -> None:
    """Names that this format does not make, and manifests of a newer one."""
    newer = store.paths.packs(profile().short) / f"{sha('newer')}.json"
    newer.write_text('{"schema": "evmaot.pack/2"}')
    library = store.paths.object(sha("newer"))
    library.parent.mkdir(exist_ok=True)
    library.write_bytes(b"newer")
    foreign = [store.paths.tmp / "notes.txt", store.paths.objects / "README", store.paths.quarantine / "mine"]
    for path in foreign:
        path.write_text("mine")
    clock.ahead_seconds = 400 * DAY
    collect(store, Limits(max_size_bytes=0))
    assert all(path.exists() for path in [newer, library, *foreign])
    assert labels(store) == []


def test_a_run_of_builds_exceeds_the_limit_by_one_batch_at_most(tmp_path: Path) -> None:
    """P6, and (`--log-cli-level=INFO`) its figure: 100 builds two hours apart, each of one to four packs."""
    clock = Clock()
    clock.free_bytes = 1000
    store = open_store(tmp_path / "store", system=clock)
    limit_bytes, chance = 100_000, random.Random(6)
    largest_excess = largest_batch = collections = 0
    for number in range(100):
        before = everything(store.paths.v1)
        words = [" ".join(f"n{number}-{at}-{row}" for row in range(chance.randrange(1, 9))) for at in range(4)]
        store.publish_batch([NewPack(*pack(names)) for names in words[: chance.randrange(1, 5)]])
        size_bytes = everything(store.paths.v1)
        batch = size_bytes - before
        assert size_bytes - limit_bytes <= batch, "nothing was left over from the build before"
        largest_excess, largest_batch = max(largest_excess, size_bytes - limit_bytes), max(largest_batch, batch)
        clock.ahead_seconds += 2 * HOUR
        collections += collect_if_due(store, Limits(max_size_bytes=limit_bytes)) is not None
        assert store_size_bytes(store) <= limit_bytes
    assert 0 < largest_excess <= largest_batch
    assert collections > 50, "it is nearly always full"
    told = f"limit {limit_bytes}, largest excess {largest_excess}, largest batch {largest_batch}"
    logging.getLogger("evmaot.tests").info("P6: %s, %d collections", told, collections)


def everything(path: Path) -> int:
    """Bytes of the files of packs, as the disk has them."""
    files = [*path.glob("objects/*/*.so"), *path.glob("codes/*/*.codes"), *path.glob("profiles/*/packs/*.json")]
    return sum(item.stat().st_size for item in files)
