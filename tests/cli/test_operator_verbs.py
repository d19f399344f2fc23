"""`stats`, `preload` and `doctor` on stores in every state."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.cli import checks
from evmaot.cli.checks import Check, Health
from evmaot.cli.stores import not_loaded_hint
from evmaot.store.manifest import parse, to_json
from tests.cli.conftest import ADDING_CODE, Cli
from tests.cli.stores import PROFILE, publish
from tests.cli.upgrades import upgrade
from tests.support.store_samples import tree


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home.parent / "store"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    publish(path)
    return path


def library_of(store: Path) -> Path:
    (path,) = (store / "v1" / "objects").glob("*/*.so")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def test_stats_sums_up_by_profile_tier_and_fork(cli: Cli, store: Path) -> None:
    publish(store, profile=dataclasses.replace(PROFILE, tier="fast"))
    data = cli("stats", "--json").document["data"]
    assert (data["contracts"], data["artifacts"], data["packs"], data["libraries"]) == (3, 6, 2, 2)
    assert data["code_bytes"] == len(b"token" + b"the vault" + b"c")
    assert data["size_bytes"] == sum(path.stat().st_size for path in (store / "v1" / "objects").glob("*/*.so"))
    assert [(row["tier"], row["artifacts"]) for row in data["tiers"]] == [("fast", 3), ("optimised", 3)]
    assert {row["fork"]: (row["artifacts"], row["built_for"]) for row in data["forks"]}["osaka"] == (6, 6)
    assert {row["fork"]: (row["artifacts"], row["built_for"]) for row in data["forks"]}["london"] == (4, 2)
    assert data["stale"] == {"artifacts": 0, "size_bytes": 0}
    publish(store, profile=dataclasses.replace(PROFILE, compiler="0" * 64))
    assert cli("stats", "--json").document["data"]["stale"]["artifacts"] == 3


def test_stats_counts_what_lies_beside_the_packs(cli: Cli, store: Path) -> None:
    stray = store / "v1" / "objects" / "ab" / ("ab" * 32 + ".so")
    stray.parent.mkdir(mode=0o700, exist_ok=True)
    stray.write_bytes(b"12345")
    (store / "v1" / "tmp" / f"1-{'0' * 16}").write_bytes(b"123")
    (store / "v1" / "pins" / "release.json").write_text("{}")
    moved = store / "v1" / "quarantine" / f"20250101T000000Z-{'0' * 64}"
    moved.mkdir(mode=0o700)
    (moved / "damaged.so").write_bytes(b"1234567")
    data = cli("stats", "--json").document["data"]
    assert data["unreferenced"] == {"count": 1, "size_bytes": 5}
    assert data["left_over"] == {"count": 1, "size_bytes": 3}
    assert data["quarantine"] == {"count": 1, "size_bytes": 7}
    assert data["pins"] == ["release"]
    text = cli("stats").out
    assert "unreferenced: 1 library, 5 B" in text
    assert "quarantine:   1 pack, 7 B" in text


def test_stats_groups_forks_that_have_the_same_numbers(cli: Cli, store: Path) -> None:
    lines = cli("stats").out.splitlines()
    assert any(line.startswith("paris..prague ") for line in lines)


def test_stats_reads_no_library(cli: Cli, store: Path) -> None:
    library_of(store).unlink()
    assert cli("stats").code == 0


def test_what_lists_takes_a_store_that_is_not_there_for_an_empty_one(cli: Cli) -> None:
    for arguments in (("ls",), ("stats",), ("pins",), ("doctor",)):
        result = cli(*arguments)
        assert (result.code, "hint: " in result.out + result.err) == (0, True), arguments
    data = cli("stats", "--json").document["data"]
    assert (data["artifacts"], data["store"]["id"]) == (0, None)
    assert not Path(data["store"]["path"]).exists()


def test_a_part_that_repair_could_only_move_aside_is_told_by_the_exit_status(cli: Cli, real_store: Path) -> None:
    for path in [*real_store.glob("v1/codes/*/*.codes"), *real_store.glob("v1/objects/*/*.so")]:
        path.chmod(0o644)
        path.write_bytes(b"damaged")
    result = cli("verify", "--repair")
    assert (result.code, "[lost]" in result.err) == (4, True)
    assert cli("verify").code == 0


def test_a_damaged_pin_says_how_to_get_rid_of_it(cli: Cli, real_store: Path) -> None:
    assert cli("pin", "release", "--all").code == 0
    (real_store / "v1" / "pins" / "release.json").write_text("{")
    hint = "evmaot unpin release removes it; evmaot pin release ... makes it again"
    assert hint in cli("pins").err
    assert [row["hint"] for row in cli("verify", "--json").document["problems"]] == [hint]


def test_a_mount_without_execution_is_no_case_for_repair() -> None:
    assert "repair" not in not_loaded_hint("noexec_mount")
    assert "repair" not in not_loaded_hint("store_untrusted")
    assert not_loaded_hint("hash_mismatch") == "evmaot verify --repair"


@pytest.mark.parametrize("arguments", [("--sort", "length"), ("--limit", "1")])
def test_orders_and_limits_of_contracts_are_not_ignored_where_there_are_none(
    cli: Cli, arguments: tuple[str, str]
) -> None:
    result = cli("ls", *arguments)
    assert (result.code, "[needs_contracts]" in result.err) == (2, True)
    assert f"hint: evmaot ls --contracts {' '.join(arguments)}" in result.err


def test_an_import_of_nothing_makes_no_store(cli: Cli, home: Path) -> None:
    result = cli("import", "--allow-unsigned", "absent.tar")
    assert (result.code, "[unreadable_file]" in result.err) == (2, True)
    assert not cli("path", "--json").document["data"]["store"]["exists"]


def test_an_export_to_a_directory_that_is_a_file_is_refused(cli: Cli, real_store: Path, home: Path) -> None:
    (home / "file").write_text("mine")
    for place in ("file", "file/below"):
        result = cli("export", "--directory", place)
        assert (result.code, "[not_a_directory]" in result.err) == (2, True)
    assert (home / "file").read_text() == "mine"


def test_preload_loads_what_the_runtime_loads_and_leaves_nothing_behind(cli: Cli, real_store: Path) -> None:
    before = tree(real_store)
    for mapping in ("file", "copy"):
        data = cli("preload", "--check", "--mapping", mapping, "--json").document["data"]
        assert (data["programs"], data["contracts"], data["libraries"], data["skipped"]) == (2, 2, 1, [])
        assert list(data["seconds"]) == ["import", "open", "read", "index", "load", "total"]
    assert tree(real_store) == before
    assert "everything for this machine was loaded" in cli("preload", "--check").err


def test_preload_works_on_a_store_that_nobody_can_write(cli: Cli, real_store: Path) -> None:
    for path in [*real_store.rglob("*"), real_store]:
        if path.is_dir():
            path.chmod(0o500)
    try:
        assert cli("preload", "--check", "--read-only").code == 0
    finally:
        for path in [real_store, *real_store.rglob("*")]:
            if path.is_dir():
                path.chmod(0o700)


def test_preload_names_what_is_refused_and_exits_with_6(cli: Cli, real_store: Path) -> None:
    flip(library_of(real_store))
    result = cli("preload", "--check")
    assert result.code == 6
    assert "hash_mismatch" in result.out
    assert "effect: " in result.err
    assert "hint: evmaot verify --repair" in result.err
    document = cli("preload", "--check", "--json").document
    assert (document["ok"], [problem["code"] for problem in document["problems"]]) == (False, ["hash_mismatch"])


def test_artifacts_for_other_machines_are_no_failure_of_a_preload(cli: Cli, real_store: Path) -> None:
    publish(real_store, profile=dataclasses.replace(PROFILE, features=("no_such_feature",)))
    result = cli("preload", "--check")
    assert (result.code, "isa_missing:no_such_feature 1" in result.out) == (0, True)
    assert "no_such_feature code" not in result.out
    assert "isa_missing:no_such_feature  v1/objects/" in cli("preload", "--check", "-v").out


def test_preload_of_one_profile(cli: Cli, real_store: Path) -> None:
    (profile,) = (path.name for path in (real_store / "v1" / "profiles").iterdir())
    assert cli("preload", "--check", "--profile", profile[:6], "--json").document["data"]["programs"] == 2
    assert "[not_in_store]" in cli("preload", "--check", "--profile", "ffffffffffff").err


def test_preload_without_a_store_is_an_error(cli: Cli) -> None:
    assert cli("preload", "--check").code == 73


def rows(cli: Cli, *arguments: str) -> dict[str, dict[str, str]]:
    document = cli("doctor", *arguments, "--json").document
    return {row["name"]: row for row in document["data"]["checks"]}


def test_doctor_compiles_and_runs_a_contract(cli: Cli, store: Path) -> None:
    found = rows(cli)
    assert found["compiler"]["health"] == "ok"
    assert {"python", "llvm", "cpu", "limits", "store", "file system", "disk", "clock", "linker"} <= set(found)
    assert "stale" not in found
    publish(store, profile=dataclasses.replace(PROFILE, compiler="0" * 64))
    assert rows(cli)["stale"]["hint"]
    assert cli("doctor").code == 0


def test_doctor_without_a_store_says_how_to_make_one(cli: Cli) -> None:
    found = rows(cli)
    assert (found["store"]["health"], "evmaot build" in str(found["store"]["hint"])) == ("note", True)


def test_doctor_finds_a_store_that_others_can_write_to(cli: Cli, store: Path) -> None:
    store.chmod(0o777)
    result = cli("doctor")
    assert result.code == 77
    assert "its mode 0777 lets others write to it" in result.out
    assert "hint: " in result.out


def test_doctor_finds_damaged_manifests(cli: Cli, store: Path) -> None:
    (manifest,) = (store / "v1" / "profiles").glob("*/packs/*.json")
    manifest.write_text("{")
    assert cli("doctor").code == 4
    assert rows(cli)["manifests"]["hint"] == "evmaot verify"


def test_doctor_names_who_holds_a_lock(cli: Cli, store: Path) -> None:
    program = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(store / "locks" / "store.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        row = rows(cli)["locks"]
        assert f"store.lock by {Path(sys.executable).resolve().name[:6]}" in row["message"]
        assert str(holder.pid) in row["message"]
        holder.communicate(b"")
    assert rows(cli)["locks"]["message"] == "none held"


def test_doctor_finds_a_clock_behind_the_store(cli: Cli, store: Path) -> None:
    (packs,) = (store / "v1" / "profiles").glob("*/packs")
    os.utime(packs, (4_000_000_000, 4_000_000_000))
    assert rows(cli)["clock"]["health"] == "warning"


@pytest.mark.parametrize(("is_there", "health"), [(True, "ok"), (False, "warning")])
def test_doctor_tells_users_of_hosts_about_coincurve(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, is_there: bool, health: str
) -> None:
    monkeypatch.setattr(checks, "_installed", lambda module: module == "eth" or (is_there and module == "coincurve"))
    row = rows(cli)["coincurve"]
    assert row["health"] == health
    assert is_there or row["hint"] == "python -m pip install coincurve"


def test_doctor_survives_a_check_that_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Check:
        raise RuntimeError("boom")

    monkeypatch.setattr(checks, "_space", broken)
    assert "could not check: RuntimeError: boom" in rows(cli)["broken"]["message"]


def test_doctor_finds_a_full_disk(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(store)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    result = cli("doctor")
    assert (result.code, "hint: evmaot gc" in result.out) == (73, True)
    assert Health("error") is Health.ERROR
    assert not json.loads(cli("doctor", "--json").out)["ok"]


def test_what_a_wrong_code_hash_means_is_said_as_it_is(cli: Cli, real_store: Path) -> None:
    """It is no damage of the library, which a look-up by hash alone would find under the wrong hash."""
    (path,) = (real_store / "v1").rglob("packs/*.json")
    manifest = parse(path.read_bytes())
    first = manifest.members[0]._replace(code_hash="ab" * 32)
    path.write_bytes(to_json(dataclasses.replace(manifest, members=(first, *manifest.members[1:]))))
    result = cli("verify")
    assert (result.code, "[member_mismatch]" in result.out) == (4, True)
    assert "a look-up by code hash alone may find other code" in result.err
    assert "never loaded" not in result.err
    assert cli("verify", "--repair").code == 0
    assert parse(path.read_bytes()) == manifest


def test_explain_finds_what_a_layer_has_where_there_is_no_store(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("adding.hex").write_text(ADDING_CODE)
    assert cli("--store", "layer", "build", "adding.hex", "--fork", "osaka").code == 0
    monkeypatch.setenv("EVMAOT_STORE_PATH", str(Path("layer").absolute()))
    found = cli("--store", "none", "explain", "adding.hex", "--fork", "osaka", "--json").document["data"]
    assert found["lookup"]["outcome"] == "hit"


def test_preload_does_not_say_that_all_is_well_where_an_upgrade_left_nothing_to_load(
    cli: Cli, real_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(monkeypatch)
    result = cli("preload", "--check")
    told = result.err
    assert result.code == 6
    assert "everything" not in told
    assert "nothing was loaded" in told
    assert "hint: evmaot ls says" in told


def test_an_empty_store_is_no_failure_of_preload(cli: Cli, real_store: Path) -> None:
    assert cli("clear", "--all", "--yes").code == 0
    result = cli("preload", "--check")
    assert (result.code, "nothing was loaded" in result.err) == (0, True)
