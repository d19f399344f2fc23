"""A state of plain dicts: for `evmaot run`, single-frame vectors, and tests.

Job: a `StateReader` that keeps what it is given and takes over `Changes`.  Invariants: storage holds no
zeroes; what the end of a transaction deletes is deleted by `end_transaction`, not before.
May import: `evmaot.evm.forks`, execution.protocol, execution.precompiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from evmaot.execution.precompiles import precompile_addresses, run_precompile
from evmaot.execution.protocol import Account, Changes, PrecompileCall, PrecompileResult

if TYPE_CHECKING:
    from evmaot.evm.forks import Fork


def no_block_hash(_number: int) -> int:
    """Block hashes of a state that knows no blocks."""
    return 0


class MemoryState:
    """Accounts and storage in memory, under one fork's precompiles."""

    def __init__(
        self,
        fork: Fork,
        accounts: Mapping[int, Account] | None = None,
        storages: Mapping[int, Mapping[int, int]] | None = None,
        *,
        block_hash: Callable[[int], int] = no_block_hash,
    ) -> None:
        self.fork = fork
        self.accounts: dict[int, Account] = dict(accounts or {})
        self.storages: dict[int, dict[int, int]] = {
            address: {key: value for key, value in slots.items() if value}
            for address, slots in (storages or {}).items()
        }
        self.precompiles = precompile_addresses(fork.name)
        self._block_hash = block_hash

    def account(self, address: int) -> Account | None:
        """The account, None if there is none."""
        return self.accounts.get(address)

    def storage(self, address: int, key: int) -> int:
        """The value of a slot."""
        slots = self.storages.get(address)
        return slots.get(key, 0) if slots else 0

    def has_storage(self, address: int) -> bool:
        """Whether any slot is set."""
        return bool(self.storages.get(address))

    def storage_is_empty(self, address: int) -> bool:
        """Whether every slot is 0."""
        return not self.storages.get(address)

    def block_hash(self, number: int) -> int:
        """Hash of a block, as the function given at the start has it."""
        return self._block_hash(number)

    def precompile(self, call: PrecompileCall) -> PrecompileResult:
        """Run a precompiled contract of the fork."""
        return run_precompile(self.fork, call)

    def commit(self, changes: Changes) -> None:
        """Take over what a message changed."""
        for address, account in changes.accounts.items():
            if account is None:
                self.delete((address,))
            else:
                self.accounts[address] = account
        for address, slots in changes.storage.items():
            mine = self.storages.setdefault(address, {})
            for key, value in slots.items():
                if value:
                    mine[key] = value
                else:
                    mine.pop(key, None)

    def end_transaction(self, changes: Changes) -> None:
        """Delete what SELFDESTRUCT marked, and empty accounts that were touched (EIP-161)."""
        self.delete(changes.destroyed)
        self.delete(address for address in changes.touched if self.accounts.get(address, Account()).is_empty)

    def delete(self, addresses: Iterable[int]) -> None:
        """Remove accounts with their storage."""
        for address in addresses:
            self.accounts.pop(address, None)
            self.storages.pop(address, None)
