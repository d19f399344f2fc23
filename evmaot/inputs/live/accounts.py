"""Codes of accounts from a node, at one block.

Job: addresses to their codes; on request also the codes that they delegate to.  Invariants: all codes are of the same
block, which is settled first; an account is asked for once; one account's error costs only itself, a node that can't be
used ends the stream with one problem.  Sources: EIP-7702 (delegation), EIP-1167 (minimal proxy), EIP-1967 (slots of
proxies).  May import: inputs.{classify,hexadecimal,live,problems,source}.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evmaot.inputs.classify import CodeClass, classify
from evmaot.inputs.hexadecimal import Decoded, decode_hex, strip_prefix
from evmaot.inputs.live.client import Answer, Call, CallError, RpcClient
from evmaot.inputs.live.http import RpcFailure
from evmaot.inputs.problems import make_problem
from evmaot.inputs.source import InputLimits, Problem

IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
"""EIP-1967: keccak256("eip1967.proxy.implementation") - 1."""
BEACON_SLOT = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"
"""EIP-1967: keccak256("eip1967.proxy.beacon") - 1; the beacon tells the implementation."""
ZEPPELIN_SLOT = "0x7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3"
"""keccak256("org.zeppelinos.proxy.implementation"): proxies from before EIP-1967."""
_SLOTS = (IMPLEMENTATION_SLOT, ZEPPELIN_SLOT, BEACON_SLOT)
_BEACON_QUESTION = "0x5c60da1b"
"""Selector of implementation()."""
_DELEGATECALL = 0xF4
_MOST_STEPS = 8
"""Proxies before proxies that are followed."""
_WINDOW = 1000
"""Accounts that are asked for before their codes are handed on."""
_PRUNED_WORDS = ("missing trie node", "pruned", "state not available", "historical state", "distance to target block")


@dataclass(frozen=True, slots=True)
class Account:
    """An account that has code."""

    address: str
    code: bytes
    block_number: int
    chain_id: int | None
    delegators: tuple[str, ...] = ()
    """Addresses whose code runs this one's, where it was found through them."""


@dataclass(slots=True)
class _Wanted:
    address: str
    delegators: tuple[str, ...] = ()


def fetch_accounts(
    client: RpcClient,
    addresses: Iterable[str | Problem],
    *,
    block: str = "latest",
    follow_proxies: bool = False,
    limits: InputLimits | None = None,
) -> Iterator[Account | Problem]:
    """Accounts with code, and a problem for each that has none.  `block`: a number, a hash, or a tag."""
    fetch = _Fetch(client, limits or InputLimits(), follow_proxies)
    source = iter(addresses)
    asked = 0
    try:
        fetch.settle(block)
        while window := list(itertools.islice(source, _WINDOW)):
            yield from (item for item in window if isinstance(item, Problem))
            wanted = [_Wanted(item) for item in window if isinstance(item, str)]
            yield from fetch.window(wanted)
            asked += len(wanted)
    except RpcFailure as failure:
        left = "no account was asked for" if asked == 0 else f"after {asked} accounts"
        message = f"{failure.message} ({left})"
        subject = client.endpoint.shown
        yield make_problem(failure.code, subject, message, cause=failure.cause, hint=failure.hint)


class _Fetch:
    """One run over addresses."""

    def __init__(self, client: RpcClient, limits: InputLimits, follow_proxies: bool) -> None:
        self._client = client
        self._limits = limits
        self._follow = follow_proxies
        self._seen: set[str] = set()
        self._block: object = "latest"
        self._number = 0
        self._chain_id: int | None = None

    def settle(self, block: str) -> None:
        """Find out which block it is: a tag means another one a second later.  RpcFailure."""
        chain = self._client.call("eth_chainId")
        self._chain_id = _quantity(chain)
        if block.startswith("0x") and len(block) == 66:
            found = self._client.call("eth_getBlockByHash", block, False)
            self._block = {"blockHash": block}  # EIP-1898
        else:
            found = self._client.call("eth_getBlockByNumber", block_parameter(block), False)
        if isinstance(found, CallError):
            raise RpcFailure("rpc_error", f"the node does not tell about block {block}", found.message)
        number = _quantity(found.get("number")) if isinstance(found, dict) else None
        if number is None:
            hint = "check the number and the chain that the node follows" + self._of_chain()
            raise RpcFailure("unknown_block", f"the node has no block {block}", hint=hint)
        self._number = number
        if not isinstance(self._block, dict):
            self._block = hex(number)

    def window(self, wanted: list[_Wanted]) -> Iterator[Account | Problem]:
        """Some accounts, and what they lead to."""
        for _ in range(_MOST_STEPS):
            wanted = [item for item in wanted if item.address not in self._seen]
            self._seen.update(item.address for item in wanted)
            if not wanted:
                return
            answers = self._client.call_many([Call("eth_getCode", (item.address, self._block)) for item in wanted])
            accounts: list[Account] = []
            for item, answer in zip(wanted, answers, strict=True):
                found = self._account(item, answer)
                yield found
                if isinstance(found, Account):
                    accounts.append(found)
            wanted = self._targets(accounts) if self._follow else []
        for item in wanted:
            message = f"more than {_MOST_STEPS} proxies lead to {item.address}"
            yield make_problem("too_many_proxies", self._subject(item.address), message)

    def _account(self, item: _Wanted, answer: Answer) -> Account | Problem:
        subject = self._subject(item.address)
        if isinstance(answer, CallError):
            return self._call_problem(subject, item.address, answer)
        if not isinstance(answer, str) or not answer.startswith(("0x", "0X")):
            return make_problem("rpc_bad_reply", subject, "the code of the account is not hexadecimal digits with 0x")
        digits = strip_prefix(answer)
        if not digits:
            hint = f"check the address, the chain{self._of_chain()} and the block" if not item.delegators else None
            message = f"{item.address} has no code at block {self._number}"
            return make_problem("no_code_at_address", subject, message, hint=hint)
        if len(digits) > 2 * self._limits.code_size_bytes:
            message = f"{item.address}: {len(digits) // 2} bytes of code, the limit is {self._limits.code_size_bytes}"
            return make_problem("code_too_long", subject, message)
        decoded = decode_hex(digits)
        if not isinstance(decoded, Decoded) or decoded.placeholders:
            return make_problem("rpc_bad_reply", subject, "the code of the account is not hexadecimal digits")
        return Account(item.address, decoded.code, self._number, self._chain_id, item.delegators)

    def _call_problem(self, subject: str, address: str, error: CallError) -> Problem:
        is_pruned = any(word in error.message.lower() for word in _PRUNED_WORDS)
        hint = "the node keeps no state of that block: ask an archive node, or take --block latest"
        message = f"{address}: the node answered with an error"
        return make_problem("rpc_error", subject, message, cause=error.message, hint=hint if is_pruned else None)

    def _targets(self, accounts: Sequence[Account]) -> list[_Wanted]:
        """What the codes delegate to, each once."""
        found: dict[str, tuple[str, ...]] = {}
        asked = []
        for account in accounts:
            known = classify(account.code)
            if known.kind in (CodeClass.DELEGATION, CodeClass.MINIMAL_PROXY) and known.address is not None:
                _note(found, "0x" + known.address.hex(), account.address)
            elif _DELEGATECALL in account.code and known.kind is not CodeClass.BLUEPRINT:
                asked.append(account.address)
        for address, target in self._slot_targets(asked):
            _note(found, target, address)
        return [_Wanted(target, delegators) for target, delegators in found.items()]

    def _slot_targets(self, addresses: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Implementations that lie in storage.  A node that refuses to tell says so by an error: there is none then."""
        calls = [Call("eth_getStorageAt", (address, slot, self._block)) for address in addresses for slot in _SLOTS]
        answers = self._client.call_many(calls)
        beacons = []
        for call, answer in zip(calls, answers, strict=True):
            target = _address_in_word(answer)
            if target is None:
                continue
            if call.parameters[1] == BEACON_SLOT:
                beacons.append((call.parameters[0], target))
            else:
                yield call.parameters[0], target
        questions = [Call("eth_call", ({"to": beacon, "data": _BEACON_QUESTION}, self._block)) for _, beacon in beacons]
        for (address, beacon), answer in zip(beacons, self._client.call_many(questions), strict=True):
            yield address, beacon
            target = _address_in_word(answer)
            if target is not None:
                yield address, target

    def _subject(self, address: str) -> str:
        return f"{self._client.endpoint.shown}#{address}"

    def _of_chain(self) -> str:
        return "" if self._chain_id is None else f" (this is chain {self._chain_id})"


def _note(found: dict[str, tuple[str, ...]], target: str, delegator: str) -> None:
    before = found.get(target, ())
    if delegator not in before:
        found[target] = (*before, delegator)


def block_parameter(block: str) -> str:
    """A block as the calls take it: a tag, or a number in hexadecimal digits."""
    return hex(int(block)) if block.isdecimal() else block


def _quantity(value: object) -> int | None:
    """The number of a hexadecimal text."""
    try:
        return int(value, 16) if isinstance(value, str) and value.startswith("0x") else None
    except ValueError:
        return None


def _address_in_word(answer: Answer) -> str | None:
    """The address in a storage word; none in zeros, in an error, or where the upper bytes are used."""
    if not isinstance(answer, str) or not answer.startswith("0x"):
        return None
    try:
        value = int(answer, 16)
    except ValueError:
        return None
    return f"0x{value:040x}" if 0 < value < 1 << 160 else None
