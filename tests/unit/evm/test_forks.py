"""The fork table: names and ranges, and the golden matrix of what every fork charges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from evmaot.abi.status import StorageStatus
from evmaot.errors import UsageError
from evmaot.evm.forks import DEFAULT_FORK, FORKS, Fork, ForkParameters, fork_named, forks_selected
from evmaot.evm.opcodes import OPCODES

NAMES = [
    "frontier", "homestead", "tangerine_whistle", "spurious_dragon", "byzantium", "constantinople", "petersburg",
    "istanbul", "berlin", "london", "paris", "shanghai", "cancun", "prague", "osaka",
]  # fmt: skip


def test_the_forks_are_those_of_the_main_chain() -> None:
    assert list(FORKS) == NAMES
    assert NAMES[-1] == DEFAULT_FORK


def test_every_fork_is_the_child_of_the_one_before() -> None:
    assert [fork.parent for fork in FORKS.values()] == [None, *NAMES[:-1]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Osaka", "osaka"),
        (" london ", "london"),
        ("EIP150", "tangerine_whistle"),
        ("EIP158", "spurious_dragon"),
        ("ConstantinopleFix", "petersburg"),
        ("TangerineWhistle", "tangerine_whistle"),
        ("tangerine-whistle", "tangerine_whistle"),
        ("Tangerine Whistle", "tangerine_whistle"),
        ("SpuriousDragon", "spurious_dragon"),
        ("Merge", "paris"),
        ("MuirGlacier", "istanbul"),
        ("arrow_glacier", "london"),
        ("GrayGlacier", "london"),
        ("BPO1", "osaka"),
        ("bpo2", "osaka"),
        ("dao_fork", "homestead"),
    ],
)
def test_names_and_aliases_are_found_without_case(name: str, expected: str) -> None:
    assert fork_named(name).name == expected


@pytest.mark.parametrize("name", ["", "osaka2", "amsterdam", "..", "london..osaka"])
def test_an_unknown_name_is_one_named_problem(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        fork_named(name)
    assert caught.value.reference == "unknown_fork"
    assert caught.value.context["fork"] == name
    assert caught.value.exit_code == 2
    assert "osaka" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("osaka", ["osaka"]),
        ("london..osaka", ["london", "paris", "shanghai", "cancun", "prague", "osaka"]),
        ("merge..shanghai", ["paris", "shanghai"]),
        ("prague..", ["prague", "osaka"]),
        ("..homestead", ["frontier", "homestead"]),
        ("osaka,frontier", ["osaka", "frontier"]),
        ("osaka,prague..osaka", ["osaka", "prague"]),
        ("berlin..berlin", ["berlin"]),
        ("ALL", NAMES),
    ],
)
def test_a_selection_names_forks_once_each(selection: str, names: list[str]) -> None:
    assert [fork.name for fork in forks_selected(selection)] == names


def test_a_range_that_runs_backwards_is_refused_with_the_right_way_round() -> None:
    with pytest.raises(UsageError) as caught:
        forks_selected("osaka..london")
    assert caught.value.reference == "empty_fork_range"
    assert "london..osaka" in (caught.value.hint or "")


@pytest.mark.parametrize("selection", ["", "osaka,", "nowhere..osaka", "osaka..nowhere"])
def test_a_selection_with_an_unknown_fork_is_refused(selection: str) -> None:
    with pytest.raises(UsageError) as caught:
        forks_selected(selection)
    assert caught.value.reference == "unknown_fork"


def test_no_two_forks_share_a_name_or_alias() -> None:
    names = [name for fork in FORKS.values() for name in (fork.name, *fork.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("fork", FORKS.values(), ids=lambda fork: fork.name)
def test_the_storage_schedule_prices_every_status(fork: Fork) -> None:
    assert len(fork.parameters.storage_schedule) == len(StorageStatus)


@pytest.mark.parametrize("fork", FORKS.values(), ids=lambda fork: fork.name)
def test_a_fork_prices_only_opcodes_of_the_table(fork: Fork) -> None:
    assert len(fork.opcode_gas) == 256
    assert all(OPCODES[value] is not None for value, gas in enumerate(fork.opcode_gas) if gas is not None)


def matrix_text() -> str:
    """All opcodes by all forks: what is charged, and the stack effect."""
    heads = [fork.name[:6] for fork in FORKS.values()]
    lines = ["opcode mnemonic       in out " + " ".join(f"{head:>6}" for head in heads)]
    for value, row in enumerate(OPCODES):
        name, inputs, outputs = (row.mnemonic, row.inputs, row.outputs) if row else ("-", "-", "-")
        prices = (fork.opcode_gas[value] for fork in FORKS.values())
        cells = " ".join(f"{'-' if gas is None else gas:>6}" for gas in prices)
        lines.append(f"0x{value:02x}   {name:<14} {inputs:>2} {outputs:>3} {cells}")
    return "\n".join(lines) + "\n"


def parameters_text() -> str:
    """Every parameter by fork; a line stands for all forks until the next line of the parameter."""
    lines: list[str] = []
    for field in dataclasses.fields(ForkParameters):
        before: object = None
        for number, fork in enumerate(FORKS.values()):
            value = getattr(fork.parameters, field.name)
            if number == 0 or value != before:
                lines.append(f"{field.name:<30} {fork.name:<18} {value}")
            before = value
    return "\n".join(lines) + "\n"


def test_the_matrix_of_prices_is_golden(golden: Callable[[str, str], None]) -> None:
    golden("forks/matrix.txt", matrix_text())


def test_the_parameters_are_golden(golden: Callable[[str, str], None]) -> None:
    golden("forks/parameters.txt", parameters_text())
