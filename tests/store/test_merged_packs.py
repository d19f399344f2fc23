"""Packs that are merged while another process has listed them and not loaded them yet."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.evm.keccak import keccak256
from evmaot.repack import repack
from evmaot.runtime import DirectoryStore, open_runtime
from evmaot.runtime.artifacts import Inventory
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.removal import Selector
from tests.store.test_repack import built
from tests.support.fixtures import REPOSITORY

CODES = [bytes((0x60, number, 0x00)) for number in range(5)]

LAZY_RUNTIME = """
import json, sys
from evmaot.evm.keccak import keccak256
from evmaot.runtime import open_runtime
programs = open_runtime(sys.argv[1], preload="lazy", mapping=sys.argv[2])
codes = [bytes((0x60, number, 0x00)) for number in range(5)]
assert programs.lookup(keccak256(codes[0]), "osaka", codes[0]) is not None
print("listed", flush=True)
sys.stdin.readline()
found = [programs.lookup(keccak256(code), "osaka", code) for code in codes]
print(json.dumps([program and program.code_sha256.hex() for program in found]), flush=True)
"""

LAZY_BACKEND = """
import json, sys
from evmaot.evm.keccak import keccak256
from evmaot.jit import Compiled, JitBackend, LookupRequest, RuntimeCacheKey, RuntimeConfig, RuntimeTuning
tuning = RuntimeTuning(jit_worker_count=0, jit_hot_threshold=1)
config = RuntimeConfig(enabled=True, store=sys.argv[1], preload="lazy", mapping=sys.argv[2], tuning=tuning)
codes = [bytes((0x60, number, 0x00)) for number in range(5)]
with JitBackend(config) as backend:
    requests = [LookupRequest(RuntimeCacheKey(keccak256(code), "osaka"), code) for code in codes]
    assert isinstance(backend.lookup_blocking(requests[0]), Compiled)
    print("listed", flush=True)
    sys.stdin.readline()
    found = [backend.lookup_blocking(request) for request in requests]
    print(json.dumps([isinstance(one, Compiled) and one.program.code_sha256.hex() for one in found]), flush=True)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("small") / "s", range(5)).paths.root


@pytest.fixture
def root(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path / "s")
    return tmp_path / "s"


@pytest.mark.parametrize("mapping", ["file", "copy"])
@pytest.mark.parametrize("script", [LAZY_RUNTIME, LAZY_BACKEND], ids=["runtime", "backend"])
def test_what_is_merged_is_found_by_a_process_that_had_listed_it_before(root: Path, script: str, mapping: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root), mapping],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listed\n"
        assert repack(ArtifactDirectory.open(root), pack_size=256).packs_after == 1
        assert len(list((root / "v1" / "objects").rglob("*.so"))) == 1, "what was listed is gone"
        answer, _ = process.communicate("go on\n", timeout=60)
    finally:
        process.kill()
        process.wait()
    assert json.loads(answer) == [hashlib.sha256(code).hexdigest() for code in CODES]


def test_a_store_is_read_again_once_for_each_change_of_its_packs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, reads = open_runtime(root, preload="lazy"), []
    load_all = DirectoryStore.load_all

    def counted(store: DirectoryStore) -> Inventory:
        reads.append(store)
        return load_all(store)

    monkeypatch.setattr(DirectoryStore, "load_all", counted)
    store = ArtifactDirectory.open(root)
    for found in store.packs():
        found.object_path.unlink()
    for _ in range(3):
        assert all(programs.lookup(keccak256(code), "osaka", code) is None for code in CODES)
    assert reads == [], "its libraries are damaged, and nothing took their place"
    store.clear(Selector(everything=True))
    for _ in range(3):
        assert all(programs.lookup(keccak256(code), "osaka", code) is None for code in CODES)
    assert len(reads) == 1
    built(root, range(5))
    for _ in range(3):
        assert all(programs.lookup(keccak256(code), "osaka", code) is not None for code in CODES)
    assert len(reads) == 2, "the same packs came back, under the same names"
    assert programs.statistics().skipped == {"object_missing": 5}


def test_a_store_that_is_gone_as_a_whole_is_a_miss(root: Path) -> None:
    programs = open_runtime(root, preload="lazy")
    shutil.rmtree(root)
    for _ in range(2):
        assert all(programs.lookup(keccak256(code), "osaka", code) is None for code in CODES)
