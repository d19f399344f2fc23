"""Whatever call fails, whenever the process dies or the power goes: the store verifies, and works again.

Every system call of the store goes through `evmaot.store.system.System`, so each is reached by its number.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.errors import EvmaotError, StoreError, UsageError
from evmaot.store.codes import StoredCode
from evmaot.store.collection import Limits, collect, mark_used
from evmaot.store.files import Durability
from evmaot.store.negative import NegativeRecord
from evmaot.store.pins import read_pins
from evmaot.store.publication import NewPack
from evmaot.store.removal import Selector
from evmaot.store.system import System
from tests.support.store_samples import (
    ERRNOS,
    Killed,
    KilledSystem,
    PowerLossSystem,
    QuickSystem,
    ShortWriteSystem,
    errors,
    failing,
    labels,
    open_store,
    pack,
    profile,
    sha,
)

MAX_CALLS = 400
"""More than any operation makes; the loops end when an operation gets through."""

Operation = Callable[[Path, System], object]


def create(root: Path, system: System) -> None:
    open_store(root, system=system)


def publish(root: Path, system: System) -> None:
    open_store(root, system=system).publish(*pack("new1 new2"))


def publish_batch(root: Path, system: System) -> None:
    packs = [NewPack(*pack(name)) for name in ("new1", "new2")]
    open_store(root, system=system).publish_batch(packs)


def publish_batch_full(root: Path, system: System) -> None:
    packs = [NewPack(*pack(name)) for name in ("new1", "new2")]
    open_store(root, system=system, durability=Durability.FULL).publish_batch(packs)


def publish_other_profile(root: Path, system: System) -> None:
    open_store(root, system=system).publish(*pack("new1 new2", profile("two")))


def remove(root: Path, system: System) -> None:
    from tests.support.store_samples import member

    key = (profile().digest, sha("code of old1"), member("old1").rules)
    open_store(root, system=system).remove_members([key])


def clear(root: Path, system: System) -> None:
    open_store(root, system=system).clear(Selector(everything=True))


def remember(root: Path, system: System) -> None:
    record = NegativeRecord(sha("u"), sha("c"), 1, sha("r"), "x", "compile_timeout", "m", 1.0, 1)
    open_store(root, system=system).remember_failure(profile(), record)


def quarantine(root: Path, system: System) -> None:
    store = open_store(root, system=system)
    for found in store.packs():
        store.quarantine(found)


def publish_with_codes(root: Path, system: System) -> None:
    codes = (StoredCode(b"\x60\x01\x00", ("osaka",), "new1"),)
    open_store(root, system=system).publish_batch([NewPack(*pack("new1 new2"), codes=codes)])


def collect_old(root: Path, system: System) -> None:
    """Over its size; what was there is two hours old."""
    collect(open_store(root, system=system), Limits(max_size_bytes=0, keep_free=1))


def pin(root: Path, system: System) -> None:
    store = open_store(root, system=system)
    store.pin("kept", [entry.key for entry in store.index()])


def unpin(root: Path, system: System) -> None:
    """Of a pin that is there already, or not any more."""
    store = open_store(root, system=system)
    with contextlib.suppress(UsageError):
        store.unpin("old")


def use(root: Path, system: System) -> None:
    store = open_store(root, system=system)
    mark_used(store, store.packs())


def note_forks(root: Path, system: System) -> None:
    store = open_store(root, system=system)
    wanted = {(entry.member.code_sha256, entry.member.rules): ("paris",) for entry in store.index()}
    store.add_forks(store.packs(), wanted)


def replace_members(root: Path, system: System) -> None:
    """A manifest that says something wrong is written again."""
    open_store(root, system=system).publish_batch([NewPack(*pack("old1 old2", length=101), replaces_members=True)])


AFTER: dict[str, tuple[Operation, list[str]]] = {
    "create": (create, ["old1", "old2"]),
    "publish": (publish, ["new1", "new2", "old1", "old2"]),
    "publish_batch": (publish_batch, ["new1", "new2", "old1", "old2"]),
    "publish_batch_full": (publish_batch_full, ["new1", "new2", "old1", "old2"]),
    "publish_other_profile": (publish_other_profile, ["new1", "new2", "old1", "old2"]),
    "remove": (remove, ["old2"]),
    "clear": (clear, []),
    "remember": (remember, ["old1", "old2"]),
    "quarantine": (quarantine, []),
    "publish_with_codes": (publish_with_codes, ["new1", "new2", "old1", "old2"]),
    "collect": (collect_old, []),
    "pin": (pin, ["old1", "old2"]),
    "unpin": (unpin, ["old1", "old2"]),
    "use": (use, ["old1", "old2"]),
    "note_forks": (note_forks, ["old1", "old2"]),
    "replace_members": (replace_members, ["old1", "old2"]),
}
"""Each operation, and what the store of `old1` and `old2` holds once it is done."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "base")
    store.publish(*pack("old1 old2"))
    store.pin("old", [])
    two_hours_ago = time.time() - 7200
    for found in store.packs():
        for path in (found.manifest_path, found.object_path):
            os.utime(path, (two_hours_ago, two_hours_ago))
    return tmp_path / "base"


def copy(base: Path, name: str) -> Path:
    target = base.parent / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target)
    return target


def require_sound(root: Path, after: list[str]) -> None:
    """The store opens, verifies, and holds nothing but what it should."""
    store = open_store(root)
    assert errors(store.verify("hash")) == []
    held = set(labels(store))
    assert held <= {"old1", "old2", *after}
    assert held >= {"old1", "old2"} & set(after), "what was not to be removed is there"


def require_works(root: Path, operation: Operation, after: list[str]) -> None:
    """The interrupted operation can be done again, and ends as if nothing had happened."""
    operation(root, QuickSystem())
    store = open_store(root)
    assert labels(store) == after
    store.sweep()
    assert store.verify("hash") == []


FAILURES = [(name, number) for name in AFTER for number in ERRNOS if name == "publish" or number in ERRNOS[:2]]


@pytest.mark.parametrize(("name", "number"), FAILURES)
def test_a_call_that_fails_is_a_named_error_and_leaves_a_sound_store(base: Path, name: str, number: int) -> None:
    operation, after = AFTER[name]
    for at in range(1, MAX_CALLS):
        root = copy(base, "failing")
        system = failing(at, number)
        try:
            operation(root, system)
        except EvmaotError as error:
            assert isinstance(error, StoreError), error
            assert error.cause or error.hint
        if at > system.calls:
            break
        require_sound(root, after)
    else:
        pytest.fail("the operation never got through")
    require_works(root, operation, after)


@pytest.mark.parametrize("name", AFTER)
def test_a_process_killed_at_any_call_leaves_a_sound_store(base: Path, name: str) -> None:
    operation, after = AFTER[name]
    for at in range(1, MAX_CALLS):
        root = copy(base, "killed")
        try:
            operation(root, KilledSystem(at))
        except Killed:
            require_sound(root, after)
            require_works(root, operation, after)
        else:
            break
    else:
        pytest.fail("the operation never got through")


def test_a_store_whose_creation_was_killed_can_be_created_again(tmp_path: Path) -> None:
    for at in range(1, MAX_CALLS):
        root = tmp_path / f"s{at}"
        try:
            open_store(root, system=KilledSystem(at))
        except Killed:
            open_store(root).publish(*pack("a"))
            assert labels(open_store(root)) == ["a"]
        else:
            break
    else:
        pytest.fail("the store was never created")
    assert at > 20


def lose_power(base: Path, operation: Operation, at: int, loss: str) -> tuple[Path, bool]:
    """The store after a power loss at that call, and whether the operation was done before."""
    root = copy(base, "power")
    system = PowerLossSystem(at)
    done = True
    try:
        operation(root, system)
    except Killed:
        done = False
    if loss in ("lost", "zeroed"):
        system.lose_data(root, zeroed=loss == "zeroed")
    elif loss == "names":
        system.lose_names()
    elif system.unsynced_directories:
        system.lose_names(system.unsynced_directories[at % len(system.unsynced_directories)])
    return root, done


LOSSES = ["lost", "zeroed", "names", "one directory"]
DURABLE = [
    "create", "publish", "publish_batch_full", "publish_other_profile", "publish_with_codes", "remove", "remember",
    "collect", "pin", "unpin",
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", DURABLE)
def test_power_loss_at_any_call_leaves_a_sound_store(base: Path, name: str, loss: str) -> None:
    """What was never synced is lost: the bytes of files, or the names in directories."""
    operation, after = AFTER[name]
    for at in range(1, MAX_CALLS):
        root, done = lose_power(base, operation, at, loss)
        require_sound(root, after)
        if done:
            assert labels(open_store(root)) == after, "what was reported as done survives"
            break
        require_works(root, operation, after)
    else:
        pytest.fail("the operation never got through")


@pytest.mark.parametrize("loss", LOSSES[:3])
def test_without_syncs_a_power_loss_does_damage(base: Path, loss: str) -> None:
    """Were it not so, the test above could not find a missing sync."""

    def publish_unsynced(root: Path, system: System) -> None:
        open_store(root, system=system, durability=Durability.NONE).publish(*pack("new1 new2"))

    for at in range(1, MAX_CALLS):
        root, done = lose_power(base, publish_unsynced, at, loss)
        store = open_store(root)
        if errors(store.verify("hash")) or (done and labels(store) != AFTER["publish"][1]):
            return
        if done:
            break
    pytest.fail("nothing was lost")


def test_a_full_disk_is_named_and_what_was_there_stays(base: Path) -> None:
    root = copy(base, "full")

    class Full(QuickSystem):
        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    store = open_store(root, system=Full(), create=False)
    with pytest.raises(StoreError) as caught:
        store.publish(*pack("new"))
    assert caught.value.reference == "store_full"
    assert caught.value.exit_code == 73
    assert caught.value.hint
    assert labels(open_store(root)) == ["old1", "old2"]
    assert not list(open_store(root).paths.tmp.iterdir())


@pytest.mark.parametrize("name", AFTER)
def test_writes_that_are_cut_short_are_continued(base: Path, name: str) -> None:
    operation, after = AFTER[name]
    operation(base, ShortWriteSystem())
    require_sound(base, after)
    assert labels(open_store(base)) == after


def test_a_pin_that_was_reported_survives_a_power_loss(base: Path) -> None:
    """Else the collector would take after it what the operator was told to be kept."""
    for loss in ("lost", "names"):
        for at in range(1, MAX_CALLS):
            root, done = lose_power(base, pin, at, loss)
            pins, wrong = read_pins(open_store(root).files)
            assert wrong == []
            assert len(pins) == 2 or not done
            if done:
                break


def mend(root: Path, system: System) -> None:
    open_store(root, system=system).publish(*pack("old1 old2"))


@pytest.mark.parametrize("at_once", [True, False])
def test_mending_a_library_can_be_killed_at_any_call(base: Path, at_once: bool) -> None:
    """What repair does: the same bytes are published over the damaged ones, which go aside."""
    for at in range(1, MAX_CALLS):
        root = copy(base, "mended")
        (found,) = open_store(root).packs()
        found.object_path.chmod(0o600)
        found.object_path.write_bytes(b"damaged")
        found.object_path.chmod(0o444)
        try:
            mend(root, KilledSystem(at) if at_once else failing(at, errno.EIO))
        except (Killed, StoreError):
            assert labels(open_store(root)) == ["old1", "old2"], "nothing but the damaged bytes is missing"
            mend(root, QuickSystem())
        else:
            if at_once or at > MAX_CALLS // 4:
                break
        assert errors(open_store(root).verify("hash")) == []
        assert [path.read_bytes() for path in open_store(root).paths.quarantine.rglob("*.so")] == [b"damaged"]
