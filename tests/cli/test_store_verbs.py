"""`ls`, `show`, `verify` and `clear` on a store of packs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evmaot.cli import listing
from evmaot.evm.forks import FORKS
from tests.cli.conftest import Cli
from tests.cli.stores import CONTRACTS, PROFILE, Contract, publish


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home.parent / "store"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    publish(path)
    return path


def library_of(store: Path) -> Path:
    (path,) = (store / "v1" / "objects").glob("*/*.so")
    return path


def test_ls_without_a_store_says_so_and_succeeds(cli: Cli) -> None:
    result = cli("ls")
    assert (result.code, result.out) == (0, "")
    assert "the store is empty" in result.err
    assert cli("ls", "--json").document["data"]["profiles"] == []


def test_ls_has_a_row_for_each_fork_that_was_built_for(
    cli: Cli, store: Path, golden: Callable[[str, str], None]
) -> None:
    result = cli("ls")
    # The profile's digest moves with the native ABI, and the pack's name with it.
    golden("cli/ls.txt", result.out.replace(PROFILE.digest[:8], "01234567"))
    assert "3 artifacts in 1 pack" in result.err
    rows = cli("ls", "--json").document["data"]["profiles"]
    # CLZ is Osaka's; the other two can't tell London from Osaka.
    assert [(row["fork"], row["contracts"]) for row in rows] == [("london", 2), ("osaka", 3)]
    assert rows[0]["profile"] == PROFILE.digest


def test_ls_writes_nothing_into_a_store_that_asks_for_newer_writers(cli: Cli, store: Path) -> None:
    document = json.loads((store / "STORE").read_bytes())
    (store / "STORE").write_text(json.dumps(document | {"writer_min": document["writer_min"] + 1}))
    assert cli("ls").code == 0
    assert not (store / "v1/summaries").exists()


def test_ls_for_a_fork_counts_what_serves_it_whether_or_not_it_was_built_for_it(cli: Cli, store: Path) -> None:
    rows = cli("ls", "--fork", "shanghai", "--json").document["data"]["profiles"]
    assert [(row["fork"], row["contracts"]) for row in rows] == [("shanghai", 2)]


def test_ls_contracts(cli: Cli, store: Path, golden: Callable[[str, str], None]) -> None:
    text = cli("ls", "--contracts").out
    golden("cli/ls-contracts.txt", text.replace(library_of(store).stem[:8], "89abcdef"))
    data = cli("ls", "--contracts", "--json").document["data"]
    assert [row["label"] for row in data["contracts"]] == sorted(contract.label for contract in CONTRACTS)
    token = data["contracts"][1]
    assert token["code_hash"] == "0x" + CONTRACTS[0].code_hash
    assert token["built_for"] == ["london", "osaka"]
    assert token["forks"] == ["berlin", *list(FORKS)[list(FORKS).index("london") :]]


@pytest.mark.parametrize(
    ("order", "first"), [("label", "counter.hex"), ("length", "src/Vault.sol:Vault"), ("time", "src/Vault.sol:Vault")]
)
def test_ls_sorts_and_limits(cli: Cli, store: Path, order: str, first: str) -> None:
    result = cli("ls", "--contracts", "--sort", order, "--limit", "1")
    assert result.out.splitlines()[1].endswith(first)
    assert len(result.out.splitlines()) == 2
    assert "2 more not shown" in result.err


@pytest.mark.parametrize("pattern", ["src/Token*", "*:Token", "0x" + CONTRACTS[0].code_hash[:8]])
def test_ls_with_a_pattern_lists_contracts(cli: Cli, store: Path, pattern: str) -> None:
    rows = cli("ls", pattern, "--json").document["data"]["contracts"]
    assert [row["label"] for row in rows] == ["src/Token.sol:Token"]


def test_ls_jsonl_is_a_record_a_line_and_a_summary(cli: Cli, store: Path) -> None:
    records = [json.loads(line) for line in cli("ls", "--contracts", "--jsonl").out.splitlines()]
    assert [record["schema"] for record in records] == ["evmaot.ls.contract/1"] * 3 + ["evmaot.ls.summary/1"]
    assert records[-1]["contracts"] == 3


def test_ls_tells_why_artifacts_do_not_load_here(cli: Cli, store: Path) -> None:
    publish(store, profile=dataclasses.replace(PROFILE, abi="0" * 64))
    publish(store, profile=dataclasses.replace(PROFILE, features=("no_such_feature",)))
    publish(store, profile=dataclasses.replace(PROFILE, triple="riscv64-unknown-linux-gnu"))
    rows = cli("ls", "--fork", "osaka", "--json").document["data"]["profiles"]
    reasons = {row["not_loadable"] for row in rows}
    assert reasons == {None, "abi_mismatch", "isa_missing:no_such_feature", "architecture:riscv64"}


def test_ls_says_what_it_could_not_use(cli: Cli, store: Path) -> None:
    (manifest,) = (store / "v1" / "profiles").glob("*/packs/*.json")
    manifest.write_text("{")
    result = cli("ls")
    assert "manifest_not_json" in result.err
    assert "evmaot verify" in result.err
    assert cli("ls", "--json").document["problems"][0]["code"] == "manifest_not_json"


def test_show_finds_a_contract_by_hash_digest_key_and_label(cli: Cli, store: Path) -> None:
    by_hash = cli("show", "0x" + CONTRACTS[1].code_hash, "--json").document["data"]["contracts"]
    assert [row["label"] for row in by_hash] == ["src/Vault.sol:Vault"]
    for name in (by_hash[0]["code_sha256"][:12], by_hash[0]["key"], "src/Vault*"):
        assert cli("show", name, "--json").document["data"]["contracts"] == by_hash
    text = cli("show", "0x" + CONTRACTS[1].code_hash[:10]).out
    assert f"contract:   0x{CONTRACTS[1].code_hash}" in text
    assert "serves:     osaka" in text


def test_show_a_pack_and_a_profile(cli: Cli, store: Path) -> None:
    name = library_of(store).stem
    (pack,) = cli("show", name[:8], "--json").document["data"]["packs"]
    assert (pack["pack"], pack["members"], len(pack["contracts"])) == (name, 3, 3)
    assert f"pack:       {name}" in cli("show", name[:8]).out
    (profile,) = cli("show", PROFILE.digest[:8], "--json").document["data"]["profiles"]
    assert profile["preimage"] == PROFILE.preimage()
    assert "3 artifacts in 1 pack" in cli("show", PROFILE.digest[:8]).out


def test_show_of_nothing_is_an_error_with_a_hint(cli: Cli, store: Path) -> None:
    result = cli("show", "0x1234567890")
    assert result.code == 2
    assert "[not_in_store]" in result.err
    assert "evmaot ls --contracts" in result.err


def test_verify_of_a_sound_store(cli: Cli, store: Path) -> None:
    for level in ("meta", "hash"):
        result = cli("verify", "--level", level)
        assert (result.code, result.out) == (0, "")
        assert "checked 1 pack with 3 artifacts" in result.err
        assert "no damage found" in result.err


def test_verify_finds_a_flipped_bit_and_exits_with_4(cli: Cli, store: Path) -> None:
    path = library_of(store)
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    assert cli("verify", "--level", "meta").code == 0
    result = cli("verify")
    assert result.code == 4
    assert result.out.startswith(f"error: v1/objects/{path.parent.name}/{path.name}: ")
    assert result.out.endswith("[hash_mismatch]\n")
    assert "effect:" in result.err
    document = cli("verify", "--json").document
    assert not document["ok"]
    assert [problem["code"] for problem in document["problems"]] == ["hash_mismatch"]


def test_verify_counts_notes_and_shows_them_with_v(cli: Cli, store: Path) -> None:
    stray = store / "v1" / "objects" / "ab" / ("ab" * 32 + ".so")
    stray.parent.mkdir(mode=0o700, exist_ok=True)
    stray.write_bytes(b"")
    result = cli("verify")
    assert (result.code, result.out) == (0, "")
    assert "1 note; -v shows them" in result.err
    assert "[unreferenced]" in cli("verify", "-v").out


def test_a_missing_store_is_an_error_for_verify(cli: Cli) -> None:
    result = cli("verify")
    assert result.code == 73
    assert "[store_missing]" in result.err


def test_an_untrusted_store_is_refused(cli: Cli, store: Path) -> None:
    store.chmod(0o777)
    result = cli("ls")
    assert result.code == 77
    assert "cause: its mode 0777 lets others write to it" in result.err
    assert "hint: " in result.err


def test_clear_needs_a_selector(cli: Cli, store: Path) -> None:
    result = cli("clear", "--yes")
    assert result.code == 2
    assert "[nothing_selected]" in result.err
    assert library_of(store).exists()


def test_clear_without_a_terminal_needs_yes(cli: Cli, store: Path) -> None:
    result = cli("clear", "--all")
    assert result.code == 2
    assert "[needs_yes]" in result.err
    assert library_of(store).exists()


def test_clear_with_dry_run_removes_nothing(cli: Cli, store: Path) -> None:
    result = cli("clear", "--all", "--dry-run")
    assert result.code == 0
    assert "would remove 3 artifacts and 1 whole pack" in result.err
    assert library_of(store).exists()


def test_clear_removes_what_is_selected(cli: Cli, store: Path) -> None:
    data = cli("clear", "counter*", "--yes", "--json").document["data"]
    assert (data["done"], data["artifacts_removed"]) == (True, 1)
    assert [row["label"] for row in cli("ls", "*", "--json").document["data"]["contracts"]] == [
        "src/Token.sol:Token",
        "src/Vault.sol:Vault",
    ]
    result = cli("clear", "--all", "-y")
    assert "removed 2 artifacts and 1 whole pack" in result.err
    assert list((store / "v1" / "objects").glob("*/*.so")) == []
    assert "nothing in the store matches" in cli("clear", "--all", "-y").err


def test_clear_of_a_fork_keeps_what_other_forks_need(cli: Cli, store: Path) -> None:
    data = cli("clear", "--fork", "osaka", "--yes", "--json").document["data"]
    assert (data["artifacts_removed"], data["artifacts_kept_for_other_forks"]) == (2, 1)


def test_a_read_only_store_is_not_cleared(cli: Cli, store: Path) -> None:
    result = cli("clear", "--all", "--yes", "--read-only")
    assert result.code == 73
    assert "[store_read_only]" in result.err


def test_ranges_of_forks() -> None:
    assert listing.fork_ranges([]) == "-"
    assert listing.fork_ranges(["osaka"]) == "osaka"
    assert listing.fork_ranges(["osaka", "prague", "frontier"]) == "frontier, prague..osaka"
    assert listing.fork_ranges(FORKS) == "frontier..osaka"
    assert listing.fork_ranges(["osaka", "amsterdam"]) == "osaka, amsterdam"


def test_a_label_cannot_write_to_the_terminal(cli: Cli, store: Path) -> None:
    (manifest,) = (store / "v1" / "profiles").glob("*/packs/*.json")
    document = json.loads(manifest.read_text())
    document["members"][0]["label"] = "\x1b[2J"
    manifest.write_text(json.dumps(document))
    assert "\x1b" not in cli("ls", "--contracts").out


def test_ls_of_many_contracts_is_quick(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise is 0.5 s for 100,000; here a tenth of that, with room for slow machines."""
    import time

    path = home.parent / "large"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    for pack in range(40):
        publish(path, [Contract(f"{pack}/{number}", b"%d %d" % (pack, number)) for number in range(250)])
    start = time.process_time()
    assert cli("ls", "--json").document["data"]["totals"]["contracts"] == 10_000
    assert time.process_time() - start < 0.5


def test_show_disassembles_exactly_the_functions_of_one_contract(cli: Cli, real_store: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    symbols = {row["label"]: row["symbol"] for row in cli("show", "*.hex", "--json").document["data"]["contracts"]}
    text = cli("show", "push0.hex", "--disasm").out
    assert f"<{symbols['push0.hex']}>:" in text
    assert symbols["adding.hex"] not in text
    assert "ret" in text
    assert "<evmaot_keccak256>:" not in text


def test_show_makes_the_ir_from_the_bytecode_that_the_pack_keeps(cli: Cli, real_store: Path) -> None:
    assert "define " in cli("show", "push0.hex", "--ir").out
    for path in (real_store / "v1" / "codes").glob("*/*.codes"):
        path.unlink()
    result = cli("show", "push0.hex", "--ir")
    assert (result.code, "[code_not_kept]" in result.err) == (2, True)


def test_show_does_not_disassemble_what_is_damaged(cli: Cli, real_store: Path) -> None:
    path = library_of(real_store)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    result = cli("show", "push0.hex", "--disasm")
    assert result.code == (4 if shutil.which("objdump") else 2)


def test_show_of_machine_code_needs_one_contract(cli: Cli, real_store: Path) -> None:
    assert "[not_one_contract]" in cli("show", "*.hex", "--disasm").err
