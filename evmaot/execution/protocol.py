"""What the executor and its hosts say to each other.

Job: the plain values that cross the border (`Message` in, `MessageResult` and `Changes` out) and the
two protocols that a host implements (`StateReader`, `ProgramSource`).  Invariants: addresses, storage
keys, storage values, balances (wei) and hashes are non-negative ints, big-endian where bytes are meant
(an address is below 2^160, everything else below 2^256); gas is an int below 2^63.
May import: `evmaot.abi`, `evmaot.evm.forks`, errors.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from evmaot.abi.status import CallKind, Status
from evmaot.errors import HostError

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork
    from evmaot.execution.journal import Journal
    from evmaot.runtime.program import CompiledProgram

DELEGATION_PREFIX = b"\xef\x01\x00"
"""First bytes of a delegation designator (EIP-7702)."""
DELEGATION_SIZE_BYTES = 23
RIPEMD160_ADDRESS = 3
"""Its touch survives a revert: mainnet block 2,675,119 cleared the account despite running out of gas."""


class NotNative(HostError):
    """A code has no native program: the host may run the whole message otherwise, nothing was committed."""


class Account(NamedTuple):
    """An account as a host knows it.  (A named tuple: a frozen dataclass costs three times as much.)

    `code_hash` is keccak-256 of the code, or None where the host has not computed it.
    """

    nonce: int = 0
    balance: int = 0
    code: bytes = b""
    code_hash: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Nonce 0, balance 0, no code (EIP-161)."""
        return not (self.nonce or self.balance or self.code)


class Log(NamedTuple):
    """One LOG0 to LOG4: emitting address, topics (first topic first), data."""

    address: int
    topics: tuple[int, ...]
    data: bytes


class PrecompileCall(NamedTuple):
    """A call of a precompiled contract; `address` says which, `recipient` whose state is current."""

    address: int
    input: bytes
    gas: int
    sender: int
    recipient: int
    value: int
    is_static: bool
    depth: int


class PrecompileResult(NamedTuple):
    """How a precompile ended: RETURN, REVERT, or a halt (then gas and output do not matter)."""

    status: Status
    gas_left: int = 0
    output: bytes = b""


class StateReader(Protocol):
    """The world before a message, read lazily, each thing at most once in a message.

    What a method raises surfaces unchanged in the caller of the executor.  A reader that knows for sure when
    an account has no storage at all may also have ``storage_is_empty(address: int) -> bool``, True only if every
    slot is 0: then compiled code reads and writes fresh storage without asking for each slot.
    """

    @property
    def precompiles(self) -> Container[int]:
        """Addresses of the precompiled contracts."""
        ...

    def account(self, address: int) -> Account | None:
        """The account, None if the state has none (an empty account is not None)."""
        ...

    def storage(self, address: int, key: int) -> int:
        """The value of a slot, 0 if never set."""
        ...

    def has_storage(self, address: int) -> bool:
        """Whether any slot of the account is set (EIP-7610)."""
        ...

    def block_hash(self, number: int) -> int:
        """Hash of one of the 256 blocks before the current one; the executor asks for no other."""
        ...

    def precompile(self, call: PrecompileCall) -> PrecompileResult:
        """Run the precompiled contract at `call.address`, which is in `precompiles`."""
        ...

    def commit(self, changes: Changes) -> None:
        """Take over what a successful message changed.  The executor never calls it, its callers do."""
        ...


class FrameStart(NamedTuple):
    """A message as it starts, at any depth: of a contract, a create, a precompiled contract or no code."""

    depth: int
    creates: bool
    sender: int
    recipient: int
    code: bytes
    """Empty for a precompiled contract."""
    precompile: int | None
    gas: int
    value: int
    input: bytes
    is_static: bool


class FrameEnd(NamedTuple):
    """How it ended; what a failed one did is undone already."""

    depth: int
    status: Status
    failure: Failure | None
    gas_left: int
    output: bytes


class FrameObserver(Protocol):
    """Who watches an executor: told of every message at its start and its end, innermost last to start.

    The journal is the executor's own, as it is at that moment: to be read, not kept or changed.
    """

    def entered(self, start: FrameStart, journal: Journal) -> None:
        """A message starts; nothing of it has happened yet."""
        ...

    def ended(self, end: FrameEnd, journal: Journal) -> None:
        """The message that started last, of those that have not ended, has ended."""
        ...


class ProgramSource(Protocol):
    """Where native code comes from."""

    def program_for(self, code: bytes, code_hash: bytes | None, fork: Fork) -> CompiledProgram | None:
        """The program of a non-empty code under a fork's rules; None if there is none.

        `code_hash` is keccak-256 of the code where it is known without computing it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Environment:
    """Block and transaction values, as `abi.layout.ENVIRONMENT` documents them."""

    origin: int = 0
    gas_price: int = 0
    coinbase: int = 0
    number: int = 0
    timestamp: int = 0
    gas_limit: int = 0
    prevrandao: int = 0
    """PREVRANDAO from Paris (EIP-4399), the difficulty before."""
    chain_id: int = 1
    base_fee: int = 0
    blob_base_fee: int = 0
    blob_hashes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A depth-0 message: what a transaction amounts to after its checks and its purchase of gas.

    For CREATE `recipient` is the new contract's address and `code` the init code; the sender's nonce is
    the caller's affair.  For CALL `code` is what runs: the recipient's, or its delegate's (EIP-7702), and
    `code_address` is where it came from.
    """

    kind: CallKind
    """CALL or CREATE."""
    sender: int
    recipient: int
    gas: int
    code: bytes = b""
    code_address: int = 0
    code_hash: bytes | None = None
    input: bytes = b""
    value: int = 0
    is_static: bool = False
    transfers_value: bool = True
    """False: `value` is only what CALLVALUE says (system transactions)."""
    is_delegated: bool = False
    """The code came through a delegation: a precompile's address then runs nothing (EIP-7702)."""
    warm_addresses: Iterable[int] = ()
    warm_slots: Iterable[tuple[int, int]] = ()
    """Pairs of address and key that the transaction's access list names (EIP-2930)."""
    transient: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    """Transient storage at the start, by address (EIP-1153)."""


class Failure(Enum):
    """Why a message failed where no frame's status says it."""

    COLLISION = "collision"
    """The address of a create is taken: nonce, code or storage (EIP-684, EIP-7610)."""
    CODE_DEPOSIT = "code_deposit"
    """No gas for the code that a create returned (EIP-2)."""
    CODE_SIZE = "code_size"
    """More code than the fork allows (EIP-170)."""
    CODE_PREFIX = "code_prefix"
    """Code that starts with 0xEF (EIP-3541)."""
    BALANCE = "balance"
    """The sender cannot pay the value; nothing ran."""
    PRECOMPILE = "precompile"
    """A precompiled contract failed."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a message did to the state; only what differs from what the reader said.

    `destroyed` (SELFDESTRUCT) are still in `accounts` with what they hold now: the transaction's end deletes
    them, fees may reach them before.
    """

    accounts: Mapping[int, Account | None]
    """Accounts with another nonce, balance, code or existence; None: it exists no more (EIP-161)."""
    storage: Mapping[int, Mapping[int, int]]
    """Changed slots by address; 0: cleared."""
    transient: Mapping[int, Mapping[int, int]]
    """Transient storage that was written, by address."""
    created: frozenset[int]
    destroyed: frozenset[int]
    touched: frozenset[int]
    """Accounts that exist, are empty and were touched: to be deleted at the transaction's end (EIP-161)."""


NO_CHANGES = Changes({}, {}, {}, frozenset(), frozenset(), frozenset())


class MessageOutcome(Protocol):
    """What a message did, computed when it is asked for."""

    def logs(self) -> tuple[Log, ...]:
        """As `MessageResult.logs`."""
        ...

    def changes(self) -> Changes:
        """As `MessageResult.changes`."""
        ...

    def warm_addresses(self) -> frozenset[int]:
        """As `MessageResult.warm_addresses`."""
        ...

    def warm_slots(self) -> frozenset[tuple[int, int]]:
        """As `MessageResult.warm_slots`."""
        ...


class MessageResult:
    """How a depth-0 message ended.  After a failure `changes` is empty, and so are logs and refund.

    What costs to build (logs, changes, warm sets) is built when it is first read, from what the journal
    left; it never changes, whatever the executor does next.
    """

    __slots__ = (
        "_changes",
        "_logs",
        "_outcome",
        "_warm_addresses",
        "_warm_slots",
        "failure",
        "gas_left",
        "native_frames",
        "output",
        "refund",
        "status",
    )

    def __init__(
        self,
        status: Status,
        gas_left: int,
        output: bytes,
        refund: int,
        failure: Failure | None,
        native_frames: int,
        outcome: MessageOutcome,
    ) -> None:
        self.status = status
        self.gas_left = gas_left
        self.output = output
        """What RETURN or REVERT gave; the deposited code of a create."""
        self.refund = refund
        self.failure = failure
        self.native_frames = native_frames
        """Frames that ran compiled code."""
        self._outcome = outcome
        self._logs: tuple[Log, ...] | None = None
        self._changes: Changes | None = None
        self._warm_addresses: frozenset[int] | None = None
        self._warm_slots: frozenset[tuple[int, int]] | None = None

    @property
    def logs(self) -> tuple[Log, ...]:
        """Logs, oldest first."""
        if self._logs is None:
            self._logs = self._outcome.logs()
        return self._logs

    @property
    def changes(self) -> Changes:
        """What differs from what the reader said."""
        if self._changes is None:
            self._changes = self._outcome.changes()
        return self._changes

    @property
    def warm_addresses(self) -> frozenset[int]:
        """Addresses that became warm, without those that were from the start (EIP-2929)."""
        if self._warm_addresses is None:
            self._warm_addresses = self._outcome.warm_addresses()
        return self._warm_addresses

    @property
    def warm_slots(self) -> frozenset[tuple[int, int]]:
        """Pairs of address and key that became warm, without those that were from the start."""
        if self._warm_slots is None:
            self._warm_slots = self._outcome.warm_slots()
        return self._warm_slots

    @property
    def succeeded(self) -> bool:
        """Whether the state changes count."""
        return self.failure is None and self.status.succeeded


def delegate_of(code: bytes) -> int | None:
    """The address a delegation designator points to, None for any other code (EIP-7702)."""
    if len(code) == DELEGATION_SIZE_BYTES and code.startswith(DELEGATION_PREFIX):
        return int.from_bytes(code[3:], "big")
    return None
