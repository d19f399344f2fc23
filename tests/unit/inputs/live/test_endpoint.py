"""URLs of nodes: what is taken, what is refused, and what is never shown."""

from __future__ import annotations

import pytest

from evmaot.errors import UsageError
from evmaot.inputs.live.endpoint import parse_endpoint, shown_url


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "shown"),
    [
        ("http://127.0.0.1:8545", "127.0.0.1", 8545, "/", "http://127.0.0.1:8545"),
        ("http://localhost", "localhost", 80, "/", "http://localhost"),
        ("https://rpc.example/v2/KEY", "rpc.example", 443, "/v2/KEY", "https://rpc.example"),
        ("https://rpc.example/?k=KEY", "rpc.example", 443, "/?k=KEY", "https://rpc.example"),
        ("http://[::1]:8545/", "::1", 8545, "/", "http://[::1]:8545"),
    ],
)
def test_a_url_is_split(url: str, host: str, port: int, target: str, shown: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.target, endpoint.shown) == (host, port, target, shown)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8545", "localhost", "ws://127.0.0.1:8546", "http://", "http://h:99999", "http://[::1", "http://a b/",
     "http://h/ä", "http://h/\r\nX: y", ""],
)  # fmt: skip
def test_what_is_no_url_of_a_node_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(url)
    assert caught.value.reference == "bad_rpc_url"
    assert caught.value.hint


def test_a_proxy_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://me:SECRET@proxy:1080")
    with pytest.raises(UsageError) as caught:
        parse_endpoint("https://rpc.example")
    assert caught.value.reference == "unsupported_proxy"
    assert "SECRET" not in str(vars(caught.value))


def test_a_shown_url_has_no_secret() -> None:
    assert shown_url("https://me:SECRET@h:1/KEY?k=SECRET") == "https://...@h:1/..."
    assert shown_url("https://[") == "..."


def test_a_broken_url_does_not_show_the_password_in_it() -> None:
    for url in ("http://me:SECRET/x@h:1/", "http://me:p@[SECRET/", "me:SECRET@h/", "http://h:1SECRET/"):
        with pytest.raises(UsageError) as caught:
            parse_endpoint(url)
        assert "SECRET" not in str(vars(caught.value))


def test_what_a_server_repeats_of_the_url_is_not_shown() -> None:
    endpoint = parse_endpoint("https://me:SECRET1@h/v2/SECRET2%21/eth?key=SECRET3%2F&v=1")
    shown = endpoint.without_secrets("no /v2/SECRET2%21/eth?key=SECRET3%2F&v=1: SECRET2! SECRET2%21 SECRET3/, eth v2")
    assert "SECRET" not in shown
    assert shown.endswith(", eth v2")
