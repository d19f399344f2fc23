"""What commands say of layers: what each holds, which one answers, and that nobody writes to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ADDING_CODE, PUSH0_CODE, Cli
from tests.cli.stores import CONTRACTS, publish
from tests.cli.terminal import on_terminal
from tests.cli.test_schemas import check
from tests.support.store_samples import tree


@pytest.fixture
def stores(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A store with the first contract, and a layer with all three."""
    own, layer = home.parent / "own", home.parent / "layer"
    publish(own, CONTRACTS[:1])
    publish(layer)
    monkeypatch.setenv("EVMAOT_STORE", str(own))
    monkeypatch.setenv("EVMAOT_STORE_PATH", str(layer))
    return own, layer


def documents(cli: Cli, *arguments: str) -> dict[str, Any]:
    document = cli(*arguments, "--json").document
    check(document)
    data: dict[str, Any] = document["data"]
    return data


def test_ls_says_where_artifacts_lie_and_which_store_answers(cli: Cli, stores: tuple[Path, Path]) -> None:
    own, layer = map(str, stores)
    rows = documents(cli, "ls", "--contracts")["contracts"]
    assert {(row["label"], row["store"], row["shadowed_by"]) for row in rows} == {
        (CONTRACTS[0].label, own, None),
        (CONTRACTS[0].label, layer, own),
        (CONTRACTS[1].label, layer, None),
        (CONTRACTS[2].label, layer, None),
    }
    assert {row["store"] for row in documents(cli, "ls")["profiles"]} == {own, layer}
    result = cli("ls", "--contracts")
    assert result.out.count("(layer 1)") == 1
    assert f"layer 1: {layer}" in result.err


def test_without_layers_there_is_no_column(
    cli: Cli, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVMAOT_STORE_PATH")
    for arguments in (("ls",), ("ls", "--contracts")):
        assert "STORE" not in cli(*arguments).out
    assert {row["store"] for row in documents(cli, "ls")["profiles"]} == {str(stores[0])}


def test_layers_are_listed_where_the_store_itself_is_not_there(
    cli: Cli, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVMAOT_STORE", str(stores[0].parent / "absent"))
    assert len(documents(cli, "ls", "--contracts")["contracts"]) == 3
    assert len(documents(cli, "show", CONTRACTS[1].label)["contracts"]) == 1


def test_show_finds_what_only_a_layer_holds(cli: Cli, stores: tuple[Path, Path]) -> None:
    (row,) = documents(cli, "show", CONTRACTS[1].label)["contracts"]
    assert row["store"] == str(stores[1])
    assert f"in {stores[1]} (layer 1):" in cli("show", CONTRACTS[1].label).out
    assert len(documents(cli, "show", CONTRACTS[0].label)["contracts"]) == 2


def test_stats_has_a_line_for_each_layer(cli: Cli, stores: tuple[Path, Path]) -> None:
    data = documents(cli, "stats")
    assert (data["artifacts"], [(row["store"], row["artifacts"]) for row in data["layers"]]) == (
        1,
        [(str(stores[1]), 3)],
    )
    assert f"layer 1:    {stores[1]}: 3 artifacts" in cli("stats").out


def damage(store: Path) -> None:
    (library,) = store.glob("v1/objects/*/*.so")
    library.chmod(0o644)
    library.write_bytes(bytes(library.stat().st_size))
    library.chmod(0o444)


def test_verify_looks_into_layers_and_repairs_none(cli: Cli, stores: tuple[Path, Path]) -> None:
    damage(stores[1])
    before = tree(stores[1])
    result = cli("verify", "--repair")
    assert result.code == 4
    assert f"error: {stores[1]}/v1/objects/" in result.out
    assert f"hint: layers are only read; to repair this one: evmaot --store {stores[1]} verify --repair" in result.err
    assert tree(stores[1]) == before
    assert cli("verify", CONTRACTS[1].label).code == 4
    assert "[nothing_matches]" in cli("verify", "no such thing").err


def test_doctor_judges_each_layer(cli: Cli, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVMAOT_STORE_PATH", f"{stores[1]}:{stores[1].parent / 'absent'}")
    checks = {row["name"]: row for row in documents(cli, "doctor")["checks"]}
    assert checks["layer 1"]["health"] == "ok"
    assert (checks["layer 2"]["health"], "there is no store" in checks["layer 2"]["message"]) == ("warning", True)


def test_clear_says_what_it_leaves_in_layers(cli: Cli, stores: tuple[Path, Path]) -> None:
    before = tree(stores[1])
    result = cli("clear", "--all", "--yes")
    assert "3 artifacts in layers left: layers are only read" in result.err
    assert tree(stores[1]) == before
    assert documents(cli, "clear", "--all", "--yes")["artifacts_in_layers"] == 3


def test_pin_says_what_it_cannot_keep(cli: Cli, stores: tuple[Path, Path]) -> None:
    result = cli("pin", "all", "--all")
    assert "all keeps 1 artifact\n2 artifacts in layers not pinned" in result.err


def test_no_row_is_broken_at_40_columns(stores: tuple[Path, Path]) -> None:
    for arguments in (["ls"], ["ls", "--contracts"]):
        text = on_terminal(*arguments, columns=40, more={"NO_COLOR": "1"})
        rows = [line for line in text.splitlines() if "  " in line and ": " not in line]
        assert rows and all(len(line) <= 40 and "STORE" in rows[0] for line in rows)


def test_real_layers_are_verified_by_loading_them(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in (("own", ADDING_CODE), ("below", PUSH0_CODE)):
        (home / f"{name}.hex").write_text(code)
        assert cli("--store", name, "build", "--opt", "fast", f"{name}.hex").code == 0
    monkeypatch.setenv("EVMAOT_STORE", "own")
    monkeypatch.setenv("EVMAOT_STORE_PATH", "below")
    data = documents(cli, "verify", "--level", "load")
    assert (data["packs"], data["contracts"], data["errors"]) == (2, 2, 0)
