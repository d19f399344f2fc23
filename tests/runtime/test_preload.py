"""Stores in, programs out: what is found, what is shared, what is left out."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evmaot.errors import StoreError, UsageError
from evmaot.evm.keccak import keccak256
from evmaot.runtime import (
    Compiled,
    CompiledProgram,
    Interpret,
    InterpretReason,
    LookupRequest,
    ProgramKind,
    RuntimeCacheKey,
    open_runtime,
)
from evmaot.runtime.preload import ResidentPrograms
from evmaot.store.directory import ArtifactDirectory
from evmaot.target import host_features
from tests.runtime.packs import CODE, MNEMONICS, Contract, make_library, make_manifest, profile, publish

AnswerOf = Callable[[CompiledProgram], int]
EQUAL_RULES = ["shanghai", "cancun", "prague", "osaka", "Osaka", "bpo1"]
"""Forks in which `CODE` costs and does the same; PUSH0 came with Shanghai."""


@pytest.fixture(params=["eager", "lazy"])
def preload(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("mapping", ["file", "copy"])
def test_a_published_contract_is_found_and_runs(root: Path, preload: str, mapping: str, answer_of: AnswerOf) -> None:
    publish(root, Contract())
    programs = open_runtime(root, preload=preload, mapping=mapping)
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    assert answer_of(program) == 42
    assert (program.kind, program.tier, program.code_hash) == (ProgramKind.AOT, "optimised", Contract().code_hash)
    assert program.code_sha256 == Contract().code_sha256
    assert program.rules_digest.hex() == Contract().rules_digest
    assert program.size_bytes > 0


def test_forks_of_equal_rules_share_one_program(root: Path, preload: str) -> None:
    publish(root, Contract(fork="cancun"))
    programs = open_runtime(root, preload=preload)
    found = {id(programs.lookup(Contract().code_hash, fork)) for fork in EQUAL_RULES}
    assert len(found) == 1
    assert id(None) not in found


@pytest.mark.parametrize("fork", ["paris", "london", "frontier"])
def test_a_fork_of_other_rules_is_a_miss(root: Path, fork: str) -> None:
    publish(root, Contract(fork="osaka"))
    assert open_runtime(root).lookup(Contract().code_hash, fork) is None


def test_what_the_manifest_says_of_forks_is_not_believed(root: Path, answer_of: AnswerOf) -> None:
    """Rules decide; a manifest that names a fork of other rules changes nothing."""
    # `forks` says paris, the rules are Osaka's: as left by a version whose tables were wrong.
    publish(root, Contract(fork="paris", rules=Contract(fork="osaka").rules_digest))
    programs = open_runtime(root)
    assert programs.lookup(Contract().code_hash, "paris") is None
    assert programs.lookup(Contract().code_hash, "osaka") is not None


def test_two_forks_of_one_code_have_their_own_programs(root: Path, preload: str, answer_of: AnswerOf) -> None:
    publish(root, Contract(fork="paris", answer=1), Contract(fork="osaka", answer=2))
    programs = open_runtime(root, preload=preload)
    answers = {}
    for fork in ("london", "paris", "shanghai", "osaka"):
        program = programs.lookup(Contract().code_hash, fork)
        assert program is not None
        answers[fork] = answer_of(program)
    assert answers == {"london": 1, "paris": 1, "shanghai": 2, "osaka": 2}


def test_lazy_preload_loads_a_pack_at_its_first_look_up(root: Path) -> None:
    others = [Contract(code=CODE + bytes([number])) for number in range(3)]
    publish(root, *others[:2])
    publish(root, others[2])
    programs = open_runtime(root, preload="lazy")
    assert (programs.statistics().libraries_indexed, programs.statistics().libraries_loaded) == (2, 0)
    assert programs.lookup(others[0].code_hash, "paris") is None
    assert programs.statistics().libraries_loaded == 0, "a miss loads nothing"
    assert programs.lookup(others[0].code_hash, "osaka") is not None
    assert (programs.statistics().libraries_loaded, programs.statistics().programs_loaded) == (1, 2)
    assert programs.lookup(others[2].code_hash, "osaka") is not None
    assert programs.statistics().libraries_loaded == 2


def test_a_damaged_pack_of_a_lazy_store_is_a_miss_when_it_is_needed(root: Path) -> None:
    path = publish(root, Contract())
    programs = open_runtime(root, preload="lazy")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    assert programs.lookup(Contract().code_hash, "osaka") is None
    assert programs.lookup(Contract().code_hash, "shanghai") is None
    assert programs.statistics().skipped == {"hash_mismatch": 1}, "it is tried once"


def test_statistics_say_what_was_loaded(root: Path) -> None:
    path = publish(root, Contract(), Contract(code=b"\x00", mnemonics=("STOP",)))
    statistics = open_runtime(root).statistics()
    assert (statistics.stores, statistics.libraries_indexed, statistics.libraries_loaded) == (1, 1, 1)
    assert (statistics.programs_indexed, statistics.programs_loaded, statistics.duplicates) == (2, 2, 0)
    assert statistics.loaded_bytes == path.stat().st_size
    assert statistics.skipped == {}
    assert statistics.seconds > 0


def test_an_empty_store_has_nothing(root: Path) -> None:
    ArtifactDirectory.open(root, create=True)
    programs = open_runtime(root)
    assert (len(programs), list(programs), programs.statistics().stores) == (0, [], 1)
    assert programs.lookup(bytes(32), "osaka") is None


def test_a_missing_store_is_a_counted_reason(root: Path) -> None:
    programs = open_runtime(root)
    assert programs.statistics().skipped == {"store_missing": 1}


def test_a_store_that_cannot_be_read_is_an_error_and_may_succeed_later(root: Path) -> None:
    publish(root, Contract())
    (root / "STORE").rename(root / "elsewhere")
    programs = ResidentPrograms()
    with pytest.raises(StoreError) as caught:
        programs.add_store(root)
    assert caught.value.reference == "not_a_store"
    (root / "elsewhere").rename(root / "STORE")
    programs.add_store(root)
    assert programs.lookup(Contract().code_hash, "osaka") is not None


def test_a_store_that_others_can_write_to_is_not_used(root: Path) -> None:
    publish(root, Contract())
    root.chmod(0o777)
    programs = open_runtime(root)
    assert programs.statistics().skipped == {"store_untrusted": 1}
    assert programs.lookup(Contract().code_hash, "osaka") is None


def test_the_first_of_several_stores_wins(
    tmp_path: Path, answer_of: AnswerOf, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path / "first", Contract(answer=1))
    publish(tmp_path / "second", Contract(answer=2), Contract(code=b"\x00", mnemonics=("STOP",), answer=3))
    with caplog.at_level(logging.WARNING, logger="evmaot.runtime"):
        programs = open_runtime([tmp_path / "first", tmp_path / "second"])
    first, second = (programs.lookup(code_hash, "osaka") for code_hash in programs)
    assert first is not None and second is not None
    assert (answer_of(first), answer_of(second)) == (1, 3)
    assert programs.statistics().duplicates == 1
    assert "1 members are there already; the first is used" in caplog.text


def test_a_duplicate_stands_in_for_a_damaged_first(tmp_path: Path, preload: str, answer_of: AnswerOf) -> None:
    damaged = publish(tmp_path / "first", Contract(answer=1))
    publish(tmp_path / "second", Contract(answer=2))
    damaged.unlink()
    programs = open_runtime([tmp_path / "first", tmp_path / "second"], preload=preload)
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    assert answer_of(program) == 2
    assert programs.statistics().skipped == {"object_missing": 1}


def test_the_optimised_tier_stands_before_the_fast_one(root: Path, answer_of: AnswerOf) -> None:
    for tier, answer in (("fast", 1), ("optimised", 2), ("later", 3)):
        publish(root, Contract(answer=answer), of=profile(tier=tier))
    programs = open_runtime(root)
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    assert (answer_of(program), program.tier) == (2, "optimised")
    assert programs.statistics().duplicates == 0, "another tier is no duplicate"


def test_code_for_more_features_of_this_machine_stands_first(root: Path, answer_of: AnswerOf) -> None:
    some = tuple(sorted(host_features()))[:3]
    if not some:
        pytest.skip("the kernel does not tell the features of this CPU")
    for features, answer in (((), 1), (some, 2), ((*some, "no_such_feature"), 3)):
        publish(root, Contract(answer=answer), of=profile(features=features))
    programs = open_runtime(root)
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    assert answer_of(program) == 2
    assert programs.statistics().skipped == {"isa_missing:no_such_feature": 1}


@pytest.mark.parametrize("other", [{"compiler": "of another version"}, {"llvmlite": "0.0.1"}])
def test_code_of_another_compiler_is_used_only_where_that_is_asked_for(root: Path, other: dict[str, str]) -> None:
    publish(root, Contract(), of=replace(profile(), **other))  # type: ignore[arg-type]  # all of them are text
    programs = open_runtime(root)
    assert programs.lookup(Contract().code_hash, "osaka") is None
    assert programs.statistics().skipped == {"profile_other": 1}
    assert open_runtime(root, profiles="any").lookup(Contract().code_hash, "osaka") is not None


def test_code_of_another_llvm_is_used_where_none_is_installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that compiles nothing has no LLVM to compare with; the sources still are."""
    monkeypatch.setattr("evmaot.runtime.loading.installed_llvmlite", lambda: None)
    publish(root, Contract(), of=replace(profile(), llvmlite="0.0.1"))
    assert open_runtime(root).lookup(Contract().code_hash, "osaka") is not None


@pytest.mark.parametrize("value", ["old", "", ["0123"], [b"x"]])
def test_unknown_profiles_are_an_error(root: Path, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        open_runtime(root, profiles=value)
    assert caught.value.reference == "unknown_value"


def test_only_accepted_profiles_are_used(root: Path, answer_of: AnswerOf) -> None:
    wanted = profile(compiler="this")
    publish(root, Contract(answer=1), of=profile(compiler="another"))
    publish(root, Contract(answer=2), of=wanted)
    programs = open_runtime(root, profiles=[wanted.digest])
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    assert answer_of(program) == 2
    assert programs.statistics().skipped == {"profile_other": 1}


def test_the_code_is_compared_by_sha256_when_it_is_given(root: Path) -> None:
    """A manifest whose code hash is not that of its code: matched by SHA-256, never run for another code."""
    lying = Contract(code=b"\x60\x01" + CODE)
    of = profile()
    library = make_library((lying,), bytes.fromhex(of.digest))
    honest = make_manifest(library, [lying], of)
    forged = honest.members[0]._replace(code_hash=Contract().code_hash.hex())
    manifest = type(honest)(honest.profile, honest.object, honest.origin, honest.created, (forged,))
    ArtifactDirectory.open(root, create=True).publish(library, manifest, of)
    programs = open_runtime(root)
    assert programs.lookup(Contract().code_hash, "osaka", CODE) is None
    assert programs.decide(LookupRequest(RuntimeCacheKey(Contract().code_hash, "osaka"), CODE)) == Interpret(
        InterpretReason.NOT_READY
    )
    assert programs.statistics().skipped == {"code_mismatch": 2}
    assert programs.lookup(Contract().code_hash, "osaka", lying.code) is not None


LYING_FIELDS = ("code_hash", "code_sha256", "rules", "opcodes", "length", "symbol")
FIRST = Contract(fork="london", mnemonics=("PUSH1", "BASEFEE", "SLOAD"), answer=1)
OTHERS = (
    Contract(code=b"\x54" + CODE, mnemonics=("PUSH1", "SLOAD"), answer=2),
    replace(FIRST, fork="istanbul", answer=3),
)


@pytest.mark.parametrize("other", OTHERS, ids=["of another code", "for other rules"])
def test_no_manifest_gets_another_contracts_code_run_where_the_code_is_at_hand(
    tmp_path: Path, other: Contract, answer_of: AnswerOf
) -> None:
    """Two members exchange any of their fields: a look-up is a miss or right, for the library has its own table."""
    of = profile()
    library = make_library((FIRST, other), bytes.fromhex(of.digest))
    honest = make_manifest(library, [FIRST, other], of)
    hits = 0
    for number in range(1 << len(LYING_FIELDS)):
        names = [name for bit, name in enumerate(LYING_FIELDS) if number >> bit & 1]
        one, two = honest.members
        swapped = (
            one._replace(**{name: getattr(two, name) for name in names}),
            two._replace(**{name: getattr(one, name) for name in names}),
        )
        root = tmp_path / str(number)
        ArtifactDirectory.open(root, create=True).publish(library, replace(honest, members=swapped), of)
        programs = open_runtime(root)
        for contract in (FIRST, other):
            program = programs.lookup(contract.code_hash, contract.fork, contract.code)
            if program is not None:
                assert answer_of(program) == contract.answer, names
                assert program.code_sha256 == contract.code_sha256
                hits += 1
    assert hits >= 2, "where nothing or everything is exchanged, both are found"


def test_a_look_up_by_hash_alone_relies_on_the_manifest(root: Path, answer_of: AnswerOf) -> None:
    """What evmaot-store(5) warns of: no library knows keccak hashes.  `verify` compares them with the bytecode."""
    lying = replace(FIRST, fork="osaka", code=b"\x54" + CODE)
    of = profile()
    library = make_library((lying,), bytes.fromhex(of.digest))
    honest = make_manifest(library, [lying], of)
    forged = honest.members[0]._replace(code_hash=keccak256(CODE).hex())
    ArtifactDirectory.open(root, create=True).publish(library, replace(honest, members=(forged,)), of)
    programs = open_runtime(root)
    believed = programs.lookup(keccak256(CODE), "osaka")
    assert believed is not None and believed.code_sha256 == lying.code_sha256, "its SHA-256 says what it is of"
    assert programs.lookup(keccak256(CODE), "osaka", CODE) is None, "and is never believed where the code is at hand"


def test_decisions(root: Path) -> None:
    publish(root, Contract())
    programs = open_runtime(root)

    def decide(code: bytes, fork: str = "osaka") -> object:
        return programs.decide(LookupRequest(RuntimeCacheKey(Contract(code=code).code_hash, fork), code))

    first = decide(CODE)
    assert isinstance(first, Compiled)
    assert decide(CODE) == first
    assert first.program is programs.lookup(Contract().code_hash, "osaka")
    assert decide(CODE, "paris") == Interpret(InterpretReason.NOT_READY)
    assert decide(b"\x00") == Interpret(InterpretReason.NOT_READY)
    for code in (b"", b"\xef\x01\x00" + bytes(20), b"\xef"):
        assert decide(code) == Interpret(InterpretReason.INELIGIBLE)


@pytest.mark.parametrize(
    ("code_hash", "fork", "reference"),
    [
        (bytes(32), "osakka", "unknown_fork"),
        (bytes(31), "osaka", "bad_code_hash"),
        ("00" * 32, "osaka", "bad_code_hash"),
    ],
)
def test_a_look_up_of_nonsense_is_an_error(root: Path, code_hash: bytes, fork: str, reference: str) -> None:
    publish(root, Contract())
    with pytest.raises(UsageError) as caught:
        open_runtime(root).lookup(code_hash, fork)
    assert caught.value.reference == reference


@pytest.mark.parametrize("arguments", [{"preload": "sometimes"}, {"mapping": "network"}])
def test_an_unknown_option_is_an_error(root: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        open_runtime(root, **arguments)
    assert caught.value.reference == "unknown_value"


def test_a_program_outlives_its_map_and_its_file(root: Path, answer_of: AnswerOf) -> None:
    path = publish(root, Contract())
    programs = open_runtime(root)
    program = programs.lookup(Contract().code_hash, "osaka")
    assert program is not None
    path.unlink()
    del programs
    gc.collect()
    assert answer_of(program) == 42


def test_a_copied_library_survives_truncation_of_its_file(root: Path, answer_of: AnswerOf) -> None:
    path = publish(root, Contract())
    program = open_runtime(root, mapping="copy").lookup(Contract().code_hash, "osaka")
    assert program is not None
    path.chmod(0o644)
    path.write_bytes(b"")
    assert answer_of(program) == 42


def test_threads_that_look_up_at_once_get_one_program(root: Path) -> None:
    contracts = [Contract(code=CODE + bytes([number])) for number in range(20)]
    publish(root, *contracts)
    programs = open_runtime(root, preload="lazy")
    barrier = threading.Barrier(8)
    found: list[list[int]] = []

    def work() -> None:
        barrier.wait()
        found.append([id(programs.lookup(contract.code_hash, "osaka")) for contract in contracts])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(row == found[0] for row in found)
    assert programs.statistics().libraries_loaded == 1


def test_the_runtime_writes_nothing(root: Path) -> None:
    publish(root, Contract())

    def listing() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))

    before = listing()
    open_runtime(root).lookup(Contract().code_hash, "osaka")
    assert listing() == before


def test_the_example_contract_is_what_the_packs_say() -> None:
    assert Contract().opcodes == {0x60, 0x5F, 0x52, 0xF3}
    assert len(MNEMONICS) == 4
