"""Configuration: the order of its sources, what a project may set, and texts of sizes and durations."""

from __future__ import annotations

import errno
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from evmaot import config, config_values
from evmaot.errors import UsageError


def load(directory: Path, file: Path | None = None, **environment: str) -> config.Configuration:
    return config.load({}, environment, directory, file)


@pytest.fixture(autouse=True)
def _own_homes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / ".git").mkdir(parents=True)
    return directory


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GiB", 10 << 30), ("1.5 KiB", 1536), ("512", 512), (7, 7), ("2kB", 2000), ("3 MB", 3_000_000), ("1g", 1 << 30)],
)
def test_sizes_are_read_with_their_unit(text: object, size: int) -> None:
    assert config_values.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", -1, True, "1 XiB", "1,5GiB", 1.5, None, "0x10"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        config_values.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7_776_000), ("1h30m", 5400), ("500ms", 0.5), (2, 2), ("2.5", 2.5), ("15 min", 900), ("1d 1s", 86401)],
)
def test_durations_are_read_with_their_unit(text: object, seconds: float) -> None:
    assert config_values.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1s", -1, True, "1y", "1h30", "one", None, float("inf"), float("nan")])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        config_values.parse_duration(text)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1500, 1 << 20, 3 << 30, (1 << 40) + 1])
def test_a_spelled_size_reads_back(size: int) -> None:
    assert config_values.parse_size(config_values.spell_size(size)) == size


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 59.0, 60.0, 90.0, 3600.0, 86400.0, 86401.0])
def test_a_spelled_duration_reads_back(seconds: float) -> None:
    assert config_values.parse_duration(config_values.spell_duration(seconds)) == seconds


def test_every_setting_has_a_row_with_its_own_key_and_variable() -> None:
    rows = list(config.ROWS.values())
    assert {item.name for item in fields(config.Settings)} == set(config.ROWS)
    assert len({row.key for row in rows}) == len(rows) == len({row.variable for row in rows})
    assert all(row.variable.startswith("EVMAOT_") and row.document for row in rows)


def test_every_default_passes_its_own_parser() -> None:
    settings = config.Settings()
    for name, row in config.ROWS.items():
        value = getattr(settings, name)
        if value != ():
            assert row.parse(config.spelled(name, value)) == value, name


def test_defaults_without_files_and_variables(project: Path, tmp_path: Path) -> None:
    found = load(project)
    assert found.settings.store == tmp_path / "cache" / "evmaot" / "store"
    assert {origin.kind for origin in found.origins.values()} == {"default"}
    assert found.files == ()


def test_the_stronger_source_wins(project: Path, tmp_path: Path) -> None:
    write(tmp_path / "system/evmaot/config.toml", 'build = {jobs = 1, timeout = "1s", opt = "fast", pack_size = 1}\n')
    write(tmp_path / "user/evmaot/config.toml", 'build = {jobs = 2, timeout = "2s", opt = "optimised"}\n')
    write(project / "evmaot.toml", 'build = {jobs = 3, timeout = "3s"}\n')
    found = config.load({"keep_going": False}, {"EVMAOT_JOBS": "4", "EVMAOT_KEEP_GOING": "yes"}, project)
    settings = found.settings
    assert (settings.keep_going, settings.jobs, settings.timeout_seconds, settings.tier, settings.pack_size) == (
        False, 4, 3.0, "optimised", 1,
    )  # fmt: skip
    origins = found.origins
    names = ("keep_going", "jobs", "timeout_seconds", "tiers", "pack_size", "color")
    assert [origins[name].kind for name in names] == [
        "flag", "environment", "project", "user", "system", "default",
    ]  # fmt: skip
    assert origins["jobs"].detail == "EVMAOT_JOBS"
    assert origins["timeout_seconds"].detail == str(project / "evmaot.toml")


def test_an_explicit_file_replaces_all_files(project: Path, tmp_path: Path) -> None:
    write(project / "evmaot.toml", "build = {jobs = 3}\n")
    other = write(tmp_path / "other.toml", 'store = {path = "here"}\n')
    for found in (load(project, other), load(project, EVMAOT_CONFIG=str(other))):
        assert found.settings.jobs == 0
        assert found.settings.store == tmp_path / "here"


def test_the_project_file_is_found_from_below_and_not_beyond_the_repository(project: Path, tmp_path: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    write(tmp_path / "evmaot.toml", "build = {jobs = 9}\n")
    assert config.project_file(below) is None
    write(project / "evmaot.toml", "build = {jobs = 3}\n")
    assert config.project_file(below) == project / "evmaot.toml"


def test_inputs_of_a_file_are_relative_to_the_file(project: Path) -> None:
    below = project / "a"
    below.mkdir()
    write(project / "evmaot.toml", 'build = {inputs = ["out", "@list.txt", "-"]}\n')
    assert load(below).settings.inputs == (str(project / "out"), f"@{project / 'list.txt'}", "-")


@pytest.mark.parametrize("name", [name for name, row in config.ROWS.items() if not row.in_project])
def test_a_project_file_cannot_set_what_is_not_the_projects(name: str, project: Path) -> None:
    section, _, key = config.ROWS[name].key.partition(".")
    value = config.spelled(name, getattr(config.Settings(), name))
    write(project / "evmaot.toml", f'[{section}]\n{key} = "{value}"\n')
    with pytest.raises(UsageError) as caught:
        load(project)
    assert caught.value.reference == "config_unsafe_key"
    assert config.ROWS[name].variable in str(caught.value.hint)


def test_the_store_and_the_linker_are_not_the_projects_to_choose() -> None:
    forbidden = {row.key for row in config.ROWS.values() if not row.in_project}
    assert forbidden >= {"store.path", "store.read_only", "store.lock_timeout", "build.linker"}


@pytest.mark.parametrize(
    ("text", "reference", "hint"),
    [
        ("build = {job = 3}", "config_unknown_key", "did you mean 'build.jobs'?"),
        ("build = {tiers = 3}", "config_unknown_key", "did you mean 'build.opt'?"),
        ("colour = 3", "config_unknown_key", "output.color"),
        ('zzzzzz = "x"', "config_unknown_key", "evmaot config show"),
        ("build = {jobs = -1}", "config_bad_value", "build.jobs"),
        ("build = {jobs = true}", "config_bad_value", "build.jobs"),
        ("build = {jobs = 1.5}", "config_bad_value", "build.jobs"),
        ('build = {opt = "faster"}', "config_bad_value", "build.opt"),
        ('build = {timeout = "soon"}', "config_bad_value", "build.timeout"),
        ("build = {forks = [1]}", "config_bad_value", "build.forks"),
        ("build = 3", "config_unknown_key", ""),
        ("build = {", "config_syntax", "man config"),
    ],
)
def test_a_bad_file_names_the_key_the_file_and_what_to_do(text: str, reference: str, hint: str, project: Path) -> None:
    path = write(project / "evmaot.toml", text + "\n")
    with pytest.raises(UsageError) as caught:
        load(project)
    assert caught.value.reference == reference
    assert caught.value.context["subject"] == str(path)
    assert hint in str(caught.value.hint)


def test_a_bad_variable_names_the_variable(project: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(project, EVMAOT_TIMEOUT="soon")
    assert caught.value.context["subject"] == "EVMAOT_TIMEOUT"
    assert "not a duration" in str(caught.value.cause)


def test_an_empty_variable_is_no_value(project: Path) -> None:
    assert load(project, EVMAOT_JOBS="").origins["jobs"].kind == "default"


def test_a_missing_explicit_file_is_an_error(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(project, tmp_path / "absent.toml")
    assert caught.value.reference == "config_unreadable"


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"])
def test_a_file_that_may_be_there_but_cannot_be_looked_at_is_told(
    monkeypatch: pytest.MonkeyPatch, project: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, f"/{'n' * 300}")
    with pytest.raises(UsageError) as caught:
        load(project)
    assert (caught.value.reference, caught.value.cause) == ("config_unreadable", "File name too long")


def test_directories_above_a_project_need_not_be_readable(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    real = os.stat

    def refuse(path: Any, *rest: Any, **named: Any) -> os.stat_result:
        if str(path).endswith(("evmaot.toml", ".git")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "stat", refuse)
    assert config.project_file(project) is None


def test_a_huge_file_is_refused_unread_by_the_parser(project: Path) -> None:
    write(project / "evmaot.toml", "#" * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="over 1 MiB"):
        load(project)


def test_lists_in_variables_are_separated_by_commas(project: Path) -> None:
    assert load(project, EVMAOT_FORK="london, osaka").settings.forks == ("london", "osaka")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/SECRET", "https://h/..."),
        ("http://me:SECRET@h:1/x", "http://h:1/..."),
        ("http://me:a@SECRET@h?k=SECRET", "http://h/..."),
        ("http://me:SECRET/b@h/", "..."),
        ("http://[::1]:8545", "http://[::1]:8545/..."),
        ("SECRET", "..."),
    ],
)
def test_of_a_node_only_the_host_is_shown(url: str, shown: str) -> None:
    assert config.spelled("rpc_url", url) == shown
