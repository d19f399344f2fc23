"""Program sources: sharing between forks, the cache of images, resident programs, chains."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.execution.hashing import keccak256
from evmaot.execution.programs import ChainedPrograms, JitPrograms, StorePrograms
from evmaot.runtime.program import CompiledProgram
from tests.support.assembly import assemble

CODE = assemble(1, 2, "ADD", "STOP")
OTHER_CODE = assemble(1, 0, "SSTORE")
FAST = CompileOptions(Tier.FAST)


def test_forks_that_a_code_cannot_tell_apart_share_a_program() -> None:
    programs = JitPrograms(FAST)
    assert programs.program_for(CODE, None, FORKS["frontier"]) is programs.program_for(CODE, None, FORKS["osaka"])
    frontier = programs.program_for(OTHER_CODE, None, FORKS["frontier"])
    assert frontier is not programs.program_for(OTHER_CODE, None, FORKS["osaka"])
    assert programs.statistics.compiled == 3


def test_a_program_says_what_it_is() -> None:
    program = JitPrograms(FAST).program_for(CODE, None, FORKS["osaka"])
    assert program.code_hash == keccak256(CODE) and program.code_sha256 == hashlib.sha256(CODE).digest()
    assert program.tier == "fast"


def test_a_second_process_finds_the_cached_image(tmp_path: Path) -> None:
    JitPrograms(FAST, tmp_path).program_for(CODE, None, FORKS["osaka"])
    again = JitPrograms(FAST, tmp_path)
    again.program_for(CODE, None, FORKS["osaka"])
    assert (again.statistics.compiled, again.statistics.from_cache) == (0, 1)
    other_tier = JitPrograms(CompileOptions(Tier.OPTIMISED), tmp_path)
    other_tier.program_for(CODE, None, FORKS["osaka"])
    assert other_tier.statistics.compiled == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_image_is_compiled_again(tmp_path: Path, damage: str) -> None:
    JitPrograms(FAST, tmp_path).program_for(CODE, None, FORKS["osaka"])
    (image,) = tmp_path.rglob("*.image")
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes({"flip": bytes(data), "truncate": bytes(data[:100]), "empty": b""}[damage])
    again = JitPrograms(FAST, tmp_path)
    again.program_for(CODE, None, FORKS["osaka"])
    assert again.statistics.compiled == 1


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    programs = JitPrograms(FAST, tmp_path / "file")
    assert programs.program_for(CODE, None, FORKS["osaka"]).address


def test_resident_programs_are_bounded_and_those_in_use_stay() -> None:
    programs = JitPrograms(FAST, resident=2)
    first = programs.program_for(CODE, None, FORKS["osaka"])
    for value in range(3):
        programs.program_for(assemble(value, "POP"), None, FORKS["osaka"])
    assert len(programs._by_key) <= 2
    assert first.backing is not None and programs.program_for(CODE, None, FORKS["osaka"]) is not first


def test_a_store_s_program_must_be_of_the_very_code() -> None:
    program = JitPrograms(FAST).program_for(CODE, None, FORKS["osaka"])
    asked = []

    def lookup(code_hash: bytes, fork: str, code: bytes) -> CompiledProgram | None:
        asked.append((code_hash, fork))
        return program

    source = StorePrograms(lookup)
    assert source.program_for(CODE, None, FORKS["osaka"]) is program
    assert source.program_for(CODE, None, FORKS["osaka"]) is program
    assert asked == [(keccak256(CODE), "osaka")]
    assert source.program_for(OTHER_CODE, keccak256(CODE), FORKS["osaka"]) is None


def test_a_wrong_code_hash_is_not_believed() -> None:
    jit = JitPrograms(FAST)
    store = StorePrograms(lambda code_hash, fork, code: jit.program_for(code, None, FORKS[fork]))
    for source in (jit, store):
        for code in (CODE, OTHER_CODE, bytes(bytearray(CODE)), keccak256(CODE), CODE):
            program = source.program_for(code, keccak256(CODE), FORKS["osaka"])
            assert program is not None and program.code_sha256 == hashlib.sha256(code).digest()
            assert program is source.program_for(code, None, FORKS["osaka"])


def test_a_chain_asks_in_order() -> None:
    jit = JitPrograms(FAST)
    chain = ChainedPrograms((StorePrograms(lambda code_hash, fork, code: None), jit))
    assert chain.program_for(CODE, None, FORKS["osaka"]) is jit.program_for(CODE, None, FORKS["osaka"])
    assert ChainedPrograms(()).program_for(CODE, None, FORKS["osaka"]) is None
