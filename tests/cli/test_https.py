"""HTTPS against real servers on loopback: `pull` and `--rpc` believe a certificate that is trusted, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import PUSH0_CODE, Cli
from tests.cli.exports import packs_of
from tests.cli.test_pull import Server, serving
from tests.support.certificates import Identity, identity
from tests.support.fake_node import healthy_node

ADDRESS = "0x" + "11" * 20

WRONG: dict[str, tuple[str, int, bool, str]] = {
    # host of the certificate, days that it is still valid, whether it is trusted, words of the cause
    "of an unknown authority": ("127.0.0.1", 1, False, "self-signed certificate"),
    "of another host": ("elsewhere.example", 1, True, "IP address mismatch"),
    "that has expired": ("127.0.0.1", -1, True, "certificate has expired"),
}


@contextmanager
def secure(directory: Path, who: Identity) -> Iterator[Server]:
    server = Server(directory)
    server.socket = who.context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


def https(server: Server) -> str:
    return server.url.replace("http://", "https://")


def test_a_pull_over_https_takes_what_was_signed(
    cli: Cli, signed: Path, key: Path, other: Path, real_store: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("export", "--directory", "public", "--sign", key).code == 0
    who = identity(home, "server")
    monkeypatch.setenv("SSL_CERT_FILE", str(who.certificate))
    with secure(home / "public", who) as server:
        result = cli("--store", other, "pull", "--key", "ci.key.pub", https(server))
    assert (result.code, "imported 2 artifacts in 1 pack" in result.err) == (0, True)
    assert packs_of(other) == packs_of(real_store)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_pull_from_a_server_with_a_wrong_certificate_is_refused(
    cli: Cli, key: Path, other: Path, home: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    host, days, is_trusted, words = WRONG[wrong]
    (home / "public").mkdir()
    who = identity(home, "server", host, days)
    monkeypatch.setenv("SSL_CERT_FILE", str(who.certificate if is_trusted else identity(home, "another").certificate))
    with secure(home / "public", who) as server:
        result = cli("--store", other, "pull", "--key", "ci.key.pub", https(server))
    assert result.code == 3
    assert "the server's certificate is not trusted" in result.err
    assert words in result.err
    assert "SSL_CERT_FILE" in result.err
    assert server.requests == [], "it was asked for nothing"
    assert not packs_of(other)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_node_is_asked_over_https(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool) -> None:
    who = identity(home, "node")
    monkeypatch.setenv("SSL_CERT_FILE", str(who.certificate if is_trusted else identity(home, "another").certificate))
    with healthy_node({ADDRESS: "0x" + PUSH0_CODE}, who.context) as node:
        assert node.url.startswith("https://")
        result = cli("build", "--rpc", node.url, "--address", ADDRESS, "--fork", "osaka", "--dry-run")
    if is_trusted:
        assert result.code == 0, result.err
        assert "eth_getCode" in {name for name, _ in node.calls}
    else:
        assert result.code != 0
        assert "the server's certificate is not trusted" in result.err
        assert node.calls == []
