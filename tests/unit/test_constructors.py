"""Constructors: what init code deploys, where deployments differ, and what is said of those that deploy nothing."""

from __future__ import annotations

import pytest

from evmaot.constructors import ConstructorJob, Constructors, run_constructor
from evmaot.errors import EvmaotError
from evmaot.inputs.context import ConstructorFailed
from evmaot.inputs.source import Hole
from evmaot.workers import WorkerLimits
from tests.support.assembler import asm

RUNTIME = asm("PUSH32=0 0 MSTORE 32 0 RETURN STOP STOP")
LIMITS = WorkerLimits(timeout_seconds=60.0, memory_limit_bytes=4 << 30)


def init_code(writes: str, runtime: bytes = RUNTIME) -> bytes:
    """Copies the runtime code to memory, writes into it, and returns it."""

    def text(offset: int) -> bytes:
        size = len(runtime)
        return asm(f"PUSH2={size} PUSH2={offset} 0 CODECOPY {writes} PUSH2={size} 0 RETURN")

    return text(len(text(0))) + runtime


def deployed(writes: str, fork: str = "osaka") -> tuple[bytes, tuple[tuple[int, int], ...]]:
    return run_constructor(ConstructorJob(init_code(writes), fork))


def test_what_never_differs_is_code_without_holes() -> None:
    assert deployed("7 1 MSTORE") == (asm("PUSH32=7 0 MSTORE 32 0 RETURN STOP STOP"), ())


@pytest.mark.parametrize(
    "value", ["CALLER", "ORIGIN", "ADDRESS", "CHAINID", "TIMESTAMP", "NUMBER", "COINBASE", "PREVRANDAO", "BASEFEE"]
)
def test_what_a_constructor_asks_of_its_world_is_a_hole_as_wide_as_the_operand(value: str) -> None:
    assert deployed(f"{value} 1 MSTORE") == (RUNTIME, ((1, 32),))


def test_bytes_of_data_are_holes_as_far_as_they_differ() -> None:
    code = asm("32 0 0 CODECOPY STOP") + bytes(40)
    offset = len(code) - 40
    found = run_constructor(ConstructorJob(init_code(f"ADDRESS {offset} MSTORE", code), "osaka"))
    assert found == (code, ((offset + 12, 20),)), "an address has twenty bytes"


def test_code_of_another_length_in_another_world_has_no_holes() -> None:
    code, holes = run_constructor(ConstructorJob(asm("CALLER 0xff AND 0 RETURN"), "osaka"))
    assert (code, holes) == (bytes(0x21), ())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0 0 REVERT", "it reverted under osaka"),
        ("JUMPDEST 0 JUMP", "it ended with OUT_OF_GAS under osaka"),
        ("INVALID", "it ended with INVALID_OPCODE under osaka"),
        ("STOP", "it deployed no code under osaka"),
        ("0xef 0 MSTORE8 1 0 RETURN", "it failed: code_prefix under osaka"),
        ("0x10000 0 RETURN", "it failed: code_size under osaka"),
    ],
)
def test_what_deploys_nothing_says_why(code: str, words: str) -> None:
    with pytest.raises(EvmaotError) as caught:
        run_constructor(ConstructorJob(asm(code), "osaka"))
    assert (caught.value.reference, caught.value.message) == ("constructor_failed", words)


def test_a_constructor_may_create_other_contracts() -> None:
    child = init_code("7 1 MSTORE")
    words = " ".join(
        f"PUSH32=0x{child[at : at + 32].ljust(32, bytes(1)).hex()} {at} MSTORE" for at in range(0, len(child), 32)
    )
    code, holes = run_constructor(ConstructorJob(asm(f"{words} {len(child)} 0 0 CREATE 0 MSTORE 32 0 RETURN"), "osaka"))
    assert len(code) == 32 and any(length == 20 for _, length in holes), "the child's address"


def test_the_rules_are_those_of_the_fork() -> None:
    with pytest.raises(EvmaotError):
        run_constructor(ConstructorJob(asm("x5f x5f xf3"), "paris"))


def test_constructors_run_in_a_process_of_their_own_and_one_that_fails_costs_itself() -> None:
    with Constructors("osaka", LIMITS) as run:
        assert run(init_code("ADDRESS 1 MSTORE")) == (RUNTIME, (Hole(1, 32, "immutable"),))
        with pytest.raises(ConstructorFailed, match="it reverted"):
            run(asm("0 0 REVERT"))
        assert run(init_code("7 1 MSTORE")).holes == ()


def test_a_worker_runs_any_number_of_constructors_within_its_limit() -> None:
    """Each used to reserve address space of its own: with the limit of a build the tenth or so found none left."""
    with Constructors("osaka", WorkerLimits(timeout_seconds=60.0, memory_limit_bytes=1 << 30)) as run:
        for number in range(12):
            assert run(init_code(f"{number} 1 MSTORE")).code[1:33] == number.to_bytes(32, "big")
