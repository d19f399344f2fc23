"""`explain`: every reason for a miss, by the field that differs first."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from evmaot.evm.forks import fork_named
from evmaot.evm.instruction_set import restrict
from evmaot.evm.keccak import keccak256
from evmaot.store.directory import ArtifactDirectory
from evmaot.store.keys import unit_key
from evmaot.store.negative import NegativeRecord
from tests.cli.conftest import ADDING_CODE, PUSH0_CODE, Cli
from tests.cli.stores import CONTRACTS, PROFILE, publish
from tests.cli.upgrades import upgrade

PUSH0_HASH = "0x" + keccak256(bytes.fromhex(PUSH0_CODE)).hex()
OTHER_CODE = "6001600101"


def explained(cli: Cli, *arguments: str) -> dict[str, Any]:
    result = cli("explain", *arguments, "--json")
    assert result.code == 0, result.err
    data: dict[str, Any] = result.document["data"]
    return data


def reasons(data: dict[str, Any]) -> tuple[str, str]:
    return data["lookup"]["reason"], data["build"]["reason"]


def test_a_hit_is_a_library_that_was_loaded(cli: Cli, real_store: Path) -> None:
    data = explained(cli, PUSH0_HASH, "--fork", "osaka")
    assert reasons(data) == ("loaded", "cached")
    assert data["lookup"]["outcome"] == "hit"
    assert data["lookup"]["found"] == data["wanted"], "the preimages of a hit are the same"
    assert cli("explain", PUSH0_HASH[:12]).code == 0


def test_a_code_file_is_as_good_as_its_hash(cli: Cli, real_store: Path, home: Path) -> None:
    (home / "code.hex").write_text(PUSH0_CODE)
    assert explained(cli, "code.hex") == explained(cli, PUSH0_HASH)


def test_a_fork_of_other_rules_misses_with_the_price_that_differs(cli: Cli, real_store: Path) -> None:
    data = explained(cli, PUSH0_HASH, "--fork", "paris")
    assert reasons(data) == ("rules_differ", "rules_differ")
    assert data["lookup"]["first_difference"] == {"field": "gas of PUSH0", "wanted": "undefined", "found": "2"}
    text = cli("explain", PUSH0_HASH, "--fork", "paris").out
    assert "miss: rules differ: gas of PUSH0 is undefined in paris, 2 in the artifact [rules_differ]" in text


def test_another_tier_is_a_hit_for_the_runtime_and_a_miss_for_a_build(cli: Cli, real_store: Path) -> None:
    data = explained(cli, PUSH0_HASH, "--opt", "optimised")
    assert reasons(data) == ("loaded", "profile_differs")
    assert data["build"]["first_difference"]["field"] == "tier"


def test_an_upgraded_compiler_is_named_by_its_llvm_first(
    cli: Cli, real_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(monkeypatch)
    result = cli("explain", PUSH0_HASH)
    assert result.out.count("profile differs in llvm version: 99.0.0 here, ") == 2
    assert reasons(explained(cli, PUSH0_HASH)) == ("profile_other", "profile_differs")
    assert [row["stale"] for row in cli("ls", "--stale", "--json").document["data"]["profiles"]] == ["llvmlite"] * 4
    assert cli("stats", "--json").document["data"]["stale"]["artifacts"] == 2
    assert "profile_other: another compiler version made it" in cli("ls").err


def test_nothing_is_stale_where_nothing_was_upgraded(cli: Cli, real_store: Path) -> None:
    assert cli("ls", "--stale", "--json").document["data"]["profiles"] == []
    assert cli("ls", "--stale", "--error-if-empty").code == 7


@pytest.mark.parametrize("code", ["0x" + "12" * 32, "other.hex"])
def test_what_is_not_there_is_not_in_the_store(cli: Cli, real_store: Path, home: Path, code: str) -> None:
    (home / "other.hex").write_text(OTHER_CODE)
    data = explained(cli, code)
    assert reasons(data) == ("not_in_store", "not_in_store")
    assert data["hint"] == "evmaot build --fork osaka INPUT"
    assert cli("explain", code, "--error-if-empty").code == 7


def test_without_a_store_that_is_the_reason(cli: Cli) -> None:
    assert reasons(explained(cli, PUSH0_HASH)) == ("store_missing", "store_missing")


def test_a_store_that_others_can_write_to_is_the_reason(cli: Cli, real_store: Path) -> None:
    real_store.chmod(0o777)
    data = explained(cli, PUSH0_HASH)
    assert reasons(data) == ("store_untrusted", "store_untrusted")
    assert "0777" in data["lookup"]["message"]


@pytest.mark.parametrize("by_hash", [False, True])
def test_a_remembered_failure_is_the_reason(cli: Cli, real_store: Path, home: Path, by_hash: bool) -> None:
    from evmaot.codegen.options import CompileOptions, Tier
    from evmaot.toolchain import profile_of

    code = bytes.fromhex(OTHER_CODE)
    (home / "other.hex").write_text(OTHER_CODE)
    profile, sha256 = profile_of(CompileOptions(Tier.FAST)), hashlib.sha256(code).hexdigest()
    rules = restrict(fork_named("osaka"), frozenset({0x01, 0x60})).digest
    record = NegativeRecord(
        unit_key=unit_key(profile.digest, rules, sha256, len(code)), code_sha256=sha256, length=len(code), rules=rules,
        label="other", reason="compile_timeout", message="not done in 5 s", timeout_seconds=5.0,
        memory_limit_bytes=1 << 30, code_hash=keccak256(code).hex(),
    )  # fmt: skip
    ArtifactDirectory.open(real_store).remember_failure(profile, record)
    data = explained(cli, "0x" + keccak256(code).hex() if by_hash else "other.hex")
    assert reasons(data) == ("negative:compile_timeout", "negative:compile_timeout")
    assert data["failure"]["message"] == "not done in 5 s"
    assert "--timeout" in data["hint"]
    assert cli("stats", "--json").document["data"]["failures"] == {"count": 1, "reasons": {"compile_timeout": 1}}


def test_a_flipped_bit_is_a_refusal_and_not_a_crash(cli: Cli, real_store: Path) -> None:
    (library,) = (real_store / "v1" / "objects").glob("*/*.so")
    data = bytearray(library.read_bytes())
    data[5] ^= 1
    library.chmod(0o644)
    library.write_bytes(data)
    library.chmod(0o444)
    result = cli("explain", PUSH0_HASH)
    assert "refused: the library's SHA-256 is " in result.out
    assert "[hash_mismatch]" in result.out
    assert "hint: evmaot verify --repair" in result.err
    library.unlink()
    assert reasons(explained(cli, PUSH0_HASH)) == ("object_missing", "object_missing")


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"features": ("no_such_feature",)}, "isa_missing:no_such_feature", "this CPU has no no_such_feature"),
        ({"triple": "riscv64-unknown-linux-gnu"}, "architecture:riscv64", "machine code for riscv64"),
        ({"abi": "0" * 64}, "abi_mismatch", "another version of evmaot"),
    ],
)
def test_artifacts_for_other_machines_and_versions_are_named(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], reason: str, words: str
) -> None:
    path = home.parent / "store"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    publish(path, profile=dataclasses.replace(PROFILE, **change))
    result = cli("explain", "0x" + CONTRACTS[0].code_hash)
    assert f"[{reason}]" in result.out
    assert words in result.out


def test_the_candidate_that_came_furthest_is_the_reason(
    cli: Cli, real_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artifact for another machine beside one of other rules: the latter is what is nearly right."""
    adding = "0x" + keccak256(bytes.fromhex(ADDING_CODE)).hex()
    assert reasons(explained(cli, adding, "--fork", "frontier"))[0] == "loaded"
    assert len(explained(cli, PUSH0_HASH, "--fork", "paris")["candidates"]) == 1


def test_first_digits_must_name_one_code(cli: Cli, real_store: Path) -> None:
    assert "[not_in_store]" in cli("explain", "0x1234567890abcdef12").err
    assert cli("explain", "0x1234567890abcdef12").code == 2


def test_other_code_under_the_same_hash_is_told(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can make one, but a manifest can be forged: the SHA-256 is compared too."""
    import json

    path = home.parent / "store"
    monkeypatch.setenv("EVMAOT_STORE", str(path))
    publish(path)
    (home / "other.hex").write_text(OTHER_CODE)
    (manifest,) = (path / "v1" / "profiles").glob("*/packs/*.json")
    document = json.loads(manifest.read_text())
    for member in document["members"]:
        member["code_hash"] = keccak256(bytes.fromhex(OTHER_CODE)).hex()
    manifest.write_text(json.dumps(document))
    assert reasons(explained(cli, "other.hex"))[0] == "code_mismatch"


def test_opcodes_of_the_code_decide_the_rules(cli: Cli, real_store: Path, home: Path) -> None:
    (home / "other.hex").write_text(OTHER_CODE)
    wanted = explained(cli, "other.hex")["wanted"]
    assert set(wanted["rules"]["gas"]) == {"ADD", "PUSH1"}
    assert wanted["rules"]["digest"] == restrict(fork_named("osaka"), frozenset({0x01, 0x60})).digest


def test_what_the_store_lacks_is_found_in_a_layer(
    cli: Cli, real_store: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = home.parent / "top"
    ArtifactDirectory.open(top, create=True)
    monkeypatch.setenv("EVMAOT_STORE_PATH", str(real_store))
    monkeypatch.setenv("EVMAOT_STORE", str(top))
    data = explained(cli, PUSH0_HASH)
    assert (data["lookup"]["reason"], data["store"]) == ("loaded", str(real_store))
    assert cli("preload", "--check", "--json").document["data"]["programs"] == 2


def test_digits_that_only_the_store_could_complete_are_not_called_unknown_without_it(cli: Cli, home: Path) -> None:
    result = cli("--store", home / "missing", "explain", "0x12")
    assert (result.code, "[store_missing]" in result.err) == (73, True)
