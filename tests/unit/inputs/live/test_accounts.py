"""Codes of accounts: one block, each account once, and what delegations and proxies lead to."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from evmaot.errors import UsageError
from evmaot.evm.keccak import keccak256
from evmaot.inputs.live.accounts import (
    BEACON_SLOT,
    IMPLEMENTATION_SLOT,
    ZEPPELIN_SLOT,
    Account,
    fetch_accounts,
)
from evmaot.inputs.live.client import RpcClient, RpcOptions
from evmaot.inputs.live.contracts import check_block, contracts_of, dump_line
from evmaot.inputs.live.endpoint import parse_endpoint
from evmaot.inputs.reader import read_inputs
from evmaot.inputs.source import ContractSource, Problem
from tests.support.fake_node import FakeNode, chain, healthy_node, http, reply


def address(byte: int) -> str:
    return "0x" + f"{byte:02x}" * 20


def word(byte: int) -> str:
    return "0x" + "00" * 12 + f"{byte:02x}" * 20


CODE = "0x6001600255"
PROXY_1167 = "0x363d3d373d3d3d363d73" + "bb" * 20 + "5af43d82803e903d91602b57fd5bf3"
CALLER = "0x60006000600060006000f400"
"""Has a DELEGATECALL, so it may be a proxy."""


def fetch(node: FakeNode, *addresses: str, **options: Any) -> list[Account | Problem]:
    with RpcClient(parse_endpoint(node.url), RpcOptions(retries=0)) as client:
        return list(fetch_accounts(client, addresses, **options))


def found(items: list[Account | Problem]) -> dict[str, str]:
    return {item.address: "0x" + item.code.hex() for item in items if isinstance(item, Account)}


def problems(items: list[Account | Problem]) -> list[str]:
    return [item.code for item in items if isinstance(item, Problem)]


@pytest.mark.parametrize(
    ("name", "less", "slot"),
    [
        ("eip1967.proxy.implementation", 1, IMPLEMENTATION_SLOT),
        ("eip1967.proxy.beacon", 1, BEACON_SLOT),
        ("org.zeppelinos.proxy.implementation", 0, ZEPPELIN_SLOT),
    ],
)
def test_slots_are_what_their_names_hash_to(name: str, less: int, slot: str) -> None:
    assert hex(int.from_bytes(keccak256(name.encode()), "big") - less) == slot


def test_accounts_have_their_code_block_and_chain() -> None:
    with healthy_node({address(1): CODE}) as node:
        items = fetch(node, address(1), address(2))
        assert items[0] == Account(address(1), bytes.fromhex(CODE[2:]), 16, 7)
    assert problems(items) == ["no_code_at_address"]
    assert isinstance(items[1], Problem)
    assert "chain 7" in (items[1].hint or "")
    assert items[1].severity == "skip"


def test_latest_is_settled_once_for_all_accounts() -> None:
    with healthy_node({address(byte): CODE for byte in range(1, 251)}) as node:
        assert len(found(fetch(node, *(address(byte) for byte in range(1, 251))))) == 250
        assert {parameters[1] for method, parameters in node.calls if method == "eth_getCode"} == {"0x10"}


@pytest.mark.parametrize("block", ["16", "0x10", "finalized"])
def test_a_block_may_be_a_number_or_a_tag(block: str) -> None:
    with healthy_node({address(1): CODE}) as node:
        assert found(fetch(node, address(1), block=block)) == {address(1): CODE}


def test_a_block_may_be_a_hash() -> None:
    block = "0x" + "ab" * 32
    with healthy_node({address(1): CODE}) as node:
        assert found(fetch(node, address(1), block=block)) == {address(1): CODE}
        assert node.calls[-1] == ("eth_getCode", [address(1), {"blockHash": block}])  # EIP-1898


def test_an_unknown_block_is_one_problem() -> None:
    with healthy_node({address(1): CODE}) as node:
        (item,) = fetch(node, address(1), address(2), block="17")
    assert isinstance(item, Problem)
    assert item.code == "unknown_block"


@pytest.mark.parametrize("block", ["newest", "-1", "0x", "1e5", "0x" + "a" * 63])
def test_what_is_no_block_is_a_usage_error(block: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_block(block)
    assert caught.value.reference == "bad_block"


def test_a_pruned_block_has_advice() -> None:
    of = chain({address(1): ValueError("missing trie node 1234 (path )"), address(2): CODE})
    with FakeNode(lambda body: reply(body, of)) as node:
        items = fetch(node, address(1), address(2))
    assert found(items) == {address(2): CODE}
    assert isinstance(items[0], Problem)
    assert (items[0].code, items[0].cause) == ("rpc_error", "missing trie node 1234 (path )")
    assert "archive" in (items[0].hint or "")


@pytest.mark.parametrize("value", [None, 7, {"a": 1}, "6001", "0xzz", "0x123"])
def test_what_is_no_code_costs_only_that_account(value: Any) -> None:
    with healthy_node({address(1): value, address(2): CODE}) as node:
        items = fetch(node, address(1), address(2))
    assert problems(items) == ["rpc_bad_reply"]
    assert found(items) == {address(2): CODE}


def test_a_code_over_the_limit_is_a_problem() -> None:
    with healthy_node({address(1): "0x" + "00" * 50_000}) as node:
        assert problems(fetch(node, address(1))) == ["code_too_long"]


def test_a_node_that_fails_ends_the_stream_with_one_problem() -> None:
    with FakeNode(lambda body: http("no", "401 Unauthorized")) as node:
        (item,) = fetch(node, *(address(byte) for byte in range(1, 9)))
        assert isinstance(item, Problem)
        assert (item.code, item.severity, item.subject) == ("rpc_unauthorized", "error", node.url)


def test_a_delegation_leads_to_what_it_runs() -> None:
    # EIP-7702: 0xef0100 and the address.
    with healthy_node({address(1): "0xef0100" + "bb" * 20, address(0xBB): CODE}) as node:
        items = fetch(node, address(1), follow_proxies=True)
        assert items[-1] == Account(address(0xBB), bytes.fromhex(CODE[2:]), 16, 7, (address(1),))
        compiled = list(contracts_of(iter(items), node.url))
    assert [item.label for item in compiled if isinstance(item, ContractSource)] == [address(0xBB)]
    assert [item.code for item in compiled if isinstance(item, Problem)] == ["delegation"]


def test_proxies_of_one_implementation_lead_to_it_once() -> None:
    with healthy_node({address(1): PROXY_1167, address(2): PROXY_1167, address(0xBB): CODE}) as node:
        items = fetch(node, address(1), address(2), follow_proxies=True)
        assert sum(parameters[:1] == [address(0xBB)] for _, parameters in node.calls) == 1
    assert found(items) == {address(1): PROXY_1167, address(2): PROXY_1167, address(0xBB): CODE}
    assert isinstance(items[-1], Account)
    assert items[-1].delegators == (address(1), address(2))


@pytest.mark.parametrize("slot", [IMPLEMENTATION_SLOT, ZEPPELIN_SLOT])
def test_an_implementation_in_storage_is_found(slot: str) -> None:
    codes = {address(1): CALLER, address(0xBB): CODE}
    with healthy_node(codes, slots={(address(1), slot): word(0xBB)}) as node:
        assert found(fetch(node, address(1), follow_proxies=True)) == codes


def test_a_beacon_is_asked_for_the_implementation() -> None:
    codes = {address(1): CALLER, address(0xBE): CODE, address(0xBB): CODE + "00"}
    slots = {(address(1), BEACON_SLOT): word(0xBE)}
    with healthy_node(codes, slots=slots, calls={address(0xBE): word(0xBB)}) as node:
        assert found(fetch(node, address(1), follow_proxies=True)) == codes


def test_code_without_delegatecall_is_not_asked_for_slots() -> None:
    with healthy_node({address(1): CODE}) as node:
        fetch(node, address(1), follow_proxies=True)
        assert "eth_getStorageAt" not in {method for method, _ in node.calls}


def test_nothing_is_followed_unless_asked_for() -> None:
    with healthy_node({address(1): PROXY_1167, address(0xBB): CODE}) as node:
        assert found(fetch(node, address(1))) == {address(1): PROXY_1167}


def test_a_circle_of_proxies_ends() -> None:
    codes = {address(1): CALLER, address(2): CALLER}
    slots = {(address(1), IMPLEMENTATION_SLOT): word(2), (address(2), IMPLEMENTATION_SLOT): word(1)}
    with healthy_node(codes, slots=slots) as node:
        assert found(fetch(node, address(1), follow_proxies=True)) == codes


def test_a_long_chain_of_proxies_is_given_up_by_name() -> None:
    codes = {address(byte): CALLER for byte in range(1, 31)}
    slots = {(address(byte), IMPLEMENTATION_SLOT): word(byte + 1) for byte in range(1, 30)}
    with healthy_node(codes, slots=slots) as node:
        items = fetch(node, address(1), follow_proxies=True)
    assert problems(items) == ["too_many_proxies"]
    assert 1 < len(found(items)) < 30


def test_a_dump_is_read_like_the_node() -> None:
    with healthy_node({address(1): CODE, address(2): PROXY_1167, address(0xBB): CODE + "00"}) as node:
        items = fetch(node, address(1), address(2), follow_proxies=True)
        live = [item for item in contracts_of(iter(items), node.url) if isinstance(item, ContractSource)]
    lines = "".join(dump_line(item) + "\n" for item in items if isinstance(item, Account))
    dumped = list(read_inputs(["-"], stdin=io.BytesIO(lines.encode())))
    assert [(i.label, i.code) for i in dumped if isinstance(i, ContractSource)] == [(i.label, i.code) for i in live]
    record = json.loads(lines.splitlines()[-1])
    assert (record["chain_id"], record["block_number"], record["implementation_of"]) == (7, 16, [address(2)])
