"""The journal: what a message has seen and changed, as an overlay with an undo log.

Job: accounts, storage, transient storage, warm sets, logs, refund, created, destroyed and touched
accounts of one depth-0 message, over a lazily read `StateReader`.  Invariants: `checkpoint` is O(1) and
`revert` costs what changed since, never what exists; what was read from the host stays (a revert does not
change the world before the message), and is read once.  Every change of a container goes through
`log`: an entry is (container, key, value before or ABSENT); slots and their undo records are in the slot
table, which compiled code shares.  May import: execution.protocol, hashing, `evmaot.runtime`.

Containers are plain dicts and lists because host callbacks read them directly (`host_table`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from evmaot.execution.hashing import keccak256
from evmaot.execution.protocol import NO_CHANGES, RIPEMD160_ADDRESS, Account, Changes, Log, Message, StateReader
from evmaot.runtime.log_buffer import LogBuffer, decode_logs
from evmaot.runtime.slot_table import (
    GENERATION,
    UNDO_COUNT,
    UNKNOWN_IS_ZERO,
    SlotTable,
    changed_slots,
    touched_slots,
    warmed_slots,
)

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
Checkpoint = tuple[int, int, int, int]
"""Lengths of the undo log and of the log entries, mark of the slot table, generation."""
Warmed = tuple[tuple[int, ...], bytes]
"""Addresses that became warm, and the image of the slot table."""
ASKS_BEFORE_EMPTY = 4
"""Slots of one account after which the host is asked whether it has any."""

_NO_SLOTS: frozenset[tuple[int, int]] = frozenset()
_NO_ADDRESSES: frozenset[int] = frozenset()
_new = tuple.__new__  # of a named tuple: half the time of its own constructor
EMPTY_CODE_HASH = keccak256(b"")
"""keccak-256 of no code."""


class StorageRecord:
    """What Python keeps of one account's storage; its slots are in the slot table."""

    __slots__ = ("address", "asked", "transient", "unknown_is_zero")

    def __init__(self, address: int) -> None:
        self.address = address
        self.asked = 0
        """Slots that the host was asked for."""
        self.unknown_is_zero = 0
        """1: the account had no storage before the message."""
        self.transient: dict[int, int] = {}


class Current:
    """Whose state the running frame acts on; set by the executor each time that it enters a frame."""

    __slots__ = ("beneficiary", "recipient", "storage")

    def __init__(self) -> None:
        self.recipient = 0
        self.storage: StorageRecord | None = None
        """Of the recipient; None while nobody needed one (`Journal.running_storage`)."""
        self.beneficiary = 0
        """Of the last SELFDESTRUCT."""


class Journal:
    """One message's overlay; `begin` makes it ready for the next.

    Containers keep their identity between messages, so that host callbacks may hold on to them.
    """

    __slots__ = (
        "_before",
        "_clears_empty",
        "_generation",
        "_is_clean",
        "_storages",
        "accounts",
        "created",
        "current",
        "destroyed",
        "log",
        "log_buffer",
        "log_entries",
        "refund",
        "slots",
        "state",
        "touched",
        "warm",
        "warm_at_start",
        "warm_slots_at_start",
    )

    def __init__(self, slots: SlotTable | None = None, log_buffer: LogBuffer | None = None) -> None:
        self.log: list[Undo] = []
        self.slots = SlotTable() if slots is None else slots
        self.log_buffer = LogBuffer() if log_buffer is None else log_buffer
        self.log_entries: list[bytes] = []
        """What `decode_logs` reads, as it was taken of the buffer."""
        self.accounts: dict[int, AccountRecord] = {}
        self.warm: dict[int, bool] = {}
        """Addresses that became warm; those that are from the start are not among them."""
        self.warm_at_start = _NO_ADDRESSES
        self.created: dict[int, bool] = {}
        self.destroyed: dict[int, bool] = {}
        self.touched: dict[int, bool] = {}
        self.refund = [0]
        """One cell, so that it can be undone like a container."""
        self.current = Current()
        self.state: StateReader
        self._before: dict[int, Account | None] = {}
        self._storages: dict[int, StorageRecord] = {}
        self._generation = 0
        self._clears_empty = False
        self._is_clean = False
        self.warm_slots_at_start = _NO_SLOTS

    def begin(self, state: StateReader, message: Message, *, clears_empty: bool, tracks_access: bool = True) -> None:
        """Forget everything and start a message.

        `clears_empty`: empty accounts do not persist (EIP-161); `tracks_access`: cold and warm (EIP-2929).
        """
        if not self._is_clean:
            self.forget()
        self._is_clean = False
        self.state = state
        self._clears_empty = clears_empty
        self.slots.begin(tracks_access=tracks_access)
        self.log_buffer.discard()
        # Some twenty in each transaction: copying them would take longer than to run a short program.
        self.warm_at_start = frozenset(message.warm_addresses)
        if message.warm_slots:
            self.warm_slots_at_start = frozenset(message.warm_slots)
        if message.transient:
            for address, slots in message.transient.items():
                self.storage_of(address).transient.update(slots)

    def forget(self) -> None:
        """Drop all that the last message left: nothing of it may reach the next."""
        self.accounts.clear()
        self._before.clear()
        # To ask costs half of clearing what is empty, as most of this is after a short message.
        if self.log:
            self.log.clear()
        if self.log_entries:
            self.log_entries.clear()
        if self._storages:
            self._storages.clear()
        if self.warm:
            self.warm.clear()
        if self.created:
            self.created.clear()
        if self.destroyed:
            self.destroyed.clear()
        if self.touched:
            self.touched.clear()
        self.refund[0] = 0
        self.warm_slots_at_start = _NO_SLOTS
        self.warm_at_start = _NO_ADDRESSES
        self._generation = 0
        self.current.storage = None
        self._is_clean = True

    # --- undo -------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """A point to come back to."""
        self._generation = generation = self._generation + 1
        return len(self.log), len(self.log_entries), self.slots.cells[UNDO_COUNT], generation

    def enter(self, recipient: int, checkpoint: Checkpoint) -> None:
        """A frame is about to run, for the first time or again; `checkpoint` is from its start."""
        current = self.current
        current.recipient = recipient
        current.storage = storage = self._storages.get(recipient)
        cells = self.slots.cells
        cells[GENERATION] = checkpoint[3]
        cells[UNKNOWN_IS_ZERO] = 0 if storage is None else storage.unknown_is_zero

    def revert(self, checkpoint: Checkpoint) -> None:
        """Undo everything since the checkpoint, newest first."""
        log = self.log
        mark, entry_count, slot_mark, _ = checkpoint
        if len(log) > mark:
            for index in range(len(log) - 1, mark - 1, -1):
                container, key, before = log[index]
                if before is ABSENT:
                    del container[key]
                else:
                    container[key] = before
            del log[mark:]
        self.slots.revert(slot_mark)
        del self.log_entries[entry_count:]

    def take_logs(self) -> None:
        """Take what the running frame has logged; it counts until a revert."""
        entries = self.log_buffer.take()
        if entries:
            self.log_entries.append(entries)

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
        return _is_empty_and_exists(self.account(address))

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

    def warm_up(self, address: int) -> None:
        """Make an address warm (EIP-2929)."""
        if address not in self.warm_at_start:
            self.mark(self.warm, address)

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

    def running_storage(self) -> StorageRecord:
        """The storage record of the running frame's account."""
        current = self.current
        storage = current.storage
        if storage is None:
            storage = current.storage = self.storage_of(current.recipient)
        return storage

    def has_storage(self, address: int) -> bool:
        """Whether a create at this address collides with storage (EIP-7610)."""
        if address in self._storages and any(self.storage(address).values()):
            return True
        return self.state.has_storage(address)

    def ask_slot(self, key: int) -> int:
        """The first value of a slot of the running frame's account."""
        storage = self.current.storage or self.running_storage()
        storage.asked += 1
        if storage.asked == ASKS_BEFORE_EMPTY:
            self._look_for_storage(storage)
        return self.state.storage(storage.address, key)

    def _look_for_storage(self, storage: StorageRecord) -> None:
        """Many slots of one account: if it had none, compiled code need not ask again."""
        storage_is_empty = getattr(self.state, "storage_is_empty", None)
        if storage_is_empty is None or not storage_is_empty(storage.address):
            return
        if any(address == storage.address for address, _ in self.warm_slots_at_start):
            return  # compiled code would take them for cold
        storage.unknown_is_zero = self.slots.cells[UNKNOWN_IS_ZERO] = 1

    # --- the end ----------------------------------------------------------------------------------

    def warm_image(self) -> Warmed:
        """What became warm so far, for `Outcome`."""
        return tuple(self.warm) if self.warm else (), self.slots.image()

    # What follows is for observers: a message's result has the same.

    def warmed(self) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
        """Addresses and slots that became warm so far, without those that were from the start."""
        outcome = self.outcome(None, succeeded=False)
        return outcome.warm_addresses(), outcome.warm_slots()

    @property
    def logs(self) -> tuple[Log, ...]:
        """Logs so far."""
        return _logs_of(self.log_entries)

    def storage(self, address: int) -> dict[int, int]:
        """Slots of an account that were touched, as they are now."""
        return {slot.key: slot.value for slot in touched_slots(self.slots.image()) if slot.recipient == address}

    def outcome(self, warmed: Warmed | None, *, succeeded: bool) -> Outcome:
        """What the message did, as it is now; `warmed` where the revert of the message undid it."""
        addresses, slots = warmed or self.warm_image()
        if not succeeded:
            return _new(Outcome, (addresses, slots, (), None))
        changed = None
        if self.log or self.touched or self.slots.cells[UNDO_COUNT]:
            changed = (
                self.accounts.copy(), self._before.copy(), self._storages.copy(), frozenset(self.created),
                frozenset(self.destroyed), self.touched.copy(), self._clears_empty,
            )  # fmt: skip
        return _new(Outcome, (addresses, slots, tuple(self.log_entries), changed))

    def changes(self) -> Changes:
        """What differs from what the host said."""
        return self.outcome(None, succeeded=True).changes()


def _is_empty_and_exists(record: AccountRecord) -> bool:
    return bool(record[EXISTS]) and not (record[NONCE] or record[BALANCE] or record[CODE])


class Outcome(NamedTuple):
    """What a message has done, read when somebody asks.

    It shares account records with the journal, which drops them at the message's end and never reuses them.
    """

    addresses: tuple[int, ...]
    """Those that became warm."""
    slots: bytes
    """Image of the slot table."""
    log_entries: tuple[bytes, ...]
    changed: tuple[Any, ...] | None

    def logs(self) -> tuple[Log, ...]:
        """Logs, oldest first."""
        return _logs_of(self.log_entries)

    def warm_addresses(self) -> frozenset[int]:
        """Addresses that became warm, without those that were from the start."""
        return frozenset(self.addresses)

    def warm_slots(self) -> frozenset[tuple[int, int]]:
        """Slots that became warm, without those that were from the start."""
        return frozenset(warmed_slots(self.slots))

    def changes(self) -> Changes:
        """What differs from what the host said."""
        if self.changed is None:
            return NO_CHANGES
        accounts, before, storages, created, destroyed, touched, clears_empty = self.changed
        storage: dict[int, dict[int, int]] = {}
        for address, key, value in changed_slots(self.slots):
            storage.setdefault(address, {})[key] = value
        return Changes(
            accounts=dict(_changed_accounts(accounts, before, clears_empty)),
            storage=storage,
            transient={address: dict(record.transient) for address, record in storages.items() if record.transient},
            created=created,
            destroyed=destroyed,
            touched=frozenset([address for address in touched if _is_empty_and_exists(accounts[address])]),
        )


def _logs_of(log_entries: Iterable[bytes]) -> tuple[Log, ...]:
    return tuple([Log(*log) for entries in log_entries for log in decode_logs(entries)])


def _changed_accounts(
    accounts: Mapping[int, AccountRecord], befores: Mapping[int, Account | None], clears_empty: bool
) -> Iterable[tuple[int, Account | None]]:
    for address, (nonce, balance, code, code_hash, exists) in accounts.items():
        before = befores[address]
        if before is None:
            if exists and not (clears_empty and not (nonce or balance or code)):
                yield address, Account(nonce, balance, code, code_hash)
        elif nonce != before.nonce or balance != before.balance or code != before.code:
            is_empty = not (nonce or balance or code)
            yield address, None if clears_empty and is_empty else Account(nonce, balance, code, code_hash)
