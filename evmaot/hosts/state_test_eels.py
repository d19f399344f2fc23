"""State tests on EELS: one case as a transaction of a fork, natively or on EELS's interpreter.

Job: `EelsRunner` builds the fork's own state, block and signed transaction, processes it, and compares
state root, hash of the logs and rejection.  Invariants: the transaction is EELS's business, the messages
are ours: nothing of a message is done here.  Rules of the suites (CONFORMANCE of the project):
BLOCKHASH knows block 0 only (`previousHash`); a rejected transaction leaves the pre-state, and before
EIP-158, in suites by retesteth, a touched coinbase.  May import: `evmaot.evm`, hosts.*; EELS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from evmaot.evm.forks import Fork
from evmaot.hosts.state_test_rejections import is_expected_rejection
from evmaot.hosts.state_tests import CaseKey, CaseResult, StateTest, fork_of_test

EELS_PACKAGES: Mapping[str, str | None] = {"petersburg": "constantinople", "constantinople": None}
"""EELS's package where its name is not ours; None: EELS lacks the fork (EIP-1283 was never on mainnet)."""


_ANY_KEY = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8"
"""Signs a transaction whose sender's key is not known; the sender is then what the transaction says."""


class Rejected(Exception):
    """The transaction is not valid; `reason` is EELS's exception's name or a word of ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclasses.dataclass(slots=True)
class Observed:
    """What a case left behind."""

    state_root: str
    logs_hash: str
    rejection: str | None
    gas_used: int = 0
    """Of the transaction, after refunds; 0 if it was rejected."""


class EelsFork:
    """One EELS fork and what is needed of it."""

    def __init__(self, fork: Fork, package: str) -> None:
        self.fork = fork
        base = f"ethereum.forks.{package}"
        self.spec: Any = importlib.import_module(f"{base}.fork")
        self.state: Any = importlib.import_module(f"{base}.state")
        self.trie: Any = importlib.import_module(f"{base}.trie")
        self.vm: Any = importlib.import_module(f"{base}.vm")
        self.types: Any = importlib.import_module(f"{base}.fork_types")
        self.transactions: Any = importlib.import_module(f"{base}.transactions")
        self.numeric: Any = importlib.import_module("ethereum_types.numeric")
        self.bytes: Any = importlib.import_module("ethereum_types.bytes")
        self.keccak256 = importlib.import_module("ethereum.crypto.hash").keccak256
        self.rlp_encode = importlib.import_module("ethereum_rlp").rlp.encode
        self.error: type[Exception] = importlib.import_module("ethereum.exceptions").EthereumException
        tools = importlib.import_module("ethereum_spec_tools.evm_tools.utils")
        self.sign = tools.secp256k1_sign
        forks = importlib.import_module("ethereum_spec_tools.forks").Hardfork
        loaders = importlib.import_module("ethereum_spec_tools.evm_tools.loaders.fork_loader")
        self.load = loaders.ForkLoad(forks(importlib.import_module(base)))
        transaction_loader = importlib.import_module("ethereum_spec_tools.evm_tools.loaders.transaction_loader")
        self.transaction_load = transaction_loader.TransactionLoad
        self.block_fields = {field.name for field in dataclasses.fields(self.vm.BlockEnvironment)}

    # --- building ---------------------------------------------------------------------------------

    def new_state(self, pre: Mapping[str, Any]) -> Any:
        """EELS's state of a test's `pre`; empty accounts are kept, which EELS's own loader refuses."""
        state = self.state.State()
        uint, u256, account_type = self.numeric.Uint, self.numeric.U256, self.types.Account
        for address_text, account in pre.items():
            address = self.address(address_text)
            self.state.set_account(
                state,
                address,
                account_type(
                    nonce=uint(_number(account.get("nonce", "0x0"))),
                    balance=u256(_number(account.get("balance", "0x0"))),
                    code=_data(account.get("code", "0x")),
                ),
            )
            for key, value in account.get("storage", {}).items():
                self.state.set_storage(state, address, self.word(_number(key)), u256(_number(value)))
        return state

    def copy_state(self, template: Any) -> Any:
        """A state with the same content."""
        state = self.state.State()
        state._main_trie = self.trie.copy_trie(template._main_trie)
        state._storage_tries = {address: self.trie.copy_trie(trie) for address, trie in template._storage_tries.items()}
        return state

    def block(self, env: Mapping[str, Any], state: Any) -> Any:
        """EELS's block environment of a test's `env`."""
        uint, u256 = self.numeric.Uint, self.numeric.U256
        number = _number(env["currentNumber"])
        hashes = [self.word(0)] * min(number, 256)
        if "previousHash" in env and 0 < number <= 256:
            hashes[0] = self.word(_number(env["previousHash"]))
        values = {
            "chain_id": self.numeric.U64(1),
            "state": state,
            "block_gas_limit": uint(_number(env["currentGasLimit"])),
            "block_hashes": hashes,
            "coinbase": self.address(env["currentCoinbase"]),
            "number": uint(number),
            "time": u256(_number(env["currentTimestamp"])),
            "difficulty": uint(_number(env.get("currentDifficulty", "0x0"))),
            "base_fee_per_gas": uint(_number(env.get("currentBaseFee", "0x0a"))),
            "prev_randao": self.word(_number(env.get("currentRandom", "0x0"))),
            "excess_blob_gas": self.numeric.U64(_number(env.get("currentExcessBlobGas", "0x0"))),
            "parent_beacon_block_root": self.word(0),
        }
        return self.vm.BlockEnvironment(**{name: values[name] for name in self.block_fields})

    def transaction(self, template: Mapping[str, Any], indexes: Mapping[str, int]) -> Any:
        """The signed transaction that a `post` entry's indexes select.  Raises Rejected."""
        raw = {name: value for name, value in template.items() if name not in ("data", "gasLimit", "value")}
        raw["data"] = template["data"][indexes["data"]]
        raw["gasLimit"] = template["gasLimit"][indexes["gas"]]
        raw["value"] = template["value"][indexes["value"]]
        if not raw.get("to"):
            raw["to"] = ""
        lists = raw.pop("accessLists", None)
        if lists is not None and lists[indexes["data"]] is not None:
            raw["accessList"] = lists[indexes["data"]]
        raw.update(v="0x0", r="0x0", s="0x0", y_parity="0x0")
        try:
            transaction = self.transaction_load(raw, self.load).read()
        except AttributeError as error:
            # The fork has no class for this type of transaction.
            raise Rejected("TransactionTypeNotSupported") from error
        except (ValueError, OverflowError) as error:
            raise Rejected("FieldOutOfRange") from error
        except Exception as error:
            raise Rejected(type(error).__name__) from error
        return self._signed(transaction, _number(template.get("secretKey", _ANY_KEY)))

    def _signed(self, transaction: Any, secret_key: int) -> Any:
        kind = type(transaction).__name__
        module, u256 = self.transactions, self.numeric.U256
        hashes = {
            "AccessListTransaction": "signing_hash_2930",
            "FeeMarketTransaction": "signing_hash_1559",
            "BlobTransaction": "signing_hash_4844",
            "SetCodeTransaction": "signing_hash_7702",
        }
        if kind in hashes:
            r, s, parity = self.sign(getattr(module, hashes[kind])(transaction), secret_key)
            return dataclasses.replace(transaction, r=r, s=s, y_parity=parity)
        if hasattr(module, "signing_hash_155"):
            r, s, parity = self.sign(module.signing_hash_155(transaction, self.numeric.U64(1)), secret_key)
            return dataclasses.replace(transaction, r=r, s=s, v=parity + u256(37))
        r, s, parity = self.sign(module.signing_hash(transaction), secret_key)
        return dataclasses.replace(transaction, r=r, s=s, v=parity + u256(27))

    @contextlib.contextmanager
    def sender_of(self, template: Mapping[str, Any]) -> Iterator[None]:
        """Believe a transaction without a key about its sender (recorded ones); the signature costs what it costs."""
        if "secretKey" in template:
            yield
            return
        sender, recover = self.address(template["sender"]), self.spec.recover_sender

        def recover_sender(*arguments: Any) -> Any:
            recover(*arguments)
            return sender

        self.spec.recover_sender = recover_sender
        try:
            yield
        finally:
            self.spec.recover_sender = recover

    def address(self, text: str) -> Any:
        """An address of a test."""
        return self.bytes.Bytes20(_number(text).to_bytes(20, "big"))

    def word(self, number: int) -> Any:
        """A 32-byte string."""
        return self.bytes.Bytes32(number.to_bytes(32, "big"))


class EelsRunner:
    """Runs cases one after another; keeps the last test's state to copy it for its other cases."""

    def __init__(self) -> None:
        self._forks: dict[str, EelsFork | None] = {}
        self._template: tuple[str, str, Any] = ("", "", None)

    def fork(self, fork: Fork) -> EelsFork | None:
        """The EELS fork with these rules, None if EELS lacks it."""
        if fork.name not in self._forks:
            package = EELS_PACKAGES.get(fork.name, fork.name)
            self._forks[fork.name] = EelsFork(fork, package) if package is not None else None
        return self._forks[fork.name]

    def observe(self, test: StateTest, key: CaseKey) -> Observed:
        """Process a case's transaction.  LookupError for a fork that EELS lacks."""
        fork = fork_of_test(key.fork_name)
        eels = self.fork(fork) if fork is not None else None
        if fork is None or eels is None:
            raise LookupError(f"EELS has no fork with the rules of {key.fork_name}")
        content = test.content
        entry = content["post"][key.fork_name][key.index]
        if self._template[:2] != (test.id, fork.name):
            self._template = (test.id, fork.name, eels.new_state(content["pre"]))
        template = self._template[2]
        state = eels.copy_state(template)
        block = eels.block(content["env"], state)
        output = eels.vm.BlockOutput()
        rejection: str | None = None
        try:
            transaction = eels.transaction(content["transaction"], entry["indexes"])
            with eels.sender_of(content["transaction"]):
                eels.spec.process_transaction(block, output, transaction, eels.numeric.Uint(0))
        except Rejected as error:
            rejection = error.reason
        except eels.error as error:
            rejection = type(error).__name__
        if rejection is not None:
            state = eels.copy_state(template)
            if test.filler == "retesteth" and not fork.parameters.empty_accounts_are_cleared:
                eels.state.touch_account(state, block.coinbase)
        return Observed(
            "0x" + eels.state.state_root(state).hex(),
            "0x" + eels.keccak256(eels.rlp_encode(output.block_logs)).hex(),
            rejection,
            int(output.block_gas_used),
        )


class Observer(Protocol):
    """What processes a case's transaction: EELS, or another host of the executor."""

    def observe(self, test: StateTest, key: CaseKey) -> Observed:
        """What the case leaves behind."""
        ...


def run_case(
    runner: Observer, test: StateTest, key: CaseKey, mode: str, native_frames: Callable[[], int]
) -> CaseResult:
    """Run a case and judge it.  `native_frames` gives the number of native frames so far."""
    start, frames = time.perf_counter(), native_frames()
    entry = test.content["post"][key.fork_name][key.index]
    try:
        problem = judge(entry, runner.observe(test, key))
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return CaseResult(
        test=test.id,
        file=test.file,
        fork_name=key.fork_name,
        index=key.index,
        passed=not problem,
        problem=problem,
        native_frames=native_frames() - frames,
        seconds=round(time.perf_counter() - start, 6),
        mode=mode,
    )


def judge(entry: Mapping[str, Any], observed: Observed) -> str:
    """What differs from what the test expects; empty if nothing does."""
    expected = entry.get("expectException")
    problems = []
    if expected and observed.rejection is None:
        problems.append(f"accepted, expected {expected}")
    elif observed.rejection is not None and not expected:
        problems.append(f"rejected: {observed.rejection}")
    elif expected and observed.rejection is not None and not is_expected_rejection(expected, observed.rejection):
        problems.append(f"rejected for another reason: {observed.rejection}, expected {expected}")
    if observed.state_root != entry["hash"]:
        problems.append(f"state root {observed.state_root}, expected {entry['hash']}")
    if observed.logs_hash != entry["logs"]:
        problems.append(f"logs {observed.logs_hash}, expected {entry['logs']}")
    return "; ".join(problems)


def _number(text: str) -> int:
    """A JSON number of a test: hex, with or without leading zeroes; ``0x`` and ``0x:bigint 0x..`` occur."""
    text = text.removeprefix("0x:bigint ")
    digits = text.removeprefix("0x")
    return int(digits, 16) if digits else 0


def _data(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
