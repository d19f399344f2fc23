"""Stores below the store, and stores that can't be written: they are read, and nothing else (P8)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evmaot.build import BuildReport, UnitStatus, build
from evmaot.errors import StoreError
from evmaot.runtime import open_runtime
from evmaot.store.directory import ArtifactDirectory
from tests.support.store_samples import open_store, tree
from tests.support.stub_toolchain import request, source, tools


def run(store: ArtifactDirectory, numbers: range, *layers: ArtifactDirectory, force: bool = False) -> BuildReport:
    return build(request(*map(source, numbers), force=force), store, layers=layers, tools=tools())


def test_a_build_compiles_what_no_layer_has_and_writes_to_its_own_store(tmp_path: Path) -> None:
    base, middle, store = (open_store(tmp_path / name) for name in ("base", "middle", "top"))
    run(base, range(3))
    run(middle, range(2, 5), open_store(base.paths.root))
    before = tree(tmp_path / "base"), tree(tmp_path / "middle")
    layers = [open_store(tmp_path / name, create=False, read_only=True) for name in ("middle", "base")]
    report = run(store, range(7), *layers)
    assert (report.count(UnitStatus.CACHED), report.count(UnitStatus.COMPILED)) == (5, 2)
    assert len(store.index()) == 2
    assert (tree(tmp_path / "base"), tree(tmp_path / "middle")) == before
    assert run(store, range(7), *layers).count(UnitStatus.CACHED) == 7
    assert run(store, range(7), *layers, force=True).count(UnitStatus.COMPILED) == 7


def test_a_layer_without_its_library_is_not_counted_on(tmp_path: Path) -> None:
    base, store = open_store(tmp_path / "base"), open_store(tmp_path / "top")
    run(base, range(2))
    for library in base.paths.objects.rglob("*.so"):
        library.unlink()
    assert run(store, range(2), base).count(UnitStatus.COMPILED) == 2


def test_a_store_opened_read_only_is_left_as_it_is(tmp_path: Path) -> None:
    run(open_store(tmp_path / "s"), range(2))
    shutil.rmtree(tmp_path / "s" / "locks")
    before = tree(tmp_path / "s")
    store = open_store(tmp_path / "s", create=False, read_only=True)
    with store.shared_lock():
        assert len(store.index()) == 2
    assert store.verify("trust") == []
    for write in (
        lambda: run(store, range(3)),
        lambda: store.pin("x", []),
        lambda: store.unpin("x"),
        lambda: store.sweep(),
        lambda: store.quarantine(store.packs()[0]),
    ):
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.reference == "store_read_only"
    assert tree(tmp_path / "s") == before


# Real mounts.


def mount(target: Path, options: str) -> None:
    """A small file system of its own at `target`; skips where that is not allowed."""
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "evmaot-test", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a test may mount; unmounted afterwards."""
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], capture_output=True)


def remount(target: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)


SMALL = "size=16m,mode=0700"


def test_a_full_disk_is_named_and_loses_nothing(disk: Path) -> None:
    """A real one: every build that does not fit fails by name, and leaves what was there."""
    mount(disk, "size=192k,mode=0700")
    store = open_store(disk / "s")
    stored, reference = 0, ""
    for number in range(200):
        try:
            run(store, range(4 * number, 4 * number + 4))
            stored += 4
        except StoreError as error:
            assert error.exit_code == 73
            assert error.hint
            reference = error.reference
            break
    assert reference == "store_full"
    assert stored
    assert len(store.index()) == stored
    found = open_store(disk / "s", create=False)
    assert [finding for finding in found.verify("hash") if finding.severity.value == "error"] == []
    from evmaot.store.removal import Selector

    found.clear(Selector(pattern="c00*"))
    assert run(found, range(2)).count(UnitStatus.COMPILED) == 2, "there is room again"


def test_a_read_only_mount_is_read_and_a_build_says_so(disk: Path) -> None:
    mount(disk, SMALL)
    run(open_store(disk / "s"), range(2))
    remount(disk, "ro")
    store = open_store(disk / "s", create=False, read_only=True)
    assert len(store.index()) == 2
    assert store.verify("trust") == []
    top = open_store(disk.parent / "top")
    assert run(top, range(3), store).count(UnitStatus.CACHED) == 2
    with pytest.raises(StoreError) as caught:
        run(open_store(disk / "s", create=False), range(3))
    assert caught.value.reference == "store_not_writable"
    assert caught.value.exit_code == 73


REAL_BUILD = """
import sys
from evmaot.build import BuildRequest, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import forks_selected
from evmaot.inputs.source import ContractSource
from evmaot.store.directory import ArtifactDirectory
sources = [ContractSource(bytes.fromhex("600100"), "c", "test")]
request = BuildRequest(sources, forks_selected("osaka"), CompileOptions(Tier.FAST))
assert not build(request, ArtifactDirectory.open(sys.argv[1], create=True)).is_partial
"""


def test_on_a_noexec_mount_a_load_is_a_named_miss_and_a_copy_works(disk: Path) -> None:
    mount(disk, SMALL)
    subprocess.run([sys.executable, "-c", REAL_BUILD, str(disk / "s")], check=True, timeout=120)
    remount(disk, "noexec")
    assert dict(open_runtime(disk / "s").statistics().skipped) == {"noexec_mount": 1}
    assert len(open_runtime(disk / "s", mapping="copy")) == 1
    store = ArtifactDirectory.open(disk / "s", read_only=True)
    found = [(finding.code, finding.severity.value) for finding in store.verify("trust")]
    assert found == [("noexec_mount", "unchecked")]
    from evmaot.verify import verify

    assert "noexec_mount" in {finding.code for finding in verify(store, "load")}
