"""An operator's day: build in CI, pin, upgrade, look, explain, verify, damage, repair, collect, share, clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evmaot.evm.keccak import keccak256
from evmaot.store.system import System
from tests.cli.conftest import ADDING_CODE, PUSH0_CODE, Cli
from tests.cli.upgrades import upgrade

PUSH0_HASH = "0x" + keccak256(bytes.fromhex(PUSH0_CODE)).hex()


def data(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = cli(*arguments, "--json")
    assert result.code == code, result.err
    found: dict[str, Any] = result.document["data"]
    return found


def libraries(store: Path) -> list[Path]:
    return sorted((store / "v1" / "objects").glob("*/*.so"))


def test_an_operators_day(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = home.parent / "ci"
    monkeypatch.setenv("EVMAOT_STORE", str(store))
    monkeypatch.setenv("EVMAOT_OPT", "fast")
    (home / "codes.txt").write_text(f"0x{PUSH0_CODE}\n0x{ADDING_CODE}\n")

    # In CI: build for a range of forks, and pin what is released.
    built = data(cli, "build", "--fork", "paris..osaka", "--pin", "release", "codes.txt")
    assert (built["counts"]["compiled"], built["counts"]["failed"]) == (3, 0)
    assert data(cli, "build", "--fork", "paris..osaka", "codes.txt")["counts"]["cached"] == 3
    (old,) = libraries(store)
    assert [pin["name"] for pin in data(cli, "pins")["pins"]] == ["release"]
    assert {row["fork"]: row["contracts"] for row in data(cli, "ls")["profiles"]}["osaka"] == 2

    # The compiler is upgraded: what is there does not load any more, and each command says why.
    upgrade(monkeypatch)
    assert {row["not_loadable"] for row in data(cli, "ls")["profiles"]} == {"profile_other"}
    why = data(cli, "explain", PUSH0_HASH, "--fork", "osaka")
    assert (why["lookup"]["reason"], why["build"]["reason"]) == ("profile_other", "profile_differs")
    assert why["build"]["first_difference"]["field"] == "llvm version"
    assert data(cli, "preload", "--check", code=6)["programs"] == 0
    assert data(cli, "stats")["stale"]["artifacts"] == 3
    assert data(cli, "build", "--fork", "paris..osaka", "codes.txt")["counts"]["compiled"] == 3
    (new,) = [path for path in libraries(store) if path != old]
    assert data(cli, "explain", PUSH0_HASH, "--fork", "osaka")["lookup"]["outcome"] == "hit"
    assert {row["stale"] for row in data(cli, "ls")["profiles"]} == {None, "llvmlite"}
    assert data(cli, "verify")["errors"] == 0

    # A disk flips a bit: it is found, never loaded, and mended.
    damaged = bytearray(new.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    new.chmod(0o644)
    new.write_bytes(damaged)
    new.chmod(0o444)
    assert cli("verify").code == 4
    assert data(cli, "explain", PUSH0_HASH)["lookup"]["reason"] == "hash_mismatch"
    assert data(cli, "preload", "--check", code=6)["programs"] == 0
    repair(cli)
    assert data(cli, "verify")["errors"] == 0
    assert data(cli, "preload", "--check")["programs"] == 3

    # The collector takes what is stale an hour later, but not what is pinned.
    now = System.now_seconds
    monkeypatch.setattr(System, "now_seconds", lambda self: now(self) + 2 * 3600)
    assert data(cli, "gc", "--stale")["removed"] == []
    assert cli("unpin", "release").code == 0
    gone = data(cli, "gc", "--stale")
    assert [pack["pack"] for pack in gone["removed"]] == [old.stem]
    assert old not in libraries(store)
    assert data(cli, "stats")["stale"]["artifacts"] == 0
    assert data(cli, "preload", "--check")["programs"] == 3

    share(cli, home, store, monkeypatch)

    assert cli("clear", "--all").code == 2, "nobody is there to ask"
    assert data(cli, "clear", "--all", "--yes")["artifacts_removed"] == 3
    assert libraries(store) == []
    assert cli("ls", "--error-if-empty").code == 7


def repair(cli: Cli) -> None:
    """Quarantine what is damaged, and compile it again."""
    from evmaot.cli.verbs.verify import command

    if any("--repair" in parameter.opts for parameter in command.params):
        assert cli("verify", "--repair").code == 0
    else:
        assert cli("build", "--force", "--fork", "paris..osaka", "codes.txt").code == 0


def share(cli: Cli, home: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export and sign, import on a clean machine, and load there."""
    assert cli("keygen", "ci.key").code == 0
    assert cli("export", "artifacts.tar", "--sign", "ci.key").code == 0
    clean = home.parent / "clean"
    with monkeypatch.context() as machine:
        machine.setenv("HOME", str(clean))
        machine.setenv("XDG_CACHE_HOME", str(clean / "cache"))
        machine.setenv("XDG_CONFIG_HOME", str(clean / "config"))
        machine.delenv("EVMAOT_STORE")
        assert cli("import", "artifacts.tar").code == 77, "no key is trusted"
        assert cli("keygen", "stranger.key").code == 0
        assert cli("import", "--key", "stranger.key.pub", "artifacts.tar").code == 5, "another key"
        assert len(data(cli, "import", "--key", "ci.key.pub", "artifacts.tar")["new"]) == 1
        assert data(cli, "import", "--key", "ci.key.pub", "artifacts.tar")["new"] == []
        assert data(cli, "verify")["errors"] == 0
        assert data(cli, "preload", "--check")["programs"] == 3
        assert data(cli, "explain", PUSH0_HASH)["lookup"]["outcome"] == "hit"
        assert data(cli, "run", "0x" + ADDING_CODE, "--fork", "osaka")["programs"]["compiled"] == 0
        (imported,) = libraries(clean / "cache" / "evmaot" / "store")
        assert imported.read_bytes() == libraries(store)[0].read_bytes()
        assert data(cli, "clear", "--all", "--yes")["artifacts_removed"] == 3
