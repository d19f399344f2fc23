"""Templates from the build to the run: one artifact for deployments that differ, right results, never a wrong match."""

from __future__ import annotations

from pathlib import Path

import pytest

from evmaot.abi.status import CallKind
from evmaot.build import BuildReport, BuildRequest, UnitStatus, build
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import fork_named, forks_selected
from evmaot.evm.keccak import keccak256
from evmaot.execution import hashing
from evmaot.execution.executor import Executor
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import StorePrograms
from evmaot.execution.protocol import Account, Message, NotNative
from evmaot.inputs.deny import DenyList
from evmaot.inputs.source import ContractSource, Hole
from evmaot.rebuild import rebuild, tools_like
from evmaot.runtime import open_runtime, templates
from evmaot.runtime.preload import ResidentPrograms
from evmaot.store.codes import read_codes
from evmaot.store.directory import ArtifactDirectory
from tests.support.assembler import asm
from tests.support.eels_message import run_eels
from tests.support.native import ENVIRONMENT, SELF, SENDER, Call, world_of

FORK = "osaka"
CLOSED = asm("7 0 SSTORE STOP")


def immutables(first: int, second: int) -> bytes:
    """(first * calldata + second), where both are immutables, the second of 20 bytes."""
    body = f"PUSH32={first} 0 CALLDATALOAD MUL PUSH20={second} ADD 0 MSTORE 32 0 RETURN"
    return asm(body)


IMMUTABLE_HOLES = (Hole(1, 32, "immutable"), Hole(38, 20, "library"))


def jumping(target: int) -> bytes:
    """Jumps to an immutable: to 8 or 15, or to what is no JUMPDEST."""
    return asm(f"PUSH2={target} JUMP INVALID INVALID INVALID INVALID a: 1 0 MSTORE x5f b: 32 0 RETURN")


JUMP_HOLES = (Hole(1, 2, "immutable"),)


def appended(data: bytes) -> bytes:
    """As Vyper does it: code that copies what the constructor appended, and returns it."""
    return asm("32 14 0 CODECOPY 32 0 RETURN STOP STOP") + data


APPENDED_HOLES = (Hole(14, 32, "immutable"),)


def built(
    path: Path, code: bytes, holes: tuple[Hole, ...], tier: Tier = Tier.FAST, *, strip_metadata: bool = False
) -> BuildReport:
    store = ArtifactDirectory.open(path, create=True)
    source = ContractSource(code, "template", "test", holes)
    options = CompileOptions(tier)
    return build(BuildRequest([source], forks_selected(FORK), options, strip_metadata=strip_metadata), store)


def run_stored(programs: ResidentPrograms, code: bytes, calldata: bytes) -> tuple[str, int, bytes]:
    """Outcome, gas left and output of a code on the store's programs alone.  Raises NotNative."""
    rules = fork_named(FORK)
    state = MemoryState(rules, {SELF: Account(1, 0, code), SENDER: Account(1, 0, b"")})
    message = Message(CallKind.CALL, SENDER, SELF, 100_000, code=code, code_address=SELF, input=calldata)
    result = Executor(StorePrograms(programs.lookup)).execute(message, ENVIRONMENT, state, rules)
    outcome = "success" if result.succeeded else "halt" if result.failure or result.status.halted else "revert"
    return outcome, result.gas_left, result.output


def run_specified(code: bytes, calldata: bytes) -> tuple[str, int, bytes]:
    ended = run_eels(Call(world_of(code), gas=100_000, input=calldata), FORK)
    return ended.outcome, ended.gas_left, ended.output


@pytest.mark.parametrize("tier", Tier)
def test_deployments_with_different_immutables_share_an_artifact_and_are_right(tmp_path: Path, tier: Tier) -> None:
    report = built(tmp_path / "s", immutables(0, 0), IMMUTABLE_HOLES, tier)
    assert [unit.status for unit in report.units] == [UnitStatus.COMPILED]
    programs = open_runtime(tmp_path / "s")
    calldata = (12345).to_bytes(32, "big")
    addresses, outputs = set(), set()
    for first, second in ((0, 0), (7, 9), ((1 << 256) - 1, (1 << 160) - 1), (1 << 255, 0x5B << 152)):
        code = immutables(first, second)
        ended = run_stored(programs, code, calldata)
        assert ended == run_specified(code, calldata)
        assert int.from_bytes(ended[2], "big") == (first * 12345 + second) % (1 << 256)
        program = programs.lookup(keccak256(code), FORK)
        assert program is not None, "what was matched once is found by its hash alone"
        assert program.code_hash == keccak256(code)
        addresses.add(program.address)
        outputs.add(ended[2])
    assert len(addresses) == 1
    assert len(outputs) == 4


@pytest.mark.parametrize("tier", Tier)
def test_a_jump_to_an_immutable_goes_where_the_deployment_says(tmp_path: Path, tier: Tier) -> None:
    assert built(tmp_path / "s", jumping(0), JUMP_HOLES, tier).units[0].holes == ((1, 2),)
    programs = open_runtime(tmp_path / "s")
    for target in (8, 15, 14, 9, 0, 0xFFFF):
        code = jumping(target)
        assert run_stored(programs, code, b"") == run_specified(code, b""), target


def test_jump_targets_of_these_tests_differ() -> None:
    assert {run_specified(jumping(target), b"")[0] for target in (8, 9)} == {"success", "halt"}


def test_immutables_behind_the_code_are_read_from_the_deployment(tmp_path: Path) -> None:
    report = built(tmp_path / "s", appended(bytes(32)), APPENDED_HOLES)
    assert report.units[0].template_refusal is None
    programs = open_runtime(tmp_path / "s")
    for data in (b"\x5b" * 32, bytes(range(32)), b"\x7f" + b"\x5b" * 31):
        code = appended(data)
        assert run_stored(programs, code, b"") == run_specified(code, b"")
        assert run_specified(code, b"")[2] == data


def test_code_that_differs_outside_the_holes_or_in_length_does_not_match(tmp_path: Path) -> None:
    built(tmp_path / "s", immutables(0, 0), IMMUTABLE_HOLES)
    programs = open_runtime(tmp_path / "s")
    code = immutables(7, 9)
    inside = {hole.offset + index for hole in IMMUTABLE_HOLES for index in range(hole.length)}
    for index in range(len(code)):
        changed = bytearray(code)
        changed[index] ^= 1
        found = programs.lookup(keccak256(bytes(changed)), FORK, bytes(changed))
        assert (found is not None) == (index in inside), index
    for other in (code + b"\0", code[:-1]):
        assert programs.lookup(keccak256(other), FORK, other) is None
        with pytest.raises(NotNative):
            run_stored(programs, other, b"")


def test_a_code_is_never_remembered_under_a_hash_that_is_not_its_own(tmp_path: Path) -> None:
    built(tmp_path / "s", immutables(0, 0), IMMUTABLE_HOLES)
    programs = open_runtime(tmp_path / "s")
    wrong = keccak256(b"something else")
    assert programs.lookup(wrong, FORK, immutables(7, 9)) is None
    assert programs.lookup(wrong, FORK) is None


def test_a_match_hashes_with_the_fastest_keccak_that_there_is() -> None:
    """In pure Python it is 20 ms for a long code, and look-ups of the background JIT promise not to wait."""
    assert vars(templates)["keccak256"] is hashing.keccak256


def test_two_deployments_as_inputs_are_one_unit(tmp_path: Path) -> None:
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    sources = [ContractSource(immutables(n, n), f"at {n}", "test", IMMUTABLE_HOLES) for n in (1, 2)]
    report = build(BuildRequest(sources, forks_selected(FORK), CompileOptions(Tier.FAST)), store)
    assert [unit.labels for unit in report.units] == [("at 1", "at 2")]
    again = build(BuildRequest(sources[1:], forks_selected(FORK), CompileOptions(Tier.FAST)), store)
    assert [unit.status for unit in again.units] == [UnitStatus.CACHED]
    assert store.verify("hash") == []


def test_a_template_and_the_same_bytes_as_a_code_live_side_by_side(tmp_path: Path) -> None:
    """A code that is full of zeros where the template has its holes is another unit with another entry."""
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    zeros = immutables(0, 0)
    keys = set()
    # The code first: a template that is there would serve it.
    for source in (ContractSource(zeros, "c", "test"), ContractSource(zeros, "t", "test", IMMUTABLE_HOLES)):
        report = build(BuildRequest([source], forks_selected(FORK), CompileOptions(Tier.FAST)), store)
        keys |= {unit.unit_key for unit in report.units if unit.status is UnitStatus.COMPILED}
    assert len(keys) == 2
    programs = open_runtime(tmp_path / "s")
    own, other = (programs.lookup(keccak256(code), FORK, code) for code in (zeros, immutables(1, 1)))
    assert own is not None and other is not None
    assert own.address != other.address
    assert run_stored(programs, immutables(3, 4), bytes(31) + b"\x02")[2] == (10).to_bytes(32, "big")


def test_what_cannot_be_a_template_is_compiled_as_it_is_and_says_why(tmp_path: Path) -> None:
    code = immutables(7, 9)
    report = built(tmp_path / "s", code, (Hole(1, 31, "immutable"),))
    (unit,) = report.units
    assert (unit.status, unit.holes) == (UnitStatus.COMPILED, ())
    assert unit.template_refusal is not None
    programs = open_runtime(tmp_path / "s")
    assert programs.lookup(keccak256(code), FORK, code) is not None
    other = immutables(8, 9)
    assert programs.lookup(keccak256(other), FORK, other) is None


def test_metadata_is_a_hole_where_that_is_asked_for(tmp_path: Path) -> None:
    def contract(filler: int) -> bytes:
        cbor = bytes.fromhex("a2646970667358221220") + bytes([filler]) * 32 + bytes.fromhex("64736f6c63430008180033")
        return asm("0 CALLDATALOAD 1 ADD 0 MSTORE 32 0 RETURN INVALID") + cbor

    one, other = contract(0x5B), contract(0x01)
    built(tmp_path / "plain", one, ())
    built(tmp_path / "stripped", one, (), strip_metadata=True)
    assert open_runtime(tmp_path / "plain").lookup(keccak256(other), FORK, other) is None
    programs = open_runtime(tmp_path / "stripped")
    for code in (one, other):
        assert run_stored(programs, code, bytes(31) + b"\x05") == run_specified(code, bytes(31) + b"\x05")


def test_a_pack_with_a_template_is_compiled_again_to_the_same_bytes(tmp_path: Path) -> None:
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    sources = [ContractSource(immutables(1, 2), "t", "test", IMMUTABLE_HOLES), ContractSource(CLOSED, "c", "test")]
    build(BuildRequest(sources, forks_selected(FORK), CompileOptions(Tier.FAST)), store)
    (pack,) = store.packs()
    codes = read_codes(store.files, pack.manifest.object.sha256)
    assert codes is not None
    assert {code.holes for code in codes} == {(), tuple((hole.offset, hole.length) for hole in IMMUTABLE_HOLES)}
    assert rebuild(tools_like(pack.profile.profile), codes).sha256 == pack.manifest.object.sha256


def test_where_a_template_is_refused_every_deployment_is_compiled(tmp_path: Path) -> None:
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    holes = (Hole(1, 31, "immutable"),)  # a part of an operand
    codes = [immutables(0, 9), immutables(7 << 8, 9), immutables(8 << 8, 9), immutables(7 << 8, 9)]
    sources = [ContractSource(code, f"at {n}", "test", holes) for n, code in enumerate(codes)]
    report = build(BuildRequest(sources, forks_selected(FORK), CompileOptions(Tier.FAST)), store)
    assert sorted(unit.labels for unit in report.units) == [("at 0",), ("at 1", "at 3"), ("at 2",)]
    assert report.undeployed == 1
    programs = open_runtime(tmp_path / "s")
    for code in codes:
        assert run_stored(programs, code, b"\1") == run_specified(code, b"\1")


@pytest.mark.parametrize("denied", [1, 2])
def test_a_template_of_which_one_deployment_is_denied_serves_none(tmp_path: Path, denied: int) -> None:
    store = ArtifactDirectory.open(tmp_path / "s", create=True)
    codes = {n: immutables(n, n) for n in (1, 2, 3)}
    sources = [ContractSource(codes[n], f"at {n}", "test", IMMUTABLE_HOLES) for n in codes]
    deny = DenyList(frozenset({keccak256(codes[denied]).hex()}))
    report = build(BuildRequest(sources, forks_selected(FORK), CompileOptions(Tier.FAST), deny=deny), store)
    assert [problem.message for problem in report.problems] == [f"at {denied} is on the deny list"]
    programs = open_runtime(tmp_path / "s")
    for n, code in codes.items():
        assert (programs.lookup(keccak256(code), FORK, code) is None) == (n == denied)
