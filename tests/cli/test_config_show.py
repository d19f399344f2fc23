"""`evmaot config show` and `evmaot path`."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot import config
from tests.cli.conftest import Cli


def test_every_setting_is_shown(cli: Cli) -> None:
    lines = cli("config", "show").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [row.key for row in config.ROWS.values()]


def test_origin_names_variable_file_and_flag(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "evmaot.toml").write_text('build = {forks = ["london..osaka"]}\n')
    monkeypatch.setenv("EVMAOT_JOBS", "3")
    document = cli("config", "show", "--json", "--store", "x").document
    settings = {row["key"]: row for row in document["data"]["settings"]}
    assert settings["build.forks"]["value"] == ["london..osaka"]
    assert settings["build.forks"]["origin"] == {"kind": "project", "detail": str(home / "evmaot.toml")}
    assert settings["build.jobs"]["origin"] == {"kind": "environment", "detail": "EVMAOT_JOBS"}
    assert settings["store.path"]["origin"]["kind"] == "flag"
    assert settings["build.timeout"]["text"] == "5m"
    text = cli("config", "show", "--origin")
    assert "environment EVMAOT_JOBS" in text.out
    assert f"read: {home / 'evmaot.toml'} (project)" in text.err


def test_one_key_and_an_unknown_one(cli: Cli) -> None:
    assert cli("config", "show", "build.jobs").out.splitlines()[1].split()[:2] == ["build.jobs", "0"]
    result = cli("config", "show", "build.job")
    assert result.code == 2
    assert "did you mean 'build.jobs'?" in result.err


def test_path_prints_places_without_making_them(cli: Cli, home: Path) -> None:
    store = home.parent / "cache" / "evmaot" / "store"
    assert cli("path").out == f"{store}\n"
    assert not store.exists()
    assert cli("path", "config").out == f"{home.parent / 'user' / 'evmaot' / 'config.toml'}\n"
    assert cli("path", "project").out == ""
    data = cli("path", "--json").document["data"]
    assert data["store"] == {"path": str(store), "exists": False}
