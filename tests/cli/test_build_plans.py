"""`evmaot build` without compiling, for several tiers and targets, and from a project's file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evmaot.evm.keccak import keccak256
from tests.cli.conftest import Cli

ADDER = "0x6001600201"
RETURNER = "0x5f355f5260205ff3"
"""Returns its first word; with PUSH0, so Paris and Shanghai tell it apart."""


@pytest.fixture
def inputs(home: Path) -> Path:
    directory = home / "out"
    directory.mkdir()
    (directory / "adder.hex").write_text(ADDER)
    (directory / "returner.hex").write_text(RETURNER)
    return directory


def test_check_fails_until_the_store_has_what_the_inputs_need(cli: Cli, inputs: Path, home: Path) -> None:
    arguments = ("build", inputs, "--opt", "fast", "--fork", "paris..shanghai")
    before = cli(*arguments, "--check")
    assert before.code == 3
    assert "the store lacks 3 artifacts that the inputs need" in before.err
    assert "hint: the same command without --check compiles them" in before.err
    assert len(before.out.splitlines()) == 1 + 3
    assert not (home.parent / "cache").exists()
    assert cli(*arguments).code == 0
    after = cli(*arguments, "--check")
    assert (after.code, after.out) == (0, "")
    assert "the store has all 3 artifacts" in after.err
    assert cli(*arguments, "--check", "--read-only").code == 0
    (inputs / "new.hex").write_text("0x6000")
    assert cli(*arguments, "--check").code == 3
    document = cli(*arguments, "--check", "--json").document
    assert (document["ok"], document["data"]["counts"]["planned"]) == (False, 1)


def test_check_fails_where_a_library_is_gone(cli: Cli, inputs: Path, home: Path) -> None:
    assert cli("build", inputs, "--opt", "fast").code == 0
    for library in (home.parent / "cache").rglob("*.so"):
        library.unlink()
    assert cli("build", inputs, "--opt", "fast", "--check").code == 3


def test_keys_are_the_same_before_and_after_the_build(cli: Cli, inputs: Path) -> None:
    arguments = ("build", inputs, "--opt", "fast", "--fork", "paris..shanghai")
    before = cli(*arguments, "--print-keys")
    assert before.code == 0
    keys = before.out.splitlines()
    assert len(keys) == 3
    assert keys == sorted(keys)
    built = cli(*arguments, "--json").document
    assert sorted(unit["key"] for unit in built["data"]["units"]) == keys
    assert cli(*arguments, "--print-keys").out == before.out
    assert cli("build", inputs, "--opt", "optimised", "--print-keys").out != before.out


def test_several_tiers_and_targets_are_built_by_one_command(cli: Cli, inputs: Path) -> None:
    arguments = ("build", inputs, "--opt", "fast,optimised", "--target", "host", "--target", "aarch64-linux")
    data = cli(*arguments, "--json", "--dry-run").document["data"]
    assert {(row["tier"], row["counts"]["planned"]) for row in data["profiles"]} == {("fast", 2), ("optimised", 2)}
    assert len({row["profile"] for row in data["profiles"]}) == 4
    assert {unit["profile"] for unit in data["units"]} == {row["profile"] for row in data["profiles"]}
    assert (data["profile"], data["tier"], data["counts"]["planned"]) == (None, None, 8)
    result = cli("build", inputs, "--opt", "fast,optimised")
    assert result.code == 0
    assert "fast, " in result.err and "optimised, " in result.err
    assert len(cli("ls", "--json").document["data"]["profiles"]) == 2


def test_a_project_s_file_makes_a_bare_build_and_a_bare_gate(cli: Cli, inputs: Path, home: Path) -> None:
    (home / "evmaot.toml").write_text(
        '[build]\ninputs = ["out"]\nforks = ["paris", "shanghai"]\nopt = ["fast", "optimised"]\ntarget = ["host"]\n'
    )
    assert cli("build", "--check").code == 3
    assert cli("build").code == 0
    assert cli("build", "--check").code == 0
    shown = cli("config", "show", "build.opt", "--origin", "--json").document["data"]["settings"][0]
    assert (shown["value"], shown["origin"]["kind"]) == (["fast", "optimised"], "project")


@pytest.mark.parametrize(
    ("line", "reference", "hint"),
    [
        ('inptus = ["out"]', "config_unknown_key", "did you mean 'build.inputs'?"),
        ('opt = ["fastest"]', "config_bad_value", "build.opt"),
        ("opt = []", "config_bad_value", "build.opt"),
        ('linker = "ld"', "config_unsafe_key", "EVMAOT_LINKER"),
    ],
)
def test_a_wrong_line_of_a_project_s_file_is_a_usage_error(
    cli: Cli, home: Path, line: str, reference: str, hint: str
) -> None:
    (home / "evmaot.toml").write_text(f"[build]\n{line}\n")
    result = cli("build")
    assert result.code == 2
    assert f"[{reference}]" in result.err
    assert hint in result.err


def test_a_project_s_file_can_not_choose_the_node(cli: Cli, home: Path) -> None:
    (home / "evmaot.toml").write_text('[rpc]\nurl = "http://somewhere"\n')
    result = cli("build")
    assert result.code == 2
    assert "[config_unsafe_key]" in result.err


def test_rank_and_limit_go_by_the_trace_of_a_block(cli: Cli, home: Path) -> None:
    def account(code: str) -> dict[str, object]:
        return {"balance": "0x0", "nonce": 1, "code": code}

    one, two = "0x" + "11" * 20, "0x" + "22" * 20
    traces = [{one: account(ADDER)}, {two: account(RETURNER)}, {two: account(RETURNER)}]
    block = [{"txHash": f"0x{index:064x}", "result": trace} for index, trace in enumerate(traces)]
    (home / "block.json").write_text(json.dumps(block))
    document = cli("build", "block.json", "--rank", "--limit", "1", "--dry-run", "--json").document
    assert [(unit["label"], unit["heat"]) for unit in document["data"]["units"]] == [(two, 2)]
    assert [problem["code"] for problem in document["problems"]] == ["over_limit"]


def test_a_deny_list_leaves_out_by_name(cli: Cli, inputs: Path, home: Path) -> None:
    (home / "deny.txt").write_text("adder*\n")
    result = cli("build", inputs, "--deny", "deny.txt", "--opt", "fast")
    assert result.code == 0
    assert "skipped 1: 1 denied" in result.err
    assert "1 contract: 1 compiled" in result.err
    assert "[deny_list_unreadable]" in cli("build", inputs, "--deny", "absent").err


def test_what_is_over_the_limit_or_denied_is_no_duplicate(cli: Cli, inputs: Path, home: Path) -> None:
    (inputs / "again.hex").write_text(ADDER)
    limited = cli("build", inputs, "--limit", "1", "--dry-run").err
    assert "skipped 1: 1 over_limit" in limited
    assert "1 contract (1 duplicate left out): 1 planned" in limited
    hashes = [keccak256(bytes.fromhex(code[2:])).hex() for code in (ADDER, RETURNER)]
    (home / "deny.txt").write_text(hashes[0] + "\n")
    assert "1 contract: 1 planned" in cli("build", inputs, "--deny", "deny.txt", "--dry-run").err
    (home / "deny.txt").write_text("\n".join(hashes))
    result = cli("build", inputs, "--deny", "deny.txt", "--error-if-empty")
    assert (result.code, "the inputs hold no contract to compile" in result.err) == (7, True)


def test_where_all_is_skipped_each_is_told_with_what_to_do(cli: Cli, home: Path) -> None:
    (home / "delegation.hex").write_text("0xef0100" + "11" * 20)
    result = cli("build", "delegation.hex")
    assert result.code == 0
    assert "[delegation]" in result.err
    assert "hint: give the code of the account it delegates to" in result.err
