"""Every command's JSON against its shipped schema; names that no schema has are refused here, not by readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

import evmaot
from evmaot.cli import schemas
from evmaot.cli.root import VERBS, root
from tests.cli.conftest import ADDING_CODE, PUSH0_CODE, Cli
from tests.support.fake_node import healthy_node

SCHEMAS = Path(evmaot.__file__).parent / "schemas"


def leaf_commands() -> Iterator[str]:
    context = click.Context(root, info_name="evmaot")
    for name in VERBS:
        command = root.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (f"{name}.{child}" for child in command.commands)
        else:
            yield name


def closed(schema: Any) -> Any:
    """The schema with every object closed: what a command prints must be in it."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def check(document: dict[str, Any]) -> None:
    name, _, major = document["schema"].removeprefix("evmaot.").rpartition("/")
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    assert major == "1"
    jsonschema.Draft202012Validator(closed(schema)).validate(document)


COMMANDS: dict[str, Callable[[Cli, Path], list[list[str]]]] = {
    "build": lambda cli, home: [["build", "--fork", "paris..osaka", "codes.txt"], ["build", "--dry-run", "other.hex"],
                              ["build", "--opt", "fast,optimised", "--dry-run", "other.hex", "--limit", "1"]],
    "ls": lambda cli, home: [["ls"], ["ls", "--contracts"], ["ls", "--fork", "osaka"]],
    "show": lambda cli, home: [
        ["show", pack(cli)[:8]], ["show", pack(cli, "profile")[:8]], ["show", "push0*"], ["show", "push0*", "--ir"],
    ],
    "fetch": lambda cli, home: [["fetch", "--rpc", "NODE", "0x" + "11" * 20, "-o", "dump.jsonl"]],
    "explain": lambda cli, home: [
        ["explain", "other.hex"], ["explain", "code.hex", "--fork", "paris"], ["explain", "code.hex"],
    ],
    "verify": lambda cli, home: [["verify"], ["verify", "--level", "meta"]],
    "gc": lambda cli, home: [["gc", "--dry-run"], ["gc", "--repack"], ["gc", "--max-size", "1"]],
    "pin": lambda cli, home: [["pin", "all", "--all"], ["pin", "none", "nothing*"]],
    "unpin": lambda cli, home: [["unpin", "all" if cli("pin", "all", "--all") else ""]],
    "pins": lambda cli, home: [["pins"]] if cli("pin", "all", "--all") else [],
    "clear": lambda cli, home: [["clear", "--all", "--dry-run"], ["clear", "--fork", "osaka", "--yes"]],
    "export": lambda cli, home: [["export", "packs.tar"], ["export", "--directory", "public", "--sign", "my.key"]]
    if cli("keygen", "my.key") else [],
    "import": lambda cli, home: [["import", "--allow-unsigned", "packs.tar"],
                               ["--store", "new", "import", "--allow-unsigned", "packs.tar"]]
    if cli("export", "packs.tar") else [],
    "pull": lambda cli, home: [["pull", "--allow-unsigned", "--retries", "0", "http://127.0.0.1:9/"]],
    "keygen": lambda cli, home: [["keygen", "new.key"]],
    "stats": lambda cli, home: [["stats"]],
    "preload": lambda cli, home: [["preload", "--check"]],
    "path": lambda cli, home: [["path"]],
    "run": lambda cli, home: [["run", "0x" + PUSH0_CODE], ["run", "0x" + "600160005500"]],
    "bench": lambda cli, home: [["bench", "0x" + ADDING_CODE, "--count", "1", "--against", "pyrevm"]],
    "dump": lambda cli, home: [["dump", "0x" + ADDING_CODE, "--stage", "program"]],
    "forks": lambda cli, home: [["forks"]],
    "forks.show": lambda cli, home: [["forks", "show", "osaka"]],
    "forks.diff": lambda cli, home: [["forks", "diff", "london", "osaka"]],
    "statetest": lambda cli, home: [["statetest", "--jobs", "1", "--tier", "fast", "--trace-diff", "test.json"]],
    "doctor": lambda cli, home: [["doctor"]],
    "config.show": lambda cli, home: [["config", "show"], ["config", "show", "build.forks"]],
    "completion": lambda cli, home: [["completion", "bash"]],
    "man": lambda cli, home: [["man", "build"]],
}  # fmt: skip


EXPECTED_CODES = {"statetest": 3, "pull": 3}  # pull: nobody answers there; its success is in test_pull.py
_SENDER, _TARGET = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b", "0x1000000000000000000000000000000000001000"
STATE_TEST = {
    "env": {"currentCoinbase": _TARGET, "currentGasLimit": "0x7270e00", "currentNumber": "0x1",
            "currentTimestamp": "0x3e8", "currentDifficulty": "0x20000", "currentRandom": "0x00",
            "currentBaseFee": "0x7", "currentExcessBlobGas": "0x00"},
    "pre": {_SENDER: {"nonce": "0x00", "balance": "0x3635c9adc5dea00000", "code": "0x", "storage": {}}},
    "transaction": {"nonce": "0x00", "gasPrice": "0x0a", "gasLimit": ["0x0493e0"], "to": _TARGET, "value": ["0x00"],
                    "data": ["0x"], "sender": _SENDER,
                    "secretKey": "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"},
    "post": {"Osaka": [{"hash": "0x00", "logs": "0x00", "indexes": {"data": 0, "gas": 0, "value": 0}}]},
}  # fmt: skip


def pack(cli: Cli, name: str = "pack") -> str:
    return str(cli("ls", "--contracts", "--json").document["data"]["contracts"][0][name])


@pytest.fixture
def inputs(home: Path) -> Path:
    (home / "codes.txt").write_text(f"0x{PUSH0_CODE}\n0x{ADDING_CODE}\n")
    (home / "code.hex").write_text(PUSH0_CODE)
    (home / "other.hex").write_text("6001600101")
    (home / "test.json").write_text(json.dumps({"a test of wrong answers": STATE_TEST}))
    return home


def test_every_command_has_a_schema_and_is_run_here() -> None:
    leaves = set(leaf_commands()) | {"forks"}
    assert leaves - {"config"} == set(schemas.DOCUMENTS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_documents_obey_their_schema(cli: Cli, real_store: Path, inputs: Path, name: str) -> None:
    for arguments in COMMANDS[name](cli, inputs):
        with healthy_node({"0x" + "11" * 20: "0x" + PUSH0_CODE}) as node:
            result = cli(*(node.url if part == "NODE" else part for part in arguments), "--json")
        assert result.code == EXPECTED_CODES.get(name, 0), result.err
        assert result.document["schema"] == f"evmaot.{name}/1"
        check(result.document)


def test_documents_of_damage_obey_their_schema(cli: Cli, real_store: Path, inputs: Path) -> None:
    (library,) = (real_store / "v1" / "objects").glob("*/*.so")
    library.chmod(0o644)
    library.write_bytes(b"damaged")
    for arguments, code in ((["verify"], 4), (["preload", "--check"], 6), (["explain", "code.hex"], 0), (["stats"], 0)):
        result = cli(*arguments, "--json")
        assert result.code == code
        check(result.document)
    (manifest,) = (real_store / "v1" / "profiles").glob("*/packs/*.json")
    manifest.write_text("{")
    for verb in ("ls", "stats", "verify", "doctor"):
        document = cli(verb, "--json").document
        assert document["problems"]
        check(document)


@pytest.mark.parametrize(
    "arguments",
    [["ls", "--fork", "nope"], ["show", "0x123456"], ["clear"], ["build"], ["explain", "0x12"], ["forks", "show", "x"]],
)
def test_failures_are_documents_with_null_data(cli: Cli, real_store: Path, arguments: list[str]) -> None:
    result = cli(*arguments, "--json")
    assert result.code == 2
    document = result.document
    assert (document["ok"], document["data"]) == (False, None)
    assert document["problems"][0]["message"] in result.err
    if document["schema"] != "evmaot.evmaot/1":
        check(document)


def test_lines_obey_their_schema(cli: Cli, real_store: Path) -> None:
    seen = set()
    for arguments in (["ls", "--jsonl"], ["ls", "--contracts", "--jsonl"]):
        lines = [json.loads(line) for line in cli(*arguments).out.splitlines()]
        for line in lines:
            check(line)
            seen.add(line["schema"].removeprefix("evmaot.").removesuffix("/1"))
        assert lines[-1]["schema"] == "evmaot.ls.summary/1"
    assert seen == set(schemas.RECORDS)


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_schemas_are_schemas(path: Path) -> None:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"evmaot.{path.stem}/1"


def test_the_check_finds_a_name_too_many_and_one_too_few(cli: Cli) -> None:
    document = cli("path", "--json").document
    check(document)
    for data in ({**document["data"], "more": 1}, {"store": document["data"]["store"]}):
        changed = {**document, "data": data}
        with pytest.raises(jsonschema.ValidationError):
            check(changed)
