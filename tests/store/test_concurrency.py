"""Several processes at one store: writers, a remover, readers; and writers that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.errors import BusyError
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.removal import Selector
from tests.support.fixtures import REPOSITORY
from tests.support.scale import scaled
from tests.support.store_samples import QuickSystem, errors, open_store, sha

KILLS = scaled(500)


def start_writer(root: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.store_writer", str(root), name]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def progress(writer: subprocess.Popen[str], packs: int) -> None:
    """Wait until it has published that many more packs."""
    assert writer.stdout is not None
    for _ in range(packs):
        line = writer.stdout.readline()
        if not line:
            assert writer.stderr is not None
            pytest.fail(writer.stderr.read())


def end(writer: subprocess.Popen[str]) -> None:
    writer.kill()
    writer.communicate()


def require_sound(store: ArtifactDirectory) -> None:
    """Verified while nobody writes: a pack that is being removed is no damage."""
    with store.exclusive_lock(30.0):
        assert errors(store.verify("hash")) == []


def test_writers_and_a_remover_leave_a_sound_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", lock_timeout_seconds=30.0)
    writers = [start_writer(store.paths.root, name) for name in ("x", "y")]
    try:
        for _ in range(8):
            for writer in writers:
                progress(writer, 5)
            store.clear(Selector(pattern="x-*"))
            with store.shared_lock():
                for pack in store.packs():
                    assert pack.object_path.exists()
            require_sound(store)
            store.sweep()
    finally:
        for writer in writers:
            end(writer)
    require_sound(store)
    assert store.index()


def test_a_storm_of_kills_loses_nothing(tmp_path: Path) -> None:
    """P3 and P4: 500 kills of writers, collectors and loaders, at random system calls (`store_storm` says the rest)."""
    command = [sys.executable, "-m", "tests.support.store_storm", str(tmp_path / "s"), str(KILLS), "20261122"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] >= KILLS
    assert min(figures["kept"], figures["removals"], figures["loads"]) > KILLS / 20, figures
    assert set(figures["by_role"]) == {"write", "collect_and_clear", "load"}


def test_sixteen_builders_of_one_key_compile_it_once(tmp_path: Path) -> None:
    """P4: all plan to compile it, one does, and the others take what that one published."""
    command = [sys.executable, "-m", "tests.support.store_crowd", str(tmp_path), "16"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == ["cached"] * 15 + ["compiled"]
    assert len((tmp_path / "notes").read_text().splitlines()) == 1


def test_a_unit_is_locked_by_one_at_a_time(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    one, other = sha("unit one"), sha("unit other")
    with store.unit_locks() as mine, open_store(store.paths.root).unit_locks() as theirs:
        assert mine.try_lock(one)
        assert mine.try_lock(one), "its own"
        assert not theirs.try_lock(one)
        assert theirs.try_lock(other)
        assert not mine.try_lock(other)
        mine.unlock(one)
        assert theirs.try_lock(one)
    with store.unit_locks() as mine:
        assert mine.try_lock(one)
        assert mine.try_lock(other)


def test_locks_end_with_their_process(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    unit = sha("unit")
    script = (
        "import sys; from tests.support.store_samples import open_store, sha; s = open_store(sys.argv[1])\n"
        "locks = s.unit_locks(); assert locks.try_lock(sha('unit'))\n"
        "with s.exclusive_lock(): print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(store.paths.root)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with store.unit_locks() as locks:
            assert not locks.try_lock(unit)
        with pytest.raises(BusyError), store.shared_lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.unit_locks() as locks, store.exclusive_lock():
        assert locks.try_lock(unit)


def test_a_lock_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    """With a clock of its own, so that nothing here sleeps."""

    class Clock(QuickSystem):
        now = 1000.0

        def monotonic_seconds(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    store = open_store(tmp_path / "s", system=clock)
    with store.shared_lock(), pytest.raises(BusyError), store.exclusive_lock(7.0):
        pass
    assert 1006.5 < clock.now <= 1007.0


def test_who_waits_to_be_alone_keeps_no_reader_out(tmp_path: Path) -> None:
    """A collector that waits for a long build must not keep machines from loading; writers let it go first."""
    store, seen = open_store(tmp_path / "s"), []

    class Waiting(QuickSystem):
        def sleep(self, seconds: float) -> None:
            reader = ArtifactDirectory.open(store.paths.root, read_only=True)
            with reader.shared_lock(0.0):
                seen.append("reader")
            with pytest.raises(BusyError), open_store(store.paths.root).shared_lock(0.0):
                pass
            raise KeyboardInterrupt

    collector = open_store(store.paths.root, system=Waiting())
    with store.shared_lock(), pytest.raises(KeyboardInterrupt), collector.exclusive_lock(9.0):
        pass
    assert seen == ["reader"]
