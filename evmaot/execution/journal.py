"""The journal: what a message has seen and changed, as an overlay with an undo log.

Job: accounts, storage, transient storage, warm sets, logs, refund, created, destroyed and touched
accounts of one depth-0 message, over a lazily read `StateReader`.  Invariants: `checkpoint` is O(1) and
`revert` costs what changed since, never what exists; what was read from the host stays (a revert does not
change the world before the message), and is read once.  Every change of a container goes through
`log`: an entry is (container, key, value before or ABSENT).  May import: execution.protocol, hashing.

Containers are plain dicts and lists because host callbacks read them directly (`host_table`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from evmaot.execution.hashing import keccak256
from evmaot.execution.protocol import NO_CHANGES, RIPEMD160_ADDRESS, Account, Changes, Log, Message, StateReader

NONCE: Final = 0
BALANCE: Final = 1
CODE: Final = 2
CODE_HASH: Final = 3
"""keccak-256 of the code, or None while nobody asked."""
EXISTS: Final = 4

AccountRecord = list[Any]
"""An account now: nonce, balance, code, code hash, existence, at the indexes above."""


class Absent:
    """The value before of a key that was not there."""


ABSENT: Final = Absent()
Undo = tuple[Any, Any, Any]
Checkpoint = tuple[int, int]
"""Lengths of the undo log and of the logs."""

EMPTY_CODE_HASH = keccak256(b"")
"""keccak-256 of no code."""


class StorageRecord:
    """Storage of one account."""

    __slots__ = ("address", "originals", "slots", "transient", "warm", "warm_at_start")

    def __init__(self, address: int) -> None:
        self.address = address
        self.slots: dict[int, int] = {}
        """Values now, of every slot that was read or written."""
        self.originals: dict[int, int] = {}
        """Values before the message, of every slot that was written."""
        self.warm: dict[int, bool] = {}
        self.warm_at_start = 0
        self.transient: dict[int, int] = {}


class Current:
    """Whose state the running frame acts on; set by the executor each time that it enters a frame."""

    __slots__ = ("beneficiary", "recipient", "storage")

    def __init__(self) -> None:
        self.recipient = 0
        self.storage = StorageRecord(0)
        self.beneficiary = 0
        """Of the last SELFDESTRUCT."""


class Journal:
    """One message's overlay; `begin` makes it ready for the next.

    Containers keep their identity between messages, so that host callbacks may hold on to them.
    """

    __slots__ = (
        "_before",
        "_clears_empty",
        "_last_warm_addresses",
        "_last_warm_slots",
        "_storages",
        "_warm_at_start",
        "accounts",
        "created",
        "current",
        "destroyed",
        "log",
        "logs",
        "refund",
        "state",
        "touched",
        "warm",
    )

    def __init__(self) -> None:
        self.log: list[Undo] = []
        self.logs: list[Log] = []
        self.accounts: dict[int, AccountRecord] = {}
        self.warm: dict[int, bool] = {}
        self.created: dict[int, bool] = {}
        self.destroyed: dict[int, bool] = {}
        self.touched: dict[int, bool] = {}
        self.refund = [0]
        """One cell, so that it can be undone like a container."""
        self.current = Current()
        self.state: StateReader
        self._before: dict[int, Account | None] = {}
        self._storages: dict[int, StorageRecord] = {}
        self._warm_at_start = 0
        self._clears_empty = False

    def begin(self, state: StateReader, message: Message, *, clears_empty: bool) -> None:
        """Forget everything and start a message.  `clears_empty`: empty accounts do not persist (EIP-161)."""
        self.forget()
        self.state = state
        self._clears_empty = clears_empty
        warm = self.warm
        for address in message.warm_addresses:
            warm[address] = True
        self._warm_at_start = len(warm)
        for address, key in message.warm_slots:
            self.storage_of(address).warm[key] = True
        for address, slots in message.transient.items():
            self.storage_of(address).transient.update(slots)
        for record in self._storages.values():
            record.warm_at_start = len(record.warm)

    def forget(self) -> None:
        """Drop all that the last message left: nothing of it may reach the next."""
        for container in (
            self.log, self.logs, self.accounts, self.warm, self.created, self.destroyed, self.touched,
            self._before, self._storages,
        ):  # fmt: skip
            container.clear()
        self.refund[0] = 0
        self.current.storage = StorageRecord(0)

    # --- undo -------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """A point to come back to."""
        return len(self.log), len(self.logs)

    def revert(self, checkpoint: Checkpoint) -> None:
        """Undo everything since the checkpoint, newest first."""
        log = self.log
        mark, log_count = checkpoint
        for index in range(len(log) - 1, mark - 1, -1):
            container, key, before = log[index]
            if before is ABSENT:
                del container[key]
            else:
                container[key] = before
        del log[mark:]
        del self.logs[log_count:]

    # --- accounts ---------------------------------------------------------------------------------

    def account(self, address: int) -> AccountRecord:
        """The record of an account; one that does not exist has EXISTS False and all else empty."""
        record = self.accounts.get(address)
        return self.load_account(address) if record is None else record

    def load_account(self, address: int) -> AccountRecord:
        """Read an account from the host for the first time."""
        account = self.state.account(address)
        self._before[address] = account
        record: AccountRecord
        if account is None:
            record = [0, 0, b"", None, False]
        else:
            record = [account.nonce, account.balance, account.code, account.code_hash, True]
        self.accounts[address] = record
        return record

    def code_hash(self, record: AccountRecord) -> bytes:
        """keccak-256 of the account's code, computed once."""
        known: bytes | None = record[CODE_HASH]
        if known is None:
            known = record[CODE_HASH] = keccak256(record[CODE]) if record[CODE] else EMPTY_CODE_HASH
        return known

    def set_field(self, record: AccountRecord, field: int, value: object) -> None:
        """Change a field of an account."""
        self.log.append((record, field, record[field]))
        record[field] = value

    def set_code(self, record: AccountRecord, code: bytes) -> None:
        """Give an account its code."""
        self.set_field(record, CODE_HASH, None)
        self.set_field(record, CODE, code)

    def transfer(self, sender: int, recipient: int, value: int) -> None:
        """Move wei; the caller has checked the balance.  The recipient exists afterwards if value moved."""
        if sender == recipient or not value:
            return
        source, target = self.account(sender), self.account(recipient)
        self.set_field(source, BALANCE, source[BALANCE] - value)
        self.set_field(target, BALANCE, target[BALANCE] + value)
        if not target[EXISTS]:
            self.set_field(target, EXISTS, True)

    def make_exist(self, address: int) -> None:
        """Before EIP-161: a call, a create or a SELFDESTRUCT makes the account, empty if need be."""
        record = self.account(address)
        if not record[EXISTS]:
            self.set_field(record, EXISTS, True)

    def is_empty_and_exists(self, address: int) -> bool:
        """Whether EIP-161 lets a touch delete the account."""
        record = self.account(address)
        return bool(record[EXISTS]) and not (record[NONCE] or record[BALANCE] or record[CODE])

    def touch(self, address: int) -> None:
        """Touch an account that exists and is empty (EIP-161); any other touch has no effect."""
        if address in self.touched or not self.is_empty_and_exists(address):
            return
        self.touched[address] = True
        if address != RIPEMD160_ADDRESS:
            self.log.append((self.touched, address, ABSENT))

    def mark(self, marks: dict[int, bool], address: int) -> bool:
        """Put an address into `created`, `destroyed` or `warm`; False if it was there."""
        if address in marks:
            return False
        marks[address] = True
        self.log.append((marks, address, ABSENT))
        return True

    def add_refund(self, amount: int) -> None:
        """Change the refund counter, in gas; it may become negative."""
        if amount:
            refund = self.refund
            self.log.append((refund, 0, refund[0]))
            refund[0] += amount

    # --- storage ----------------------------------------------------------------------------------

    def storage_of(self, address: int) -> StorageRecord:
        """The storage record of an account."""
        record = self._storages.get(address)
        if record is None:
            record = self._storages[address] = StorageRecord(address)
        return record

    def store(self, storage: StorageRecord, key: int, value: int) -> None:
        """Write a slot that compiled code has changed: it is warm, and its status is known already."""
        slots = storage.slots
        before = slots[key]
        storage.originals.setdefault(key, before)
        if value != before:
            self.log.append((slots, key, before))
            slots[key] = value

    def has_storage(self, address: int) -> bool:
        """Whether a create at this address collides with storage (EIP-7610)."""
        record = self._storages.get(address)
        if record is not None and any(record.slots.values()):
            return True
        return self.state.has_storage(address)

    # --- the end ----------------------------------------------------------------------------------

    def warmed(self) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
        """Addresses and slots that became warm, without those that were from the start."""
        slots = [
            (address, key)
            for address, record in self._storages.items()
            for key in islice(record.warm, record.warm_at_start, None)
        ]
        return frozenset(islice(self.warm, self._warm_at_start, None)), frozenset(slots)

    def changes(self) -> Changes:
        """What differs from what the host said."""
        if not self.log and not self.touched:
            return NO_CHANGES
        storage: dict[int, Mapping[int, int]] = {}
        transient: dict[int, Mapping[int, int]] = {}
        for address, record in self._storages.items():
            slots = record.slots
            changed = {key: slots[key] for key, original in record.originals.items() if slots[key] != original}
            if changed:
                storage[address] = changed
            if record.transient:
                transient[address] = dict(record.transient)
        return Changes(
            accounts=dict(self._changed_accounts()),
            storage=storage,
            transient=transient,
            created=frozenset(self.created),
            destroyed=frozenset(self.destroyed),
            touched=frozenset(address for address in self.touched if self.is_empty_and_exists(address)),
        )

    def _changed_accounts(self) -> Iterable[tuple[int, Account | None]]:
        clears_empty = self._clears_empty
        for address, (nonce, balance, code, code_hash, exists) in self.accounts.items():
            before = self._before[address]
            if before is None:
                if exists and not (clears_empty and not (nonce or balance or code)):
                    yield address, Account(nonce, balance, code, code_hash)
            elif nonce != before.nonce or balance != before.balance or code != before.code:
                is_empty = not (nonce or balance or code)
                yield address, None if clears_empty and is_empty else Account(nonce, balance, code, code_hash)
