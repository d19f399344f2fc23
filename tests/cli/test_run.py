"""`evmaot run`: results of real code, states, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

ECHO = "0x5f355f5260205ff3"
"""CALLDATALOAD(0) returned."""


def run(cli: Cli, *arguments: str | Path, **options: bytes) -> dict[str, object]:
    result = cli("run", *arguments, "--json", "--opt", "fast", **options)
    assert result.code == 0, result.err
    data: dict[str, object] = result.document["data"]
    return data


def test_code_on_the_command_line(cli: Cli) -> None:
    data = run(cli, ECHO, "--calldata", "0x2a", "--fork", "cancun")
    assert data["status"] == "RETURN"
    assert data["output"] == "0x2a" + "00" * 31
    # PUSH0 CALLDATALOAD PUSH0 MSTORE PUSH1 PUSH0 RETURN and one word of memory.
    assert data["gas_used"] == 2 + 3 + 2 + 3 + 3 + 3 + 2
    assert data["programs"] == {"stored": 0, "compiled": 1}
    assert (data["fork"], data["native_frames"], data["logs"], data["state"]) == ("cancun", 1, [], {})


def test_the_words_for_people(cli: Cli) -> None:
    result = cli("run", ECHO, "--calldata", "2a", "--opt", "fast")
    assert result.out.splitlines() == [
        "status:   RETURN",
        f"output:   0x2a{'00' * 31}",
        "gas used: 18",
        "refund:   0",
    ]
    assert "ran 1 native frame under Osaka in " in result.err


def test_how_a_message_ends_is_a_result_and_no_failure(cli: Cli) -> None:
    assert run(cli, "0x5f5ffd", "--fork", "osaka")["status"] == "REVERT"
    assert run(cli, "0x5f5ffd", "--fork", "paris")["status"] == "INVALID_OPCODE"
    halted = run(cli, "0x5b5f56", "--gas", "1000")
    assert (halted["status"], halted["gas_used"], halted["succeeded"]) == ("OUT_OF_GAS", 1000, False)


def test_code_from_a_file_and_from_standard_input(cli: Cli, home: Path) -> None:
    (home / "echo.hex").write_text(ECHO)
    assert run(cli, "echo.hex")["status"] == "RETURN"
    assert run(cli, "-", stdin=ECHO.encode())["status"] == "RETURN"


def test_storage_logs_and_value_are_shown(cli: Cli) -> None:
    # SSTORE(0, 42); LOG1(0, 32, topic 7); stop
    code = "0x602a5f55600760205fa100"
    data = run(cli, code, "--value", "5")
    assert data["status"] == "STOP"
    recipient, sender = f"0x{0xC0DE:040x}", f"0x{0xCA11:040x}"
    assert data["logs"] == [{"address": recipient, "topics": [f"0x{7:064x}"], "data": "0x" + "00" * 32}]
    state = data["state"]
    assert isinstance(state, dict)
    assert state[recipient]["storage"] == {"0x0": "0x2a"}
    assert state[recipient]["balance"] == "0x5"
    assert state[sender]["balance"] == hex(10**24 - 5)
    text = cli("run", code, "--value", "5", "--opt", "fast").out
    assert "slot 0x0 = 0x2a" in text
    assert f"topic 0x{7:064x}" in text


def test_a_prestate_with_accounts_that_call_each_other(cli: Cli, home: Path) -> None:
    callee = "0x" + "11" * 20
    # returns SLOAD(0)
    accounts = {
        callee: {"code": "0x5f545f5260205ff3", "storage": {"0x0": "0x2a"}},
        # CALL(gas, callee, 0, 0, 0, 0, 32); RETURN(0, 32)
        "0x" + "22" * 20: {"code": f"0x60205f5f5f5f73{'11' * 20}5af15060205ff3", "balance": "0x1"},
    }
    for name, document in (("plain.json", accounts), ("genesis.json", {"alloc": accounts})):
        (home / name).write_text(json.dumps(document))
        data = run(cli, "--prestate", name, "--to", "0x" + "22" * 20, "--fork", "prague")
        assert data["output"] == f"0x{42:064x}"
        assert data["native_frames"] == 2
    result = cli("run", "--prestate", "plain.json", "--to", "0x33")
    assert (result.code, "[no_such_account]" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("opcode", "field", "value"),
    [("43", "currentNumber", 7), ("42", "timestamp", 8), ("48", "base_fee", 9), ("46", "chainId", 10),
     ("44", "mixHash", 11), ("45", "gasLimit", 12), ("41", "coinbase", 13), ("3a", "gas_price", 14),
     ("32", "origin", 15), ("4a", "blobBaseFee", 16)],
)  # fmt: skip
def test_the_block_environment_reaches_the_code(cli: Cli, home: Path, opcode: str, field: str, value: int) -> None:
    (home / "env.json").write_text(json.dumps({field: hex(value)}))
    assert run(cli, f"0x{opcode}5f5260205ff3", "--block-env", "env.json")["output"] == f"0x{value:064x}"


def test_hashes_of_blocks_come_from_the_environment(cli: Cli, home: Path) -> None:
    (home / "env.json").write_text(json.dumps({"number": 10, "blockHashes": {"9": "0x77"}, "unknown": 1}))
    assert run(cli, "0x6009405f5260205ff3", "--block-env", "env.json")["output"] == f"0x{0x77:064x}"
    assert "not used: unknown" in cli("run", ECHO, "--block-env", "env.json", "--opt", "fast").err


def test_the_coinbase_is_warm_from_shanghai(cli: Cli) -> None:
    """EIP-3651: BALANCE of the coinbase (address 0 here) costs 100 instead of 2600."""
    used = {fork: run(cli, "0x413100", "--fork", fork)["gas_used"] for fork in ("paris", "shanghai")}
    assert used == {"paris": 2 + 2600, "shanghai": 2 + 100}


def test_a_transaction_that_creates(cli: Cli, home: Path) -> None:
    # init code: MSTORE8(0, 0xfe); RETURN(0, 1)
    transaction = {"to": "", "data": "0x60fe5f5360015ff3", "gasLimit": "0xfffff", "value": "0x01"}
    pre = {"0x" + "11" * 20: {"balance": "0xff", "nonce": "0x3"}}
    case = {"one": {"env": {}, "pre": pre, "transaction": transaction}}
    (home / "create.json").write_text(json.dumps(case))
    data = run(cli, "--transaction", "create.json")
    assert (data["name"], data["status"], data["output"]) == ("one", "RETURN", "0xfe")
    state = data["state"]
    assert isinstance(state, dict)
    (created,) = [row for row in state.values() if row.get("code") == "0xfe"]
    assert (created["balance"], created["nonce"]) == ("0x1", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "reference"),
    [
        ((), 2, "nothing_to_run"),
        (("0x123",), 3, "odd_hex"),
        (("0xzz",), 3, "not_hex"),
        (("0x",), 3, "empty_code"),
        (("absent.hex",), 3, "not_found"),
        ((ECHO, "--calldata", "0x1"), 2, "bad_hex"),
        ((ECHO, "--gas", "-1"), 2, "bad_number"),
        ((ECHO, "--value", "much"), 2, "bad_number"),
        ((ECHO, "--to", "0x" + "1" * 41), 2, "bad_number"),
        ((ECHO, "--prestate", "absent.json"), 2, "unreadable_file"),
        ((ECHO, "--prestate", "bad.json"), 3, "prestate_not_json"),
        ((ECHO, "--prestate", "list.json"), 3, "prestate_unknown_form"),
        (("--transaction", "bad.json"), 2, "bad_json"),
        (("--transaction", "list.json"), 2, "bad_shape"),
        (("--transaction", "bad.json", "--value", "1"), 2, "two_messages"),
        (("0x" + "ab" * 32,), 73, "store_missing"),
        ((ECHO, "--fork", "osakka"), 2, "unknown_fork"),
    ],
)
def test_what_cannot_be_run_is_named(
    cli: Cli, home: Path, arguments: tuple[str, ...], code: int, reference: str
) -> None:
    (home / "bad.json").write_text("{")
    (home / "list.json").write_text("[]")
    result = cli("run", *arguments)
    assert f"[{reference}]" in result.err
    assert (result.code, result.out) == (code, "")


def test_a_file_of_several_contracts_needs_a_choice(cli: Cli, home: Path) -> None:
    alloc = {f"0x{number:040x}": {"balance": "0x0", "code": code} for number, code in ((1, ECHO), (2, "0x00"))}
    (home / "alloc.json").write_text(json.dumps({"alloc": alloc}))
    result = cli("run", "alloc.json")
    assert (result.code, "[several_contracts]" in result.err) == (2, True)
    assert "hint: choose one with --contract GLOB" in result.err
    assert run(cli, "alloc.json", "--contract", "*02")["status"] == "STOP"
    assert "[no_such_contract]" in cli("run", "alloc.json", "--contract", "*99").err


def test_stored_artifacts_are_used_by_code_and_by_hash(cli: Cli, home: Path) -> None:
    (home / "echo.hex").write_text(ECHO)
    report = cli("build", "echo.hex", "--fork", "osaka", "--json").document["data"]
    data = cli("run", ECHO, "--json").document["data"]
    assert data["programs"]["compiled"] == 0
    assert data["programs"]["stored"] > 0
    code_hash = report["units"][0]["code_hash"]
    by_hash = cli("run", code_hash, "--calldata", "0x2a", "--json").document["data"]
    assert by_hash["output"] == "0x2a" + "00" * 31
    assert by_hash["programs"]["compiled"] == 0
    assert cli("run", ECHO, "--no-store", "--opt", "fast", "--json").document["data"]["programs"]["compiled"] == 1
    assert cli("run", ECHO, "--opt", "fast", "--json").document["data"]["programs"]["compiled"] == 1
    missing = cli("run", "0x" + "ab" * 32)
    assert (missing.code, "[not_in_store]" in missing.err) == (2, True)
    wrong_fork = cli("run", code_hash, "--fork", "paris")
    assert (wrong_fork.code, "[not_in_store]" in wrong_fork.err) == (2, True)


def test_an_artifact_that_reads_its_own_code_needs_the_code(cli: Cli) -> None:
    # CODECOPY(0, 0, 1)
    code = "0x60015f5f3900"
    data = cli("build", "-", "--json", stdin=code.encode()).document["data"]
    result = cli("run", data["units"][0]["code_hash"])
    assert (result.code, "[code_needed]" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "gas"),
    [("fibonacci-calldata", 84_203 - 21_152), ("factorial", 87_203 - 21_152), ("hash_10k", 2_572_907 - 21_064)],
)
def test_benchmark_transactions_cost_what_three_other_evms_say(
    cli: Cli, fixtures_dir: Path, name: str, gas: int
) -> None:
    """The published gas of the transactions, less the intrinsic part."""
    data = run(cli, "--transaction", fixtures_dir / "bench" / f"{name}.json", "--fork", "prague")
    assert (data["status"], data["gas_used"], data["refund"]) == ("RETURN", gas, 0)


def test_a_store_that_cannot_be_looked_at_is_told_and_the_code_is_compiled(cli: Cli, home: Path) -> None:
    # As with a directory without permission, which a test of the super-user can't have.
    result = cli("--store", home / ("x" * 300), "run", ECHO, "--opt", "fast")
    assert (result.code, "gas used: 18" in result.out, "effect: this store is not asked" in result.err) == (
        0, True, True,
    )  # fmt: skip
