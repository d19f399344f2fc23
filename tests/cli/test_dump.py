"""`evmaot dump`: every stage prints; the names in the help are those of the compiler."""

from __future__ import annotations

import pytest

from evmaot.cli.verbs import dump
from evmaot.codegen.dump import STAGES
from tests.cli.conftest import Cli

LOOP = "0x60055b6001900380600257"


def test_the_help_names_the_stages_of_the_compiler() -> None:
    assert tuple(STAGES) == dump._STAGES


@pytest.mark.parametrize(
    ("stage", "piece"),
    [("bytecode", "JUMPDEST"), ("program", "JUMPDEST"), ("cfg", "digraph"), ("ir", "define "),
     ("optimised", "define "), ("assembly", ".text")],
)  # fmt: skip
def test_every_stage_prints(cli: Cli, stage: str, piece: str) -> None:
    result = cli("dump", LOOP, "--stage", stage, "--opt", "fast")
    assert (result.code, result.err) == (0, "")
    assert piece in result.out
    assert (
        cli("dump", LOOP, "--stage", stage, "--opt", "fast", "--json").document["data"]["text"].strip()
        == result.out.strip()
    )


def test_the_fork_decides_what_is_undefined(cli: Cli) -> None:
    assert (
        cli("dump", "0x5f", "--stage", "bytecode", "--fork", "paris").out
        != cli("dump", "0x5f", "--stage", "bytecode", "--fork", "shanghai").out
    )


def test_an_unknown_stage_is_refused_with_the_known_ones(cli: Cli) -> None:
    result = cli("dump", LOOP, "--stage", "llvm")
    assert (result.code, result.out) == (2, "")
    assert "[unknown_stage]" in result.err
    assert "assembly" in result.err
