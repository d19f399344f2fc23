"""`evmaot build --output`: a directory that is carried away and used elsewhere, without the user's store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import ADDING_CODE, PUSH0_CODE, Cli, Result
from tests.cli.test_pull import Server, server

__all__ = ["server"]


@pytest.fixture
def inputs(home: Path) -> Path:
    (home / "adding.hex").write_text(ADDING_CODE)
    (home / "push0.hex").write_text(PUSH0_CODE)
    return home


def build(cli: Cli, *arguments: str) -> Result:
    return cli("build", "--opt", "fast", "--output", "dist/evm", *arguments)


def test_the_directory_is_a_whole_store_and_the_users_is_not_made(cli: Cli, inputs: Path) -> None:
    assert build(cli, "adding.hex").code == 0
    users = Path(cli("path", "--json").document["data"]["store"]["path"])
    assert not users.exists()
    shutil.copytree("dist/evm", "elsewhere", copy_function=shutil.copy2)
    shutil.rmtree("dist")
    assert cli("--store", "elsewhere", "verify", "--level", "load").code == 0
    run = cli("--store", "elsewhere", "run", "0x" + ADDING_CODE, "--json").document["data"]
    assert run["programs"] == {"stored": 1, "compiled": 0}


def test_a_repeated_build_adds_and_lists_everything(cli: Cli, inputs: Path, server: Server) -> None:
    shutil.rmtree("public")
    for name in ("adding.hex", "push0.hex"):
        assert cli("build", "--opt", "fast", "--output", "public", name).code == 0
    assert "nothing to do" in cli("build", "--opt", "fast", "--output", "public", "push0.hex").err
    pulled = cli("pull", "--allow-unsigned", server.url, "--json").document["data"]
    assert len(pulled["new"]) == 2
    assert cli("verify").code == 0


def test_it_serves_as_a_layer(cli: Cli, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(cli, "adding.hex").code == 0
    monkeypatch.setenv("EVMAOT_STORE_PATH", "dist/evm")
    run = cli("run", "0x" + ADDING_CODE, "--json").document["data"]
    assert run["programs"] == {"stored": 1, "compiled": 0}


def test_what_a_layer_has_is_in_it_too(cli: Cli, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("build", "--opt", "fast", "--store", "below", "adding.hex").code == 0
    monkeypatch.setenv("EVMAOT_STORE_PATH", "below")
    assert build(cli, "adding.hex", "--json").document["data"]["counts"]["compiled"] == 1


def test_everybody_may_read_it_and_nobody_else_write_to_it(cli: Cli, inputs: Path) -> None:
    assert build(cli, "adding.hex").code == 0
    private = {Path("dist/evm/v1/tmp"), Path("dist/evm/v1/quarantine")}
    for path in Path("dist/evm").rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode & 0o022 == 0, path
        assert mode & 0o044 == (0 if path in private else 0o044), path


def test_a_gate_for_ci_asks_the_directory_and_makes_nothing(cli: Cli, inputs: Path) -> None:
    assert build(cli, "--check", "adding.hex").code == 3
    assert not Path("dist").exists()
    assert build(cli, "adding.hex").code == 0
    assert build(cli, "--check", "adding.hex").code == 0


def test_a_directory_that_is_no_store_and_not_empty_is_refused(cli: Cli, inputs: Path) -> None:
    result = cli("build", "--opt", "fast", "--output", ".", "adding.hex")
    assert (result.code, "[not_a_store]" in result.err) == (73, True)
    assert not Path("STORE").exists()


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        (("--output", "adding.hex"), "not_a_directory"),
        (("--output", "dist", "--store", "other"), "two_stores"),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(
    cli: Cli, inputs: Path, arguments: tuple[str, ...], reference: str
) -> None:
    result = cli("build", *arguments, "push0.hex")
    assert (result.code, f"[{reference}]" in result.err) == (2, True)


def test_the_users_store_is_no_portable_directory(cli: Cli, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVMAOT_STORE", "mine")
    result = cli("build", "--output", "mine", "push0.hex")
    assert (result.code, "[in_store]" in result.err) == (2, True)
