"""JSON-RPC to a node that behaves, and to nodes that don't: each fault has its name, nothing waits forever."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from evmaot.inputs.live.client import Call, CallError, RpcClient, RpcOptions
from evmaot.inputs.live.endpoint import parse_endpoint
from evmaot.inputs.live.http import RpcFailure
from tests.support.fake_node import Answer, FakeNode, Reply, answers, as_list, http, reply

QUICK = RpcOptions(timeout_seconds=5.0, retries=2, batch_size=4, reply_limit_bytes=1 << 16)


def echo(method: str, parameters: list[Any]) -> Any:
    return [method, *parameters]


def good(body: Any) -> bytes:
    return reply(body, echo)


def scripted(*replies: bytes | Answer) -> Answer:
    """These replies in turn, then good ones."""
    left = list(replies)

    def answer(body: Any) -> Reply:
        if not left:
            return good(body)
        following = left.pop(0)
        return following if isinstance(following, bytes) else following(body)

    return answer


class Asking:
    """A client whose waiting is noted, not waited."""

    def __init__(self, url: str, options: RpcOptions = QUICK) -> None:
        self.pauses: list[float] = []
        self.now = 0.0
        self.client = RpcClient(parse_endpoint(url), options, sleep=self._sleep, clock=lambda: self.now)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def many(self, count: int) -> list[Any]:
        with self.client:
            return self.client.call_many([Call("m", (index,)) for index in range(count)])

    def failure(self, count: int = 1) -> RpcFailure:
        with pytest.raises(RpcFailure) as caught:
            self.many(count)
        return caught.value


def results(count: int) -> list[Any]:
    return [["m", index] for index in range(count)]


def test_calls_are_answered_in_order_and_in_batches() -> None:
    with FakeNode(good) as node:
        assert Asking(node.url).many(10) == results(10)
        assert [len(as_list(body)) for body in node.requests] == [4, 4, 2]


def test_answers_are_matched_by_id_and_not_by_place() -> None:
    with FakeNode(lambda body: http(json.dumps(answers(body, echo)[::-1]))) as node:
        assert Asking(node.url).many(4) == results(4)


def test_a_single_call_is_not_sent_as_a_batch() -> None:
    with FakeNode(good) as node:
        assert Asking(node.url).many(1) == results(1)
        assert isinstance(node.requests[0], dict)


def test_the_connection_is_kept() -> None:
    with FakeNode(good) as node:
        Asking(node.url).many(12)
        assert len(node._threads) == 2  # one that accepts, one connection


def test_an_error_of_one_call_costs_only_that_call() -> None:
    def of(method: str, parameters: list[Any]) -> Any:
        return ValueError("missing trie node") if parameters[0] == 1 else echo(method, parameters)

    with FakeNode(lambda body: reply(body, of)) as node:
        assert Asking(node.url).many(3) == [["m", 0], CallError(-32000, "missing trie node"), ["m", 2]]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (http("busy", "503 Service Unavailable"), "rpc_http_error"),
        (http("{", "200 OK"), "rpc_bad_reply"),
        (http("<html>hello</html>"), "rpc_bad_reply"),
        (http("7"), "rpc_bad_reply"),
        (http("[]"), "rpc_bad_reply"),
        (http('{"id":99,"jsonrpc":"2.0","result":1}'), "rpc_bad_reply"),
        (http('{"id":1,"jsonrpc":"2.0"}'), "rpc_bad_reply"),
        (http("[" * 10_000), "rpc_bad_reply"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "rpc_bad_reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1", "rpc_truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n[1", "rpc_truncated"),
        (b"", "rpc_truncated"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "rpc_reply_too_large"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(1 << 17), "rpc_reply_too_large"),
        (http("no", "401 Unauthorized"), "rpc_unauthorized"),
        (http("no", "403 Forbidden"), "rpc_unauthorized"),
        (http("no", "404 Not Found"), "rpc_http_error"),
        (http("", "301 Moved Permanently", "Location: http://127.0.0.1:1/"), "rpc_http_error"),
        (http("slow down", "429 Too Many Requests"), "rpc_rate_limited"),
    ],
)
def test_a_fault_that_stays_has_its_name(fault: bytes, code: str) -> None:
    def close_after(connection: socket.socket) -> None:
        connection.sendall(fault)

    with FakeNode(lambda body: close_after) as node:
        asking = Asking(node.url)
        failure = asking.failure()
        assert failure.code == code
        assert len(node.requests) == 1 + len(asking.pauses)


@pytest.mark.parametrize(
    "fault",
    [
        http("busy", "503 Service Unavailable"),
        http("slow down", "429 Too Many Requests"),
        http("not json"),
        b"",
        http('{"id":1,"jsonrpc":"2.0","error":{"code":-32005,"message":"limit exceeded"}}'),
    ],
    ids=["503", "429", "not-json", "nothing", "error-limit"],
)
def test_a_fault_that_passes_is_survived(fault: bytes) -> None:
    with FakeNode(scripted(lambda body: lambda connection: connection.sendall(fault))) as node:
        asking = Asking(node.url)
        assert asking.many(1) == results(1)
        assert len(asking.pauses) == 1


def test_pauses_grow_and_end() -> None:
    with FakeNode(lambda body: http("busy", "503 Service Unavailable")) as node:
        asking = Asking(node.url, RpcOptions(retries=12))
        asking.failure()
        assert len(asking.pauses) == 12
        assert asking.pauses[0] < 1 < asking.pauses[3] < asking.pauses[5]
        assert max(asking.pauses) <= 60


def test_the_server_may_say_how_long_to_wait() -> None:
    with FakeNode(scripted(http("", "429 Too Many Requests", "Retry-After: 7"))) as node:
        asking = Asking(node.url)
        assert asking.many(1) == results(1)
        assert asking.pauses == [7]


def test_calls_keep_to_the_rate() -> None:
    with FakeNode(good) as node:
        asking = Asking(node.url, RpcOptions(batch_size=5, calls_per_second=10))
        assert asking.many(20) == results(20)
        assert asking.pauses == [0.5, 0.5, 0.5]


def only_up_to(size: int, refusal: Callable[[Any], bytes]) -> Answer:
    return lambda body: good(body) if len(as_list(body)) <= size else refusal(body)


@pytest.mark.parametrize(
    "refusal",
    [
        lambda body: http("", "413 Content Too Large"),
        lambda body: http('{"id":null,"jsonrpc":"2.0","error":{"code":-32600,"message":"batch too large"}}'),
        lambda body: http('[{"id":null,"jsonrpc":"2.0","error":{"code":-32600,"message":"batch limit exceeded"}}]'),
        lambda body: http("x" * (1 << 17)),
    ],
    ids=["413", "error", "error-in-list", "reply-too-large"],
)
def test_batches_shrink_to_what_the_node_takes(refusal: Callable[[Any], bytes]) -> None:
    with FakeNode(only_up_to(1, refusal)) as node:
        asking = Asking(node.url)
        assert asking.many(9) == results(9)
        assert asking.pauses == []
        assert [len(as_list(body)) for body in node.requests] == [4, 2, *[1] * 9]


def test_a_reply_that_comes_byte_by_byte_ends_at_the_deadline() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.settimeout(0.01)
        while True:
            connection.sendall(b" ")
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue

    with FakeNode(lambda body: drip) as node:
        failure = Asking(node.url, RpcOptions(timeout_seconds=0.2, retries=0)).failure()
        assert (failure.code, failure.can_retry) == ("rpc_timeout", True)


def test_a_node_that_says_nothing_ends_at_the_deadline() -> None:
    def silent(body: Any) -> Reply:
        return node.hold

    with FakeNode(silent) as node:
        assert Asking(node.url, RpcOptions(timeout_seconds=0.2, retries=0)).failure().code == "rpc_timeout"


def test_nobody_at_the_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asking = Asking(f"http://127.0.0.1:{port}")
    assert asking.failure().code == "rpc_unreachable"
    assert len(asking.pauses) == QUICK.retries


def test_no_tls_at_the_port_is_unreachable() -> None:
    with FakeNode(lambda body: http("", "400 Bad Request")) as node:
        assert Asking(f"https://{node.address}").failure().code == "rpc_unreachable"


def test_user_and_password_of_the_url_are_sent_and_not_shown() -> None:
    with FakeNode(good) as node:
        url = f"http://me:p%40ss@{node.address}/v2/KEY?token=SECRET"
        assert Asking(url).many(1) == results(1)
        head = node.heads[0]
    assert head.startswith("POST /v2/KEY?token=SECRET HTTP/1.1\r\n")
    assert f"Authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in head
    shown = parse_endpoint(url).shown
    assert not any(secret in shown for secret in ("me", "p%40ss", "p@ss", "KEY", "SECRET"))


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNode(good) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:word@{proxy.address}")
        assert Asking("http://node.invalid:8545/path").many(1) == results(1)
        head = proxy.heads[0]
    assert head.startswith("POST http://node.invalid:8545/path HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:word').decode()}" in head
    assert "Host: node.invalid:8545\r\n" in head


def test_https_goes_through_a_tunnel_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNode(lambda body: http("", "403 Forbidden")) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        failure = Asking("https://node.invalid/").failure()
        assert proxy.heads[0].startswith("CONNECT node.invalid:443 HTTP/1.")
    assert failure.code == "rpc_unreachable"
    assert "403" in (failure.cause or "")


def test_no_proxy_excepts_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FakeNode(good) as node:
        assert Asking(node.url).many(1) == results(1)


@pytest.mark.parametrize(
    "fault",
    [
        http("<pre>Cannot POST /v2/SECRET</pre>", "404 Not Found"),
        http('{"error": {"code": -32001, "message": "no project SECRET"}}', "401 Unauthorized"),
        http("<html>/v2/SECRET</html>"),
    ],
)
def test_a_key_in_the_url_that_the_server_repeats_is_not_told(fault: bytes) -> None:
    with FakeNode(lambda _: fault) as node:
        failure = Asking(f"{node.url}/v2/SECRET").failure()
    assert failure.cause
    assert "SECRET" not in failure.cause


def test_a_key_in_the_error_of_one_call_is_not_told() -> None:
    def refuse(body: Any) -> bytes:
        error = {"code": -32000, "message": "no project SECRET"}
        return http(json.dumps({"jsonrpc": "2.0", "id": body["id"], "error": error}))

    with FakeNode(refuse) as node:
        assert Asking(f"{node.url}/v2/SECRET").many(1) == [CallError(-32000, "no project ...")]
