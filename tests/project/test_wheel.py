"""What the wheel installs beside the package: pages and completions where man and the shells look, and the schemas."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path

import pytest

from evmaot.cli import generate
from evmaot.cli.schemas import all_schemas
from tests.support.fixtures import REPOSITORY

BUILD = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel of this tree."""
    if util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def installed(names: set[str], place: str) -> set[str]:
    """Names below a directory of the installation's prefix."""
    return {
        name.split(".data/data/", 1)[1].removeprefix(f"{place}/") for name in names if f".data/data/{place}/" in name
    }


def test_every_page_is_installed_where_man_looks(names: set[str]) -> None:
    expected = {f"man{file[-1]}/{file}" for file in map(generate.page_file, generate.page_names())}
    assert installed(names, "share/man") == expected


def test_completions_are_installed_where_the_shells_look(names: set[str]) -> None:
    assert installed(names, "share/bash-completion/completions") == {"evmaot"}
    assert installed(names, "share/zsh/site-functions") == {"_evmaot"}
    assert installed(names, "share/fish/vendor_completions.d") == {"evmaot.fish"}


def test_the_schemas_and_the_header_are_in_the_package(names: set[str]) -> None:
    schemas = {Path(name).stem for name in names if name.startswith("evmaot/schemas/")}
    assert schemas == set(all_schemas())
    assert "evmaot/abi/evmaot.h" in names
    assert not [name for name in names if name.startswith("tests/")]
