"""The build: what is compiled, what is not, what becomes of failures, and what lies in the store then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot.build import BuildEvent, BuildReport, EventKind, UnitStatus, build
from evmaot.errors import StoreError, UsageError
from evmaot.evm.keccak import keccak256
from evmaot.inputs.source import ContractSource, Problem
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.removal import Selector
from evmaot.toolchain import UnitOutput
from tests.support import stub_toolchain as stub
from tests.support.fixtures import REPOSITORY
from tests.support.store_samples import (
    QuickSystem,
    errors,
    failing,
    labels,
    open_store,
    profile,
    tree,
)
from tests.support.stub_toolchain import code, request, source, tools


@pytest.fixture
def store(tmp_path: Path) -> ArtifactDirectory:
    return open_store(tmp_path / "store")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One line for each compilation."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("EVMAOT_TEST_NOTES", str(path))
    return path


def run(
    store: ArtifactDirectory | None, *sources: Any, observer: Any = None, of: Any = None, **options: Any
) -> BuildReport:
    return build(request(*sources, **options), store, observer, tools=tools(of))


def statuses(report: BuildReport) -> dict[str, int]:
    return dict(Counter(unit.status.value for unit in report.units))


def compilations(notes: Path) -> int:
    return len(notes.read_text().splitlines())


def sound(store: ArtifactDirectory) -> bool:
    return store.verify("hash") == []


def test_everything_is_compiled_once_and_found_the_second_time(store: ArtifactDirectory, notes: Path) -> None:
    sources = [source(number) for number in range(10)]
    first = run(store, *sources)
    assert statuses(first) == {"compiled": 10}
    assert (first.sources, first.distinct_codes, first.contract_forks, len(first.packs)) == (10, 10, 10, 1)
    assert not first.is_partial
    second = run(store, *sources)
    assert statuses(second) == {"cached": 10}
    assert second.packs == []
    assert compilations(notes) == 10
    assert sound(store)
    for before, after in zip(first.units, second.units, strict=True):
        assert before.code_hash == after.code_hash
        assert before.pack == after.pack == first.packs[0].sha256


def test_a_unit_says_everything_about_itself(store: ArtifactDirectory) -> None:
    report = run(store, source(7), forks="london..osaka")
    (unit,) = report.units
    data = code(7)
    assert unit.code_hash == keccak256(data).hex()
    assert unit.code_size_bytes == len(data)
    assert unit.forks == ("london", "paris", "shanghai", "cancun", "prague", "osaka")
    assert unit.phase_seconds == {"codegen": 0.002}
    assert unit.seconds >= 0.002, "the phases are of the worker's clock, the rest of the builder's, who may hear late"
    assert unit.object_size_bytes > 0
    (entry,) = store.index()
    assert entry.member.code_hash == unit.code_hash
    assert entry.member.forks == unit.forks
    assert entry.member.compile_ms == 2
    assert entry.member.label == "c007"
    assert entry.pack.manifest.origin.kind == "build"


def test_equal_codes_are_one_unit_with_all_its_labels(store: ArtifactDirectory) -> None:
    report = run(store, source(1, label="A"), source(2), source(1, label="B"), source(1, label="A"))
    assert (report.sources, report.distinct_codes, len(report.units)) == (4, 2, 2)
    unit = next(unit for unit in report.units if unit.label == "A")
    assert unit.labels == ("A", "B")
    assert unit.sources == 3


def test_forks_that_a_code_can_not_tell_apart_share_a_unit(store: ArtifactDirectory) -> None:
    report = run(store, source(1), source(2, stub.clz(2)), forks="london..osaka")
    by_label = {label: [unit.forks for unit in report.units if unit.label == label] for label in ("c001", "c002")}
    assert len(by_label["c001"]) == 1
    assert sorted(by_label["c002"]) == [("london", "paris", "shanghai", "cancun", "prague"), ("osaka",)]
    assert report.contract_forks == 12
    assert len(report.units) == 3


def test_a_later_fork_of_equal_rules_is_answered_by_what_is_there(store: ArtifactDirectory, notes: Path) -> None:
    run(store, source(1), forks="london")
    before = tree(store.paths.root)
    report = build(
        request(source(1), forks="osaka"), store, tools=replace(tools(), reachable_opcodes=lambda data: pytest.fail())
    )
    assert statuses(report) == {"cached": 1}
    after = tree(store.paths.root)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert {Path(name).parent.name for name in changed} == {"packs"}, "the manifest notes who needs it"
    assert [entry.member.forks for entry in store.index()] == [("london", "osaka")]
    assert compilations(notes) == 1


def test_another_profile_compiles_anew(store: ArtifactDirectory) -> None:
    run(store, source(1))
    assert statuses(run(store, source(1), of=profile("two"))) == {"compiled": 1}
    assert len(store.packs()) == 2


def test_packs_hold_as_many_as_asked_for(store: ArtifactDirectory) -> None:
    report = run(store, *(source(number) for number in range(10)), pack_size=4)
    assert sorted(pack.members for pack in report.packs) == [2, 4, 4]
    assert sound(store)


def libraries(store: ArtifactDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.paths.objects.rglob("*.so")}


def test_equal_builds_make_equal_libraries_whatever_the_order(tmp_path: Path) -> None:
    sizes = [40, 4000, 13, 900, 77, 12, 20_000]
    sources = [source(number, code(number, size)) for number, size in enumerate(sizes * 3)]
    stores = [open_store(tmp_path / name) for name in ("one", "two", "three")]
    run(stores[0], *sources, jobs=1, pack_size=5)
    run(stores[1], *reversed(sources), jobs=3, pack_size=5)
    # Stored in parts, which the whole packs replace.
    run(stores[2], *sources[::2], *sources[1::2], jobs=2, pack_size=5, flush_seconds=0.001)
    assert libraries(stores[0]) == libraries(stores[1]) == libraries(stores[2])
    assert len(libraries(stores[0])) == 5
    assert all(map(sound, stores))


def test_what_is_compiled_is_stored_before_its_pack_is_full(
    store: ArtifactDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv("EVMAOT_TEST_GATE", str(gate))
    seen: list[list[str]] = []

    def observe(event: BuildEvent) -> None:
        if event.kind is EventKind.PUBLISHED:
            seen.append(labels(open_store(store.paths.root)))
            gate.touch()

    slow = source(9, code(9, first=stub.WAIT))
    report = run(store, slow, source(1), source(2), observer=observe, flush_seconds=0.2)
    assert seen[0] and "c009" not in seen[0]
    assert sorted(set(seen[-1])) == ["c001", "c002", "c009"]
    assert [pack.members for pack in report.packs] == [3]
    assert len(store.packs()) == 1
    assert sound(store), "the parts are gone"


FAILING = {
    "compile_timeout": stub.HANG,
    "compile_crash": stub.CRASH,
    "compile_memory": stub.EAT,
    "stub_refused": stub.ERROR,
}


@pytest.mark.parametrize("reason", FAILING)
def test_a_failure_costs_only_itself_and_is_remembered(store: ArtifactDirectory, notes: Path, reason: str) -> None:
    # Only the hanging one may reach its deadline, however busy the machine is.
    limit = 3.0 if reason == "compile_timeout" else 300.0
    bad = source(5, code(5, first=FAILING[reason]), "bad")
    report = run(store, *map(source, range(4)), bad, timeout_seconds=limit)
    assert statuses(report) == {"compiled": 4, "failed": 1}
    (failed,) = report.failed
    assert (failed.reason, failed.label, failed.remembered) == (reason, "bad", False)
    assert failed.message and failed.code_hash == keccak256(bad.code).hex()
    assert report.is_partial
    assert labels(store) == ["c000", "c001", "c002", "c003"]
    assert sound(store)
    before = compilations(notes)
    again = run(store, *map(source, range(4)), bad, timeout_seconds=limit)
    assert statuses(again) == {"cached": 4, "failed": 1}
    assert (again.failed[0].reason, again.failed[0].remembered) == (reason, True)
    assert again.is_partial
    assert compilations(notes) == before
    run(store, bad, timeout_seconds=limit, force=True)
    assert compilations(notes) == before + 1


def test_a_remembered_failure_is_tried_again_under_higher_limits(store: ArtifactDirectory, notes: Path) -> None:
    bad = source(5, code(5, first=stub.HANG))
    run(store, bad, timeout_seconds=1.0)
    run(store, bad, timeout_seconds=0.5)
    assert compilations(notes) == 1
    assert not run(store, bad, timeout_seconds=1.5).failed[0].remembered
    assert compilations(notes) == 2


def test_success_makes_a_failure_forgotten(store: ArtifactDirectory) -> None:
    bad = source(5, code(5, first=stub.ERROR))
    run(store, bad)
    key = run(store, bad).failed[0].unit_key
    assert store.failure(profile(), key) is not None
    good = replace(tools(), compile_function=compile_anything)
    assert statuses(build(request(bad, force=True), store, tools=good)) == {"compiled": 1}
    assert store.failure(profile(), key) is None


def compile_anything(job: Any) -> Any:
    return UnitOutput(b'["s", "00", "r"]', keccak256(job.code).hex(), {})


@pytest.mark.parametrize(
    ("first", "reason"), [(stub.UNLINKABLE, "stub_unlinkable"), (stub.UNLOADABLE, "self_test_failed")]
)
def test_an_object_that_makes_no_library_costs_only_itself(store: ArtifactDirectory, first: int, reason: str) -> None:
    report = run(store, *map(source, range(6)), source(9, code(9, first=first), "bad"))
    assert statuses(report) == {"compiled": 6, "failed": 1}
    assert [(unit.label, unit.reason) for unit in report.failed] == [("bad", reason)]
    assert labels(store) == [f"c00{number}" for number in range(6)]
    assert sound(store)
    assert store.failure(profile(), report.failed[0].unit_key) is None, "another linker may do it"


def test_problems_of_inputs_are_in_the_report_and_the_rest_goes_on(store: ArtifactDirectory) -> None:
    problem = Problem("odd_hex", "error", "file.hex", "an odd number of digits")
    skip = Problem("no_runtime_code", "skip", "I.json", "an interface")
    bad = [ContractSource(data, "x", "y") for data in (b"", b"\xef\x00", b"\x00" * 49153)]
    report = run(store, problem, source(1), *bad, skip)
    assert [found.code for found in report.problems] == [
        "odd_hex", "empty_code", "invalid_ef_code", "code_too_long", "no_runtime_code",
    ]  # fmt: skip
    assert statuses(report) == {"compiled": 1}
    assert report.is_partial
    assert not run(store, source(1), skip).is_partial


def test_a_dry_run_writes_nothing_and_needs_no_store(store: ArtifactDirectory, notes: Path) -> None:
    run(store, source(1))
    before = tree(store.paths.root)
    report = run(store, source(1), source(2), dry_run=True)
    assert statuses(report) == {"cached": 1, "planned": 1}
    assert tree(store.paths.root) == before
    assert statuses(run(None, source(1), dry_run=True)) == {"planned": 1}
    reader = open_store(store.paths.root, create=False, read_only=True)
    assert statuses(run(reader, source(1), dry_run=True)) == {"cached": 1}
    assert compilations(notes) == 1


def test_force_compiles_what_is_there(store: ArtifactDirectory, notes: Path) -> None:
    sources = [source(number) for number in range(3)]
    run(store, *sources)
    before = libraries(store)
    assert statuses(run(store, *sources, force=True)) == {"compiled": 3}
    assert compilations(notes) == 6
    assert libraries(store) == before
    assert sound(store)


def test_a_library_that_is_gone_is_built_again(store: ArtifactDirectory) -> None:
    run(store, source(1))
    next(store.paths.objects.rglob("*.so")).unlink()
    assert statuses(run(store, source(1))) == {"compiled": 1}
    assert sound(store)


def test_fail_fast_stops_at_the_first_failure_and_keeps_what_is_ready(store: ArtifactDirectory) -> None:
    bad = [source(number, code(number, 3000, first=stub.ERROR)) for number in range(2)]
    report = run(store, *bad, *(source(number) for number in range(10, 60)), jobs=1, fail_fast=True)
    counts = statuses(report)
    assert counts["failed"] == 1
    assert counts["unfinished"] > 40
    assert report.is_partial
    assert sound(store)
    problem = Problem("odd_hex", "error", "file.hex", "an odd number of digits")
    stopped = run(store, problem, source(70), fail_fast=True)
    assert len(stopped.problems) == 1
    assert statuses(stopped) == {}


def test_an_observer_sees_every_step(store: ArtifactDirectory) -> None:
    run(store, source(0))
    events: list[BuildEvent] = []
    bad = source(5, code(5, first=stub.ERROR), "bad")
    run(store, source(0), source(1), source(2), bad, observer=events.append)
    kinds = Counter(event.kind.value for event in events)
    assert kinds == {"planned": 1, "started": 3, "compiled": 2, "failed": 1, "published": 1}
    assert events[0].counts.total == 4
    assert events[0].counts.cached == 1
    last = events[-1].counts
    assert (last.done, last.compiled, last.cached, last.failed, last.published) == (4, 2, 1, 1, 2)
    assert next(event for event in events if event.kind is EventKind.FAILED).reason == "stub_refused"


def test_a_second_interruption_ends_at_once_and_leaves_a_sound_store(store: ArtifactDirectory) -> None:
    def interrupt(event: BuildEvent) -> None:
        if event.kind in (EventKind.COMPILED, EventKind.PUBLISHED):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, *(source(number) for number in range(6)), observer=interrupt, jobs=1)
    assert sound(store)
    assert statuses(run(store, *(source(number) for number in range(6)))) == {"compiled": 5, "cached": 1}


def test_an_interruption_publishes_what_is_ready(
    store: ArtifactDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVMAOT_TEST_GATE", str(tmp_path / "never"))
    seen = 0

    def interrupt(event: BuildEvent) -> None:
        nonlocal seen
        if event.kind is EventKind.COMPILED:
            seen += 1
            if seen == 2:
                raise KeyboardInterrupt

    slow = source(9, code(9, first=stub.WAIT))
    report = run(store, slow, *map(source, range(3)), observer=interrupt)
    assert report.interrupted
    counts = statuses(report)
    assert counts["compiled"] >= 2
    assert counts["unfinished"] >= 1
    assert len(labels(store)) == counts["compiled"]
    assert sound(store)
    monkeypatch.setenv("EVMAOT_TEST_GATE", str(tmp_path))
    again = run(store, slow, *map(source, range(3)))
    assert statuses(again) == {"cached": counts["compiled"], "compiled": counts["unfinished"]}


SCRIPT = """
import sys
from evmaot.build import build
from tests.support.store_samples import open_store
from tests.support.stub_toolchain import request, source, tools
options = eval(sys.argv[2])
report = build(request(*map(source, range(30)), pack_size=4, **options), open_store(sys.argv[1]), tools=tools())
print(report.interrupted, sum(unit.status.value == "compiled" for unit in report.units), flush=True)
"""


def start(store: ArtifactDirectory, options: str = "{}") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(store.paths.root), options]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_two_builders_compile_each_unit_once(store: ArtifactDirectory, notes: Path) -> None:
    builders = [start(store) for _ in range(3)]
    outputs = [builder.communicate(timeout=120)[0].split() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert compilations(notes) == 30
    assert sum(int(compiled) for _, compiled in outputs) == 30
    assert len(labels(store)) == 30
    store.sweep()
    assert sound(store)


def test_a_builder_takes_over_what_a_killed_one_left(store: ArtifactDirectory, notes: Path) -> None:
    while True:
        builder = start(store, "{'jobs': 1, 'flush_seconds': 0.01}")
        while builder.poll() is None and compilations(notes) < 6:
            os.sched_yield()
        builder.send_signal(signal.SIGKILL)
        builder.communicate()
        assert errors(store.verify("hash")) == []
        if compilations(notes) >= 6:
            break
    report = run(store, *map(source, range(30)), pack_size=4)
    assert set(statuses(report)) <= {"cached", "compiled"}
    assert len({entry.member.code_sha256 for entry in store.index()}) == 30
    assert errors(store.verify("hash")) == []


def test_a_store_that_can_not_be_written_is_an_error_of_the_build(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    reader = open_store(tmp_path / "s", create=False, read_only=True)
    with pytest.raises(StoreError) as caught:
        run(reader, source(1))
    assert caught.value.reference == "store_read_only"

    class Full(QuickSystem):
        def create(self, path: str, mode: int = 0o600) -> int:
            raise OSError(28, "No space left on device")

    full = open_store(tmp_path / "s", create=False, system=Full())
    with pytest.raises(StoreError) as caught:
        run(full, source(1))
    assert caught.value.reference == "store_full"
    assert sound(store)


def test_any_failing_call_of_the_store_leaves_it_sound(tmp_path: Path) -> None:
    root = tmp_path / "s"
    open_store(root)
    for at in (20, 33, 47, 61, 75):
        store = open_store(root, create=False, system=failing(at, 5))
        try:
            run(store, source(at), jobs=1)
        except StoreError as error:
            assert error.reference
        assert errors(open_store(root).verify("hash")) == []
    report = run(open_store(root), *map(source, (20, 33, 47, 61, 75)))
    assert set(statuses(report)) <= {"cached", "compiled"}


@pytest.mark.parametrize(
    "options", [{"pack_size": 0}, {"pack_size": 4097}, {"jobs": 0}, {"timeout_seconds": 0.0}, {"memory_limit_bytes": 0}]
)
def test_options_out_of_range_are_refused(store: ArtifactDirectory, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        run(store, source(1), **options)
    assert caught.value.reference == "bad_build_option"


def test_a_build_waits_for_who_clears(store: ArtifactDirectory) -> None:
    from evmaot.errors import BusyError

    with open_store(store.paths.root).exclusive_lock(), pytest.raises(BusyError):
        run(store, source(1))
    run(store, source(1))
    store.clear(Selector(everything=True))
    assert statuses(run(store, source(1))) == {"compiled": 1}


def test_large_batches_need_no_more_than_one_look_at_known_codes(store: ArtifactDirectory) -> None:
    """A build with nothing to do neither decodes nor hashes code with keccak."""
    sources = [source(number) for number in range(300)]
    run(store, *sources)
    blind = replace(tools(), reachable_opcodes=lambda data: pytest.fail("decoded"))
    report = build(request(*sources, forks="london..osaka"), store, tools=blind)
    assert statuses(report) == {"cached": 300}
    assert all(unit.status is UnitStatus.CACHED and unit.code_hash for unit in report.units)
