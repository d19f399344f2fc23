"""The driver: objects that link, the same bytes in every process, limits, what the digest covers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from evmaot.codegen.builtins.table import BUILTINS
from evmaot.codegen.driver import MAX_CODE_BYTES, compile_unit, plan
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import CompileError
from evmaot.evm.forks import FORKS
from evmaot.target import TARGETS
from tests.support.assembler import asm
from tests.support.elf_objects import loaded_sections, symbols
from tests.support.programs import SAMPLES, rules_of
from tests.support.random_programs import random_code

REPOSITORY = Path(__file__).resolve().parents[3]
CASES = [(target, tier) for target in TARGETS for tier in Tier]
EVERYTHING = b"".join(random_code(random.Random(seed), FORKS["osaka"], "mixed") for seed in range(3))


def compiled(code: bytes, target: str, tier: Tier, symbol: str = "entry_of_a_test") -> bytes:
    return compile_unit(code, rules_of(code), CompileOptions(tier, TARGETS[target]), symbol).object_data


@pytest.mark.parametrize(("target", "tier"), CASES)
@pytest.mark.parametrize("code", [b"", *map(asm, SAMPLES.values()), EVERYTHING])
def test_an_object_defines_its_entry_and_needs_helpers_alone(code: bytes, target: str, tier: Tier) -> None:
    rows = symbols(compiled(code, target, tier))
    assert [name for name, binding, _, defined in rows if defined and binding != "STB_LOCAL"] == ["entry_of_a_test"]
    undefined = {name for name, _, _, defined in rows if not defined and name}
    assert undefined <= {row.symbol for row in BUILTINS.values()}
    writable = [name for name, flags in loaded_sections(compiled(code, target, tier)).items() if flags & 1]
    assert writable == []


def test_phases_are_measured() -> None:
    unit = compile_unit(b"\x00", rules_of(b"\x00"), CompileOptions(), "entry")
    assert set(unit.phase_seconds) == {"analyse", "emit", "parse", "optimise", "codegen"}
    assert all(seconds >= 0 for seconds in unit.phase_seconds.values())


_DIGESTS = """
import hashlib, random
from evmaot.codegen.driver import compile_unit
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from tests.support.programs import rules_of
from tests.support.random_programs import random_code
code = random_code(random.Random(5), FORKS["osaka"], "mixed")
for tier in Tier:
    unit = compile_unit(code, rules_of(code), CompileOptions(tier), "entry")
    print(hashlib.sha256(unit.object_data).hexdigest())
"""


def test_the_same_bytes_in_every_process() -> None:
    """Also where Python's hashes are others."""
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", _DIGESTS]
        found.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(found) == 1
    assert found.pop().count("\n") == len(Tier)


def test_the_same_bytes_after_another_compilation() -> None:
    code = asm(SAMPLES["call_and_resume"])
    first = compiled(code, "x86_64-linux", Tier.OPTIMISED)
    compiled(EVERYTHING, "x86_64-linux", Tier.OPTIMISED)
    assert compiled(code, "x86_64-linux", Tier.OPTIMISED) == first


def test_a_code_beyond_the_limit_is_refused() -> None:
    code = bytes(MAX_CODE_BYTES + 1)
    with pytest.raises(CompileError) as raised:
        plan(code, rules_of(code), CompileOptions())
    assert raised.value.reference == "code_too_long"
    assert raised.value.context == {"size_bytes": len(code), "limit_bytes": MAX_CODE_BYTES}


def test_the_longest_code_of_zeros_is_nothing_to_compile() -> None:
    code = bytes(MAX_CODE_BYTES)
    assert len(plan(code, rules_of(code), CompileOptions()).blocks) == 1


def test_more_blocks_than_16_bits_count() -> None:
    """Labels in the jump table are wider then: a function that is called from many places is found."""
    calls = " ".join(f"@r{n} @f JUMP r{n}: POP" for n in range(10))
    code = asm(f"{calls} STOP f: CALLER SWAP1 JUMP") + b"\x5b\x00" * (1 << 16)
    program = plan(code, rules_of(code), CompileOptions())
    assert len(program.blocks) > 1 << 16
    assert len(program.live) < 100
    unit = compile_unit(code, rules_of(code), CompileOptions(), "entry")
    assert len(unit.object_data) > 4 * len(code)
