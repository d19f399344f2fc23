"""Small worlds to run messages in: a state, an executor that compiles on demand, and a message."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from evmaot.abi.status import CallKind
from evmaot.codegen.options import CompileOptions, Tier
from evmaot.evm.forks import FORKS
from evmaot.execution.executor import Executor
from evmaot.execution.memory_state import MemoryState
from evmaot.execution.programs import JitPrograms
from evmaot.execution.protocol import Account, Environment, Message, MessageResult

SENDER = 0x5E4D
TARGET = 0x7A26
OTHER = 0x0DD0
GAS = 1_000_000


@cache
def executor() -> Executor:
    """One executor for all tests of a process: what a test leaves behind would show in the next."""
    return Executor(JitPrograms(CompileOptions(Tier.FAST)))


class World:
    """A state under one fork, with a rich sender."""

    def __init__(self, fork: str = "osaka", *, codes: Mapping[int, bytes] | None = None) -> None:
        self.fork = FORKS[fork]
        self.state = MemoryState(self.fork)
        self.state.accounts[SENDER] = Account(nonce=1, balance=10**18)
        for address, code in (codes or {}).items():
            self.put(address, code=code)

    def put(self, address: int, *, nonce: int = 0, balance: int = 0, code: bytes = b"") -> None:
        """An account as it is before the message."""
        self.state.accounts[address] = Account(nonce, balance, code)

    def run(
        self, message: Message | None = None, environment: Environment | None = None, **values: Any
    ) -> MessageResult:
        """Run a message (by default a call of TARGET) and commit what it changed, if it succeeded."""
        if message is None:
            message = self.message(**values)
        result = executor().execute(message, environment or Environment(), self.state, self.fork)
        self.state.commit(result.changes)
        return result

    def message(self, **values: Any) -> Message:
        """A message from SENDER to TARGET, or what `values` say."""
        recipient = values.setdefault("recipient", TARGET)
        if values.get("kind", CallKind.CALL) is CallKind.CALL:
            values.setdefault("code", self.state.accounts.get(recipient, Account()).code)
            values.setdefault("code_address", recipient)
        return Message(**{"kind": CallKind.CALL, "sender": SENDER, "gas": GAS, **values})
