"""What `evmaot bench` compares: native code, EELS's interpreter, and revm's through pyrevm.

Job: each as an engine that executes one message in batches, and tells the gas that it used.  Invariants: every message
starts from the same state, with nothing warm but what its transaction makes so; what prepares one is not timed; EELS
and pyrevm are imported when they are asked for.  May import: `evmaot.execution`, `evmaot.hosts`, `evmaot.cli`; pyrevm.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from evmaot.abi.status import CallKind
from evmaot.cli.bench_rounds import TooLong
from evmaot.execution.executor import Executor

if TYPE_CHECKING:
    from evmaot.cli.programs import RunPrograms
    from evmaot.cli.scenario import Scenario
    from evmaot.evm.forks import Fork
    from evmaot.execution.protocol import MessageResult

EELS_HINT: Final = "pip install 'evmaot[eels]'"
REVM_HINT: Final = "pip install pyrevm"
REVM_NAMES: Final = {
    "frontier": "Frontier", "homestead": "Homestead", "tangerine_whistle": "Tangerine", "spurious_dragon": "Spurious",
    "byzantium": "Byzantium", "petersburg": "Petersburg", "istanbul": "Istanbul", "berlin": "Berlin",
    "london": "London", "paris": "Merge", "shanghai": "Shanghai", "cancun": "Cancun", "prague": "Prague",
}  # fmt: skip
"""revm's names of the forks.  It takes any other name in silence, and runs its latest rules."""
_REVM_LATEST: Final = "Prague"
_RICH_WEI: Final = 10**30
_TRANSACTION_GAS: Final = 1 << 24
"""EIP-7825: what a transaction may have at most.  Only what it costs before its message begins is paid from it."""


class NotComparable(Exception):
    """An engine that can't execute this message, and why."""


class NativeEngine:
    """The message in native code of one tier."""

    def __init__(self, programs: RunPrograms, scenario: Scenario, fork: Fork) -> None:
        self._executor = Executor(programs)
        self._arguments = (scenario.message, scenario.environment, scenario.state, fork)
        self.result: MessageResult = self._executor.execute(*self._arguments)
        """Of the first message, which compiled what it called."""

    def batch(self, number: int) -> float:
        """Execute it so many times; nothing is committed, so all begin alike."""
        execute, arguments = self._executor.execute, self._arguments
        start = time.thread_time()
        for _ in range(number):
            execute(*arguments)
        return time.thread_time() - start


def gas_before_the_message(data: bytes) -> int:
    """Gas of a call's transaction without an access list: EIP-2028, and the base."""
    return 21000 + sum(16 if byte else 4 for byte in data)


def revm_world(revm: Any, scenario: Scenario, name: str) -> Any:
    """A scenario's block and accounts as an EVM of the module `revm` (pyrevm), under its rules of that name."""
    environment = scenario.environment
    evm = revm.EVM(spec_id=name)
    evm.set_block_env(
        revm.BlockEnv(
            number=environment.number,
            coinbase=f"0x{environment.coinbase:040x}",
            timestamp=environment.timestamp,
            prevrandao=environment.prevrandao.to_bytes(32, "big"),
            basefee=0,
            gas_limit=2**63,
        )
    )
    for address, account in scenario.state.accounts.items():
        info = revm.AccountInfo(balance=account.balance, nonce=account.nonce, code=account.code)
        evm.insert_account_info(f"0x{address:040x}", info)
    for address, slots in scenario.state.storages.items():
        for key, value in slots.items():
            evm.insert_account_storage(f"0x{address:040x}", key, value)
    evm.set_balance(f"0x{scenario.message.sender:040x}", _RICH_WEI)
    return evm


class RevmEngine:
    """The message by revm's interpreter, through pyrevm: a new world for each, made before the clock starts."""

    def __init__(self, scenario: Scenario, fork: Fork) -> None:
        """Raises NotComparable."""
        try:
            self._revm: Any = importlib.import_module("pyrevm")
        except ImportError as error:
            raise NotComparable(f"not installed; {REVM_HINT}") from error
        if scenario.message.kind is CallKind.CREATE:
            raise NotComparable("pyrevm is asked for calls only")
        self._scenario = scenario
        self._name = REVM_NAMES.get(fork.name, _REVM_LATEST)
        self.note = None if fork.name in REVM_NAMES else f"no {fork.title} there, so the rules of {self._name}"
        self._before = gas_before_the_message(scenario.message.input)
        self.gas_used = 0

    def batch(self, number: int) -> float:
        """Execute it so many times.  Raises NotComparable where pyrevm refuses the message."""
        message, seconds = self._scenario.message, 0.0
        sender, recipient = f"0x{message.sender:040x}", f"0x{message.recipient:040x}"
        gas, data, value = message.gas + self._before, message.input, message.value
        while number > 0:
            # Not more worlds at once than memory should hold.
            worlds = [revm_world(self._revm, self._scenario, self._name) for _ in range(min(number, 64))]
            start = time.thread_time()
            for evm in worlds:
                with contextlib.suppress(RuntimeError):  # a revert or a halt; the gas tells
                    evm.message_call(sender, recipient, data, value, gas)
            seconds += time.thread_time() - start
            number -= len(worlds)
            result = worlds[-1].result
        if result is None:
            raise NotComparable("pyrevm refuses this message")
        self.gas_used = int(result.gas_used) - self._before + int(getattr(result, "gas_refunded", 0) or 0)
        return seconds


class _Ended(BaseException):
    """The message has ended, and the rest of its transaction is not wanted."""

    def __init__(self, seconds: float, gas_left: int) -> None:
        super().__init__()
        self.seconds, self.gas_left = seconds, gas_left


class EelsEngine:
    """The message by EELS's interpreter, within a transaction that ends with it."""

    def __init__(self, scenario: Scenario, fork: Fork, patience_seconds: float) -> None:
        """Raises NotComparable."""
        try:
            from evmaot.hosts.state_test_eels import EelsRunner
            from evmaot.hosts.state_tests import CaseKey

            self._runner = EelsRunner()
            eels = self._runner.fork(fork)
        except ImportError as error:
            raise NotComparable(f"not installed; {EELS_HINT}") from error
        if eels is None:
            raise NotComparable(f"EELS has no {fork.title}")
        self._eels: Any = eels
        self._gas = scenario.message.gas
        self._patience_seconds = patience_seconds
        self._test = recorded_message(scenario, fork)
        self._key = CaseKey("bench", fork.name, 0)
        self.gas_used = 0

    def batch(self, number: int) -> float:
        """Execute it so many times.  Raises TooLong, and NotComparable where the transaction is refused."""
        seconds = 0.0
        for _ in range(number):
            ended = self._one()
            seconds += ended.seconds
            self.gas_used = self._gas - ended.gas_left
        return seconds

    def _one(self) -> _Ended:
        spec, gas = self._eels.spec, self._eels.numeric.Uint(self._gas)
        inner = spec.process_message_call

        def process_message_call(message: Any) -> Any:
            message.gas = gas
            start = time.thread_time()
            result = inner(message)
            raise _Ended(time.thread_time() - start, int(result.gas_left))

        spec.process_message_call = process_message_call
        try:
            with _patience(self._patience_seconds):
                observed = self._runner.observe(self._test, self._key)
        except _Ended as ended:
            return ended
        finally:
            spec.process_message_call = inner
        raise NotComparable(f"EELS refuses its transaction: {observed.rejection}")


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Raise TooLong in what takes longer; an interpreter in Python can be interrupted anywhere."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def recorded_message(scenario: Scenario, fork: Fork) -> Any:
    """A state test whose transaction's message is the scenario's, but for its gas."""
    from evmaot.hosts.recorded import recorded_test

    message, environment, state = scenario.message, scenario.environment, scenario.state
    is_create = message.kind is CallKind.CREATE
    transaction: dict[str, Any] = {
        "sender": f"0x{message.sender:040x}",
        "to": "" if is_create else f"0x{message.recipient:040x}",
        "data": "0x" + (message.code if is_create else message.input).hex(),
        "gasLimit": hex(_TRANSACTION_GAS),
        "value": hex(message.value),
    }
    lists = _access_list(scenario)
    if lists and fork.parameters.cold_sload:
        transaction["accessLists"] = [lists]
    pre = {
        f"0x{address:040x}": {
            "balance": hex(account.balance),
            "nonce": hex(account.nonce),
            "code": "0x" + account.code.hex(),
            "storage": {hex(key): hex(value) for key, value in state.storages.get(address, {}).items()},
        }
        for address, account in state.accounts.items()
    }
    env = {
        "currentCoinbase": f"0x{environment.coinbase:040x}",
        "currentNumber": hex(environment.number),
        "currentTimestamp": hex(environment.timestamp),
        "currentDifficulty": hex(environment.prevrandao),
        "currentRandom": hex(environment.prevrandao),
        "currentBaseFee": hex(environment.base_fee),
    }
    test = recorded_test("bench", {"env": env, "pre": pre, "transaction": transaction}, fork.name)
    test.content["transaction"]["gasPrice"] = hex(max(environment.gas_price, environment.base_fee))
    return test


def _access_list(scenario: Scenario) -> list[dict[str, Any]]:
    """What the message finds warm besides what every transaction warms."""
    message, environment = scenario.message, scenario.environment
    usual = {message.sender, message.recipient, message.code_address, environment.coinbase, *scenario.state.precompiles}
    slots: dict[int, list[str]] = {address: [] for address in sorted(set(message.warm_addresses) - usual)}
    for address, key in message.warm_slots:
        slots.setdefault(address, []).append(f"0x{key:064x}")
    return [{"address": f"0x{address:040x}", "storageKeys": keys} for address, keys in slots.items()]
