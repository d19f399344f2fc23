"""One message on compiled code, in terms that any EVM can be compared in.

`run_native(call, fork, tier)` compiles what the call reaches, runs it on the executor and reads the
state back.  `Call` and `Ended` are also what `tests/support/eels_message.py` takes and gives, so a
test compares the two by ``==``.  Programs are compiled once per process, fork rules and tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from evmaot.abi.status import CallKind
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.execution.executor import Executor
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import Account, Environment, Message, delegate_of

BOTH_TIERS = tuple(tier.value for tier in Tier)
SELF = 0xC0DE
"""Address of the account whose code a `Call` runs, unless it says otherwise."""
SENDER = 0x7000
ORIGIN = 0x7001
BLOCK_NUMBER = 1000
OLDEST_BLOCK = BLOCK_NUMBER - 256

ENVIRONMENT = Environment(
    origin=ORIGIN,
    gas_price=10,
    coinbase=0xC01,
    number=BLOCK_NUMBER,
    timestamp=1_700_000_000,
    gas_limit=30_000_000,
    prevrandao=(0xDA0 << 240) | 9,
    chain_id=1,
    base_fee=7,
    blob_base_fee=1,
    blob_hashes=((1 << 248) | 5, (1 << 248) | 6),
)
"""Block and transaction of every test; the difficulty of forks before Paris is the same number."""


def block_hash(number: int) -> int:
    """Hash of a block of these tests."""
    return (0xB10C << 240) | number


@dataclass(frozen=True, slots=True)
class Contract:
    """An account before or after a call; slots with value 0 are left out."""

    code: bytes = b""
    nonce: int = 1
    balance: int = 0
    storage: Mapping[int, int] = field(default_factory=dict)


World = Mapping[int, Contract]


@dataclass(frozen=True, slots=True)
class Call:
    """A depth-0 message call from `SENDER`, whose balance the world gives."""

    world: World
    gas: int = 10_000_000
    input: bytes = b""
    value: int = 0
    target: int = SELF
    is_static: bool = False
    warm_addresses: frozenset[int] = frozenset((SENDER, SELF))
    warm_slots: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Ended:
    """What is the same in every right EVM."""

    outcome: str
    """``success``, ``revert`` or ``halt`` (which takes all gas, for whatever reason)."""
    gas_left: int
    output: bytes
    refund: int = 0
    logs: tuple[tuple[int, tuple[int, ...], bytes], ...] = ()
    world: World = field(default_factory=dict)
    destroyed: frozenset[int] = frozenset()
    warm_addresses: frozenset[int] = frozenset()
    warm_slots: frozenset[tuple[int, int]] = frozenset()
    reason: str = field(default="", compare=False)
    """What the EVM itself says of the end; a halt with several reasons may name any of them."""


def world_of(code: bytes, *, storage: Mapping[int, int] | None = None, balance: int = 10**18) -> World:
    """The account under test with that code, and its sender."""
    return {
        SELF: Contract(code, balance=balance, storage=storage or {}),
        SENDER: Contract(balance=10**18),
    }


@cache
def executor(tier: str) -> Executor:
    """The process's executor of a tier."""
    return Executor(JitPrograms(CompileOptions(Tier(tier))))


def comparable(ended: Ended, fork: str) -> Ended:
    """The same without what no transaction can show.

    After a halt, what became warm: charging a section early may halt before an access.  Where empty
    accounts are cleared (EIP-161), those that the end of the transaction deletes.
    """
    if ended.outcome == "halt":
        ended = replace(ended, warm_addresses=frozenset(), warm_slots=frozenset())
    if not FORKS[fork].parameters.empty_accounts_are_cleared:
        return ended
    return replace(ended, world={a: c for a, c in ended.world.items() if c.nonce or c.balance or c.code})


def run_native(call: Call, fork: str, tier: str = "optimised") -> Ended:
    """Run a call on compiled code."""
    rules = FORKS[fork]
    state = MemoryState(
        rules,
        {a: Account(c.nonce, c.balance, c.code) for a, c in call.world.items()},
        {a: c.storage for a, c in call.world.items()},
        block_hash=block_hash,
    )
    account = call.world[call.target]
    delegate = delegate_of(account.code) if rules.parameters.delegations else None
    code = account.code if delegate is None else call.world.get(delegate, Contract()).code
    message = Message(
        CallKind.CALL,
        SENDER,
        call.target,
        call.gas,
        code=code,
        code_address=call.target if delegate is None else delegate,
        input=call.input,
        value=call.value,
        is_static=call.is_static,
        is_delegated=delegate is not None,
        warm_addresses=call.warm_addresses,
        warm_slots=call.warm_slots,
    )
    result = executor(tier).execute(message, ENVIRONMENT, state, rules)
    state.commit(result.changes)
    warm = rules.parameters.tracks_access
    return Ended(
        "success" if result.succeeded else "halt" if result.failure or result.status.halted else "revert",
        result.gas_left,
        result.output,
        result.refund,
        tuple((log.address, log.topics, log.data) for log in result.logs),
        {a: Contract(r.code, r.nonce, r.balance, dict(state.storages.get(a, {}))) for a, r in state.accounts.items()},
        frozenset(result.changes.destroyed),
        result.warm_addresses | call.warm_addresses if warm else frozenset(),
        result.warm_slots | call.warm_slots if warm else frozenset(),
        result.status.name,
    )


def run_code(
    code: bytes, fork: str, tier: str = "optimised", *, storage: Mapping[int, int] | None = None, **call: Any
) -> Ended:
    """Run one code on a world of its own; other arguments are fields of `Call`."""
    return run_native(Call(world_of(code, storage=storage), **call), fork, tier)


def gas_used(code: bytes, fork: str, tier: str = "optimised", **call: Any) -> int:
    """Gas that a code takes until it ends without failing."""
    ended = run_code(code, fork, tier, gas=_PLENTY, **call)
    assert ended.outcome == "success", ended.reason
    return _PLENTY - ended.gas_left


def result_word(code: bytes, fork: str, tier: str = "optimised", **call: Any) -> int:
    """What a code leaves on top of its stack, by MSTORE and RETURN behind it."""
    ended = run_code(code + b"\x60\x00\x52\x60\x20\x60\x00\xf3", fork, tier, **call)
    assert ended.outcome == "success", ended.reason
    return int.from_bytes(ended.output, "big")


_PLENTY = 10_000_000
