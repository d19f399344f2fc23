"""`evmaot forks` against the table itself, and golden text."""

from __future__ import annotations

from collections.abc import Callable

from evmaot.evm.forks import FORKS
from tests.cli.conftest import Cli


def test_the_table_has_a_row_per_fork(cli: Cli, golden: Callable[[str, str], None]) -> None:
    result = cli("forks")
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == list(FORKS)
    assert "default fork is osaka" in result.err
    golden("cli/forks.txt", result.out)


def test_quiet_leaves_only_the_data(cli: Cli) -> None:
    assert cli("forks", "-q").err == ""


def test_show_prints_every_price_and_parameter(cli: Cli, golden: Callable[[str, str], None]) -> None:
    golden("cli/forks-show-osaka.txt", cli("forks", "show", "osaka").out)
    data = cli("forks", "show", "bpo2", "--json").document["data"]
    assert data["name"] == "osaka"
    assert data["opcode_gas"]["CLZ"] == 5
    assert data["parameters"]["max_initcode_size_bytes"] == 49152
    assert len(data["opcode_gas"]) == data["opcodes"]


def test_diff_prints_what_differs_and_nothing_else(cli: Cli, golden: Callable[[str, str], None]) -> None:
    golden("cli/forks-diff-istanbul-berlin.txt", cli("forks", "diff", "istanbul", "berlin").out)
    data = cli("forks", "diff", "prague", "osaka", "--json").document["data"]
    assert data == {"first": "prague", "second": "osaka", "opcodes": {"CLZ": [None, 5]}, "parameters": {}}


def test_forks_that_execute_alike_say_so(cli: Cli) -> None:
    result = cli("forks", "diff", "london", "paris")
    assert (result.code, result.out) == (0, "")
    assert "execute alike" in result.err
