"""The journal: undo, originals, warm sets, changes."""

from __future__ import annotations

from typing import Any

import pytest

from evmaot.abi.layout import FRAME
from evmaot.abi.status import CallKind
from evmaot.evm.forks import FORKS
from evmaot.execution.journal import BALANCE, NONCE, Journal
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.protocol import NO_CHANGES, RIPEMD160_ADDRESS, Account, Log, Message
from evmaot.runtime.log_buffer import encode_log
from tests.support.helper_frame import HelperFrame, from_native, numbers, store_word, to_native, to_word_array

A, B, EMPTY = 0xA, 0xB, 0xE


def journal_on(accounts: dict[int, Account], *, clears_empty: bool = True, **values: Any) -> Journal:
    journal = Journal()
    message = Message(CallKind.CALL, sender=A, recipient=B, gas=0, **values)
    journal.begin(MemoryState(FORKS["osaka"], accounts), message, clears_empty=clears_empty)
    return journal


def test_revert_restores_every_kind_of_container() -> None:
    journal = journal_on({A: Account(1, 100)})
    storage = journal.storage_of(A)
    journal.transfer(A, B, 10)
    before = journal.changes()
    mark = journal.checkpoint()
    journal.transfer(A, B, 5)
    journal.set_field(journal.account(A), NONCE, 9)
    journal.set_code(journal.account(B), b"\x01")
    journal.log.append((storage.transient, 1, 0))
    storage.transient[1] = 7
    journal.mark(journal.warm, 77)
    journal.mark(journal.destroyed, A)
    journal.mark(journal.created, B)
    journal.add_refund(4800)
    journal.revert(mark)
    assert storage.transient == {1: 0}
    del storage.transient[1]
    assert journal.changes() == before
    assert journal.refund == [0]
    assert not journal.destroyed and not journal.created and 77 not in journal.warm


def test_revert_costs_what_changed_since() -> None:
    journal = journal_on({A: Account(1, 100)})
    for address in range(1000, 2000):
        journal.make_exist(address)
    mark = journal.checkpoint()
    journal.make_exist(5000)
    assert len(journal.log) - mark[0] == 1


def test_nothing_changed_is_no_changes() -> None:
    journal = journal_on({A: Account(1, 100)})
    journal.account(A)
    assert journal.changes() is NO_CHANGES


def test_a_balance_that_came_back_is_no_change() -> None:
    journal = journal_on({A: Account(1, 100), B: Account(1, 0)})
    journal.transfer(A, B, 10)
    journal.transfer(B, A, 10)
    assert journal.changes().accounts == {}


def test_an_account_that_becomes_empty_is_deleted_where_empty_accounts_are_cleared() -> None:
    accounts = {A: Account(0, 100)}
    for clears_empty, expected in ((True, None), (False, Account(0, 0))):
        journal = journal_on(accounts, clears_empty=clears_empty)
        journal.transfer(A, B, 100)
        assert journal.changes().accounts[A] == expected


def test_touch_counts_only_accounts_that_exist_and_are_empty() -> None:
    journal = journal_on({A: Account(1, 100), EMPTY: Account()})
    for address in (A, B, EMPTY):
        journal.touch(address)
    assert journal.changes().touched == {EMPTY}


@pytest.mark.parametrize(("address", "survives"), [(EMPTY, False), (RIPEMD160_ADDRESS, True)])
def test_only_the_touch_of_ripemd160_survives_a_revert(address: int, survives: bool) -> None:
    journal = journal_on({address: Account()})
    mark = journal.checkpoint()
    journal.touch(address)
    journal.revert(mark)
    assert journal.changes().touched == ({address} if survives else set())


def test_the_host_is_asked_once_for_an_account_also_after_a_revert() -> None:
    asked = []

    class Counting(MemoryState):
        def account(self, address: int) -> Account | None:
            asked.append(address)
            return super().account(address)

    journal = Journal()
    state = Counting(FORKS["osaka"], {A: Account(1, 1)})
    journal.begin(state, Message(CallKind.CALL, A, B, 0), clears_empty=True)
    mark = journal.checkpoint()
    journal.account(A)
    journal.revert(mark)
    journal.account(A)
    assert asked == [A]


def test_warm_from_the_start_is_not_reported_as_warmed() -> None:
    journal = journal_on({}, warm_addresses=(A,))
    journal.mark(journal.warm, B)
    assert journal.outcome(None, succeeded=True).warm_addresses() == {B}


def test_a_new_message_sees_nothing_of_the_last() -> None:
    journal = journal_on({A: Account(1, 100)}, warm_addresses=(A,), warm_slots=((A, 1),), transient={A: {1: 2}})
    journal.transfer(A, B, 1)
    journal.add_refund(5)
    journal.log_entries.append(encode_log(A, (), b""))
    journal.begin(MemoryState(FORKS["osaka"]), Message(CallKind.CALL, A, B, 0), clears_empty=True)
    assert not journal.log and not journal.accounts and not journal.warm and journal.refund == [0]
    assert not journal.log_entries and not journal.warm_slots_at_start and not journal.storage_of(A).transient
    assert journal.account(A)[BALANCE] == 0


def test_storage_collides_whether_the_host_or_the_message_wrote_it() -> None:
    journal = journal_on({})
    state = journal.state
    assert isinstance(state, MemoryState)
    assert not journal.has_storage(A)
    state.storages[A] = {1: 1}
    assert journal.has_storage(A)

    def get_storage(_frame: int, key_at: int, value_at: int) -> int:
        store_word(value_at, journal.ask_slot(from_native(to_word_array(key_at))))
        return 0

    frame = HelperFrame(journal.slots, get_storage=get_storage)
    journal.enter(B, journal.checkpoint())
    store_word(frame.address + FRAME.offset("recipient"), B)
    schedule = numbers(*[0] * 20)
    frame.call("sstore", 1, to_native(5), to_native(0), schedule)
    assert not journal.has_storage(B)
    frame.call("sstore", 1, to_native(5), to_native(1), schedule)
    assert journal.has_storage(B) and not journal.has_storage(0xC)


def test_logs_are_undone_with_their_frame() -> None:
    journal = journal_on({})
    journal.log_entries.append(encode_log(A, (), b"kept"))
    mark = journal.checkpoint()
    journal.log_entries.append(encode_log(A, ((1).to_bytes(32, "little"),), b"undone"))
    journal.revert(mark)
    assert journal.outcome(None, succeeded=True).logs() == (Log(A, (), b"kept"),)
