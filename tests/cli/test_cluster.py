"""`evmaot build --scheduler`: a Dask cluster of two workers compiles, and what it made is published here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.fixtures import REPOSITORY

pytest.importorskip("distributed", reason="the extra evmaot[dask] is not installed")

# A process of its own: its threads and event loops are none of the tests'.
CLUSTER = """
import sys, distributed
if __name__ == "__main__":
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two workers on loopback."""
    directory = tmp_path_factory.mktemp("cluster")
    program = directory / "cluster.py"
    program.write_text(CLUSTER)
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=directory,
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(directory)},
        ) as process,
    ):
        assert process.stdout is not None and process.stdin is not None
        address = process.stdout.readline().decode().strip()
        assert address, (directory / "log").read_text()
        yield address
        process.stdin.close()


def test_a_cluster_compiles_and_this_machine_publishes(scheduler: str, process: Cli, home: Path) -> None:
    for number in range(5):
        (home / f"{number}.hex").write_text(f"0x60{number:02x}60020160005260206000f3")
    (home / "slow.hex").write_text("0x5f35" + "8002" * 12000 + "5f5200")
    arguments = ("build", ".", "--opt", "optimised", "--fork", "osaka", "--timeout", "4s")
    result = process(*arguments, "--scheduler", scheduler, "--json", timeout_seconds=120)
    assert result.code == 3, result.err
    units = {unit["label"]: unit for unit in result.document["data"]["units"]}
    assert {label: unit["status"] for label, unit in units.items()} == {
        **{f"{number}.hex": "compiled" for number in range(5)},
        "slow.hex": "failed",
    }
    # The limits hold there, too.
    assert units["slow.hex"]["reason"] == "compile_timeout"
    assert process("verify").code == 0
    # What a cluster made is found by a build without one: the key is the same.
    (home / "slow.hex").unlink()
    assert process(*arguments, "--check").code == 0


def test_a_scheduler_that_is_not_there_is_named(process: Cli, home: Path) -> None:
    (home / "a.hex").write_text("0x00")
    result = process("build", "a.hex", "--scheduler", "127.0.0.1:8786")
    assert (result.code, "[bad_scheduler]" in result.err) == (2, True)


def test_without_dask_the_extra_is_named(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "a.hex").write_text("0x00")
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = cli("build", "a.hex", "--scheduler", "tcp://127.0.0.1:1")
    assert (result.code, "[dask_missing]" in result.err) == (2, True)
    assert "evmaot[dask]" in result.err
