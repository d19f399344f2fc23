"""Whole frames on a host of one's own: each method is asked, children run, exceptions surface."""

from __future__ import annotations

import traceback
from collections import defaultdict

import pytest

from evmaot.abi.status import AccountFlag, CallKind, StorageStatus
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.errors import HostError
from evmaot.evm.forks import FORKS
from evmaot.evm.keccak import keccak256
from evmaot.execution.programs import JitPrograms
from evmaot.runtime import (
    Child,
    ChildResult,
    CompiledProgram,
    EnvironmentRecord,
    FrameMessage,
    FrameResult,
    HostDriver,
    Request,
    Status,
    execute,
    told,
)
from evmaot.runtime.memory import SMALLEST_RESERVE_BYTES
from tests.support.assembler import asm

OSAKA = FORKS["osaka"]
ME, OTHER, SENDER = 0xAA, 0xBB, 0xCC
ENVIRONMENT = EnvironmentRecord(number=1000)
PROGRAMS = JitPrograms(CompileOptions(Tier.FAST))


def program_of(code: bytes) -> CompiledProgram:
    return PROGRAMS.program_for(code, None, OSAKA)


class World:
    """A host of dictionaries; a child that fails is undone by a copy."""

    def __init__(self, codes: dict[int, bytes]) -> None:
        self.codes = codes
        self.storage: dict[tuple[int, int], int] = defaultdict(int)
        self.transient: dict[tuple[int, int], int] = defaultdict(int)
        self.balances: dict[int, int] = defaultdict(int)
        self.warm: set[object] = set()
        self.logs: list[tuple[int, tuple[int, ...], bytes]] = []
        self.destroyed: list[tuple[int, int]] = []
        self.saved: list[dict[tuple[int, int], int]] = []
        self.deepest = 0

    def get_storage(self, address: int, key: int) -> int:
        return self.storage[address, key]

    def set_storage(self, address: int, key: int, value: int) -> int:
        before = self.storage[address, key]
        self.storage[address, key] = value
        return StorageStatus.ASSIGNED if before == value else StorageStatus.ADDED

    def _access(self, what: object) -> bool:
        was_cold = what not in self.warm
        self.warm.add(what)
        return was_cold

    def access_storage(self, address: int, key: int) -> bool:
        return self._access((address, key))

    def get_transient_storage(self, address: int, key: int) -> int:
        return self.transient[address, key]

    def set_transient_storage(self, address: int, key: int, value: int) -> None:
        self.transient[address, key] = value

    def access_account(self, other: int) -> bool:
        return self._access(other)

    def account_flags(self, other: int) -> int:
        return AccountFlag.EXISTS | AccountFlag.ALIVE if other in self.codes else 0

    def get_balance(self, other: int) -> int:
        return self.balances[other]

    def get_code(self, other: int) -> bytes:
        return self.codes.get(other, b"")

    def get_code_hash(self, other: int) -> int:
        return int.from_bytes(keccak256(self.codes[other]), "big") if other in self.codes else 0

    def get_block_hash(self, number: int) -> int:
        return number * 7 if number < 1000 else 0

    def emit_log(self, address: int, topics: tuple[int, ...], data: bytes) -> None:
        self.logs.append((address, topics, data))

    def selfdestruct(self, address: int, beneficiary: int) -> int:
        self.destroyed.append((address, beneficiary))
        return 0

    def call(self, request: Request, caller: FrameMessage) -> Child | ChildResult:
        code = self.codes.get(request.target, b"")
        if caller.depth >= 1024:
            return ChildResult(0, request.gas)
        if not code:
            return ChildResult(1, request.gas, request.input[::-1])
        self.saved.append(dict(self.storage))
        self.deepest = max(self.deepest, caller.depth + 1)
        is_static = caller.is_static or request.kind is CallKind.STATICCALL
        message = FrameMessage(
            code,
            request.gas,
            request.input,
            request.target,
            caller.recipient,
            request.value,
            is_static,
            caller.depth + 1,
        )
        return Child(program_of(code), message, request)

    def create(self, request: Request, caller: FrameMessage) -> Child | ChildResult:
        return Child(
            program_of(request.input),
            FrameMessage(
                request.input, request.gas, b"", 0xDD, caller.recipient, request.value, depth=caller.depth + 1
            ),
            request,
        )

    def end(self, child: Child, result: FrameResult) -> ChildResult:
        if child.request.kind is CallKind.CREATE:
            self.codes[0xDD] = result.output
            return ChildResult(0xDD, result.gas_left)
        before = self.saved.pop()
        if not result.status.succeeded:
            self.storage = defaultdict(int, before)
        return told(result)


def run(text: str, *, gas: int = 1_000_000, world: World | None = None) -> tuple[FrameResult, World]:
    code = asm(text)
    world = world or World({})
    world.codes[ME] = code
    message = FrameMessage(code, gas, b"", ME, SENDER)
    return execute(program_of(code), message, ENVIRONMENT, world), world


def returned(text: str, world: World | None = None) -> int:
    """The word that a code leaves on the stack."""
    result, _ = run(text + " 0 MSTORE 32 0 RETURN", world=world)
    assert result.status is Status.RETURN
    return int.from_bytes(result.output, "big")


def test_storage_is_asked_and_told() -> None:
    world = World({})
    world.storage[ME, 5] = 40
    assert returned("5 SLOAD 2 ADD DUP1 6 SSTORE", world) == 42
    assert world.storage[ME, 6] == 42


def test_a_cold_slot_costs_more_than_a_warm_one() -> None:
    """EIP-2929: 2100 and 100."""
    cold, world = run("1 SLOAD STOP")
    warm, _ = run("1 SLOAD STOP", world=world)
    assert (1_000_000 - cold.gas_left, 1_000_000 - warm.gas_left) == (3 + 2100, 3 + 100)


def test_transient_storage() -> None:
    assert returned("9 3 TSTORE 3 TLOAD") == 9


def test_accounts() -> None:
    world = World({OTHER: b"\x01\x02\x03"})
    world.balances[OTHER] = 10**18
    assert returned(f"{OTHER} BALANCE", world) == 10**18
    assert returned(f"{OTHER} EXTCODESIZE", world) == 3
    assert returned(f"{OTHER} EXTCODEHASH", world) == int.from_bytes(keccak256(b"\x01\x02\x03"), "big")
    assert returned(f"2 1 0 {OTHER} EXTCODECOPY 0 MLOAD", world) == int.from_bytes(b"\x02\x03" + bytes(30), "big")
    assert returned("999 BLOCKHASH", world) == 6993


def test_logs() -> None:
    _, world = run("x7f" + "11" * 32 + " 0 MSTORE 8 7 32 0 LOG2 0 0 LOG0 STOP")
    assert world.logs == [(ME, (7, 8), b"\x11" * 32), (ME, (), b"")]


def test_selfdestruct() -> None:
    result, world = run(f"{OTHER} SELFDESTRUCT")
    assert result.status is Status.SELFDESTRUCT
    assert world.destroyed == [(ME, OTHER)]


CALL_OTHER = f"32 0 32 0 0 {OTHER} 100000 CALL"


def test_a_child_runs_and_its_answer_is_seen() -> None:
    world = World({OTHER: asm("0 CALLDATALOAD 1 ADD 1 SSTORE 0 CALLDATALOAD 2 MUL 0 MSTORE 32 0 RETURN")})
    assert returned(f"21 0 MSTORE {CALL_OTHER} POP 0 MLOAD", world) == 42
    assert world.storage[OTHER, 1] == 22


def test_a_child_that_reverts_is_undone_and_its_data_is_read() -> None:
    world = World({OTHER: asm("5 1 SSTORE 77 0 MSTORE 32 0 REVERT")})
    assert returned(f"{CALL_OTHER} 1000 MUL 0 MLOAD ADD RETURNDATASIZE ADD", world) == 0 + 77 + 32
    assert world.storage[OTHER, 1] == 0


def test_a_child_that_halts_takes_its_gas() -> None:
    result, _ = run(f"{CALL_OTHER} STOP", world=World({OTHER: b"\xfe"}))
    assert 100_000 < 1_000_000 - result.gas_left < 103_000


def test_what_the_host_answers_itself() -> None:
    assert returned(f"7 31 MSTORE8 {CALL_OTHER} POP RETURNDATASIZE") == 32


def test_a_static_child_may_not_write() -> None:
    """EIP-214."""
    world = World({OTHER: asm("5 1 SSTORE STOP")})
    assert returned(f"0 0 0 0 {OTHER} 100000 STATICCALL", world) == 0
    assert world.storage[OTHER, 1] == 0


def test_a_create() -> None:
    init = asm("x61abcd 0 MSTORE 2 30 RETURN")
    world = World({})
    text = f"x{bytes([0x60 + len(init) - 1]).hex()}{init.hex()} 0 MSTORE {len(init)} {32 - len(init)} 0 CREATE"
    assert returned(text, world) == 0xDD
    assert world.codes[0xDD] == bytes.fromhex("abcd")


RECURSION = "32 0 0 0 0 ADDRESS GAS CALL POP 0 MLOAD 1 ADD 0 MSTORE 32 0 RETURN"


def test_calls_of_depth_1024_need_no_python_stack() -> None:
    result, world = run(RECURSION, gas=1 << 62)
    assert int.from_bytes(result.output, "big") == 1025
    assert world.deepest == 1024


class Broken(World):
    def get_balance(self, other: int) -> int:
        raise LookupError("the database is gone")


def test_an_exception_of_the_host_surfaces_with_its_traceback_and_the_driver_goes_on() -> None:
    world = Broken({OTHER: asm(f"{SENDER} BALANCE STOP")})
    code = asm(f"{CALL_OTHER} STOP")
    world.codes[ME] = code
    driver = HostDriver(world, reserve_bytes=SMALLEST_RESERVE_BYTES)
    for _ in range(3):
        with pytest.raises(LookupError, match="database") as caught:
            driver.execute(program_of(code), FrameMessage(code, 1_000_000, b"", ME), ENVIRONMENT)
        assert "get_balance" in "".join(traceback.format_exception(caught.value))
    plain = asm("42 0 MSTORE 32 0 RETURN")
    result = driver.execute(program_of(plain), FrameMessage(plain, 1000), ENVIRONMENT)
    assert int.from_bytes(result.output, "big") == 42


def test_nothing_of_a_frame_is_seen_by_the_next() -> None:
    driver = HostDriver(World({}), reserve_bytes=SMALLEST_RESERVE_BYTES)
    leaving, looking = asm("1 NOT 0 MSTORE 1 NOT 4096 MSTORE STOP"), asm("4096 MLOAD 0 MLOAD OR 0 MSTORE 32 0 RETURN")
    driver.execute(program_of(leaving), FrameMessage(leaving, 100_000), ENVIRONMENT)
    result = driver.execute(program_of(looking), FrameMessage(looking, 100_000), ENVIRONMENT)
    assert result.output == bytes(32)


def test_a_host_does_not_run_its_own_driver() -> None:
    class Nosy(World):
        def get_balance(self, other: int) -> int:
            stop = b"\x00"
            driver.execute(program_of(stop), FrameMessage(stop, 10), ENVIRONMENT)
            return 0

    code = asm("1 BALANCE STOP")
    driver = HostDriver(Nosy({}), reserve_bytes=SMALLEST_RESERVE_BYTES)
    with pytest.raises(HostError) as caught:
        driver.execute(program_of(code), FrameMessage(code, 10_000), ENVIRONMENT)
    assert caught.value.reference == "driver_busy"


def test_memory_beyond_the_reserve_is_named() -> None:
    code = asm(f"1 {SMALLEST_RESERVE_BYTES + 64} MSTORE STOP")
    driver = HostDriver(World({}), reserve_bytes=SMALLEST_RESERVE_BYTES)
    with pytest.raises(HostError) as caught:
        driver.execute(program_of(code), FrameMessage(code, 1 << 50), ENVIRONMENT)
    assert caught.value.reference == "memory_limit"
