"""`evmaot fetch` and `evmaot build --rpc`: a dump, a build from it, and a build from the node itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.fake_node import FakeNode, healthy_node, http

ONE, TWO, THREE = ("0x" + digits * 20 for digits in ("11", "22", "33"))
CODES = {ONE: "0x5f355f5260205ff3", TWO: "0xef0100" + ONE[2:]}


def test_a_dump_is_built_offline_to_the_same_artifacts(cli: Cli, home: Path) -> None:
    (home / "hot.txt").write_text(f"{TWO}\n")
    with healthy_node(CODES) as node:
        live = cli("build", "--rpc", node.url, "--address", "@hot.txt", "--follow-proxies", "--print-keys")
        fetched = cli("fetch", "--rpc", node.url, "@hot.txt", "--follow-proxies", "-o", "codes.jsonl")
        assert (fetched.code, fetched.out) == (0, "")
        assert "fetched 2 accounts with code" in fetched.err
        assert "block 16 of chain 7" in fetched.err
    assert live.code == 0
    assert cli("build", "codes.jsonl", "--print-keys").out == live.out != ""


def test_a_dump_goes_to_stdout_without_a_file(cli: Cli) -> None:
    with healthy_node(CODES) as node:
        result = cli("fetch", "--rpc", node.url, ONE, THREE)
    (line,) = result.out.splitlines()
    assert json.loads(line)["code"] == CODES[ONE]
    assert "no_code_at_address" in result.err
    assert result.code == 0


def test_what_is_deployed_is_built_with_one_command(cli: Cli) -> None:
    with healthy_node(CODES) as node:
        result = cli("build", "--rpc", node.url, "--address", f"{ONE},{THREE}", "--opt", "fast", "--json")
    data = result.document["data"]
    assert result.code == 0
    assert [(unit["label"], unit["status"]) for unit in data["units"]] == [(ONE, "compiled")]
    assert [problem["code"] for problem in result.document["problems"]] == ["no_code_at_address"]


def test_the_key_in_a_url_is_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNode(lambda body: http("no", "401 Unauthorized")) as node:
        monkeypatch.setenv("EVMAOT_RPC_URL", f"http://me:SECRET@{node.address}/SECRET?k=SECRET")
        for result in (cli("fetch", ONE), cli("build", "--address", ONE, "--json"), cli("config", "show", "--json")):
            assert "SECRET" not in result.out + result.err
            assert result.code in (0, 3)


def test_a_dump_that_fails_leaves_an_old_one_alone(cli: Cli, home: Path) -> None:
    (home / "codes.jsonl").write_text("old\n")
    result = cli("fetch", "--rpc", "nonsense", ONE, "-o", "codes.jsonl")
    assert (result.code, (home / "codes.jsonl").read_text()) == (2, "old\n")
    assert [path.name for path in home.iterdir() if path.name.startswith(".codes")] == []


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        (("fetch", ONE), "no_node"),
        (("fetch", "--rpc", "http://127.0.0.1:1"), "no_address"),
        (("fetch", "--rpc", "127.0.0.1:8545", ONE), "bad_rpc_url"),
        (("fetch", "--rpc", "http://127.0.0.1:1", "0x12"), "bad_address"),
        (("fetch", "--rpc", "http://127.0.0.1:1", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee"), "bad_checksum"),
        (("fetch", "--rpc", "http://127.0.0.1:1", ONE, "--block", "now"), "bad_block"),
        (("build", "--address", ONE), "no_node"),
        (("build", "--rpc", "http://127.0.0.1:1", "--address", "vitalik.eth"), "bad_address"),
    ],
)
def test_what_can_not_be_right_is_a_usage_error(cli: Cli, arguments: tuple[str, ...], reference: str) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert f"[{reference}]" in result.err
    assert "hint: " in result.err


def test_a_document_about_a_dump_needs_a_file_for_the_dump(cli: Cli, home: Path) -> None:
    with healthy_node(CODES) as node:
        result = cli("fetch", "--rpc", node.url, ONE, "--json")
        assert (result.code, result.document["problems"][0]["code"]) == (2, "no_output_file")
        document = cli("fetch", "--rpc", node.url, ONE, THREE, "--json", "-o", "codes.jsonl").document
    assert document["data"] == {"output": "codes.jsonl", "accounts": 1, "block_number": 16, "chain_id": 7}
    assert [problem["code"] for problem in document["problems"]] == ["no_code_at_address"]


def test_no_node_at_the_port_is_named_with_what_to_check(cli: Cli) -> None:
    result = cli("build", "--rpc", "http://127.0.0.1:1", "--address", ONE, "--rpc-retries", "0")
    assert result.code == 3
    assert "[rpc_unreachable]" in result.err
    assert "hint: check the URL" in result.err
