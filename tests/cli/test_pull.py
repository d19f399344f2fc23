"""`evmaot pull` from a web server on loopback, also from one that breaks off, lies or is silent."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evmaot.errors import InputError
from evmaot.sharing.download import Fetcher
from tests.cli.conftest import Cli
from tests.cli.exports import packs_of
from tests.cli.test_schemas import check


class Server(http.server.ThreadingHTTPServer):
    """Serves a directory; `breaks` says after how many bytes each of the next replies ends."""

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
        self.breaks: list[int] = []
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []
        self.moved: dict[str, str] = {}
        self.statuses: list[int] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests want."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if self.server.statuses or not path.is_file():
            self.send_error(self.server.statuses.pop(0) if self.server.statuses else 404)
            return
        data, start = path.read_bytes(), 0
        if self.headers["Range"] and self.server.ranges and self.headers["If-Range"] == '"one"':
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        limit = self.server.breaks.pop(0) if self.server.breaks and not path.name.endswith(".minisig") else None
        self.wfile.write(data[start:][:limit])
        self.close_connection = limit is not None

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(server: Server) -> Iterator[None]:
    """Answer requests as long as the block lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    (home / "public").mkdir()
    server = Server(home / "public")
    with serving(server):
        yield server


@pytest.fixture
def directory(cli: Cli, signed: Path, key: Path, server: Server) -> str:
    assert cli("export", "--directory", "--codes", "public", "--sign", key).code == 0
    return server.url


@pytest.fixture
def archive(cli: Cli, signed: Path, key: Path, server: Server) -> str:
    assert cli("export", "public/packs.tar", "--sign", key).code == 0
    return server.url + "packs.tar"


def quick(**more: Any) -> Fetcher:
    return Fetcher(retries=3, wait=lambda seconds: None, **more)


def test_a_directory_is_pulled_and_the_second_pull_fetches_no_pack(
    cli: Cli, directory: str, server: Server, other: Path, real_store: Path
) -> None:
    arguments = ("--store", other, "pull", "--key", "ci.key.pub", directory, "--json")
    first = cli(*arguments)
    assert (first.code, len(first.document["data"]["new"])) == (0, 1)
    check(first.document)
    assert packs_of(other) == packs_of(real_store)
    assert cli("--store", other, "verify").code == 0
    server.requests.clear()
    second = cli(*arguments).document["data"]
    assert (second["new"], len(second["known"])) == ([], 1)
    assert [path for path, _ in server.requests] == ["/index.json.minisig", "/index.json"]


def test_a_file_is_pulled(cli: Cli, archive: str, other: Path, real_store: Path) -> None:
    assert cli("--store", other, "pull", "--key", "ci.key.pub", archive).code == 0
    assert packs_of(other) == packs_of(real_store)


@pytest.mark.parametrize("what", ["directory", "archive"])
def test_the_rules_of_trust_are_those_of_import(
    cli: Cli, what: str, request: pytest.FixtureRequest, other: Path, home: Path
) -> None:
    url = request.getfixturevalue(what)
    signature = home / "public" / ("packs.tar.minisig" if what == "archive" else "index.json.minisig")
    cli("keygen", "stranger")
    assert cli("--store", other, "pull", url).code == 77
    assert cli("--store", other, "pull", "--key", "stranger.pub", url).code == 5
    file = signature.with_suffix("")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"0", b"1", 1))
    assert "[bad_signature]" in cli("--store", other, "pull", "--key", "ci.key.pub", url).err
    file.write_bytes(data)
    signature.unlink()
    assert "[unsigned]" in cli("--store", other, "pull", "--key", "ci.key.pub", url).err
    assert not packs_of(other)
    assert cli("--store", other, "pull", "--allow-unsigned", url).code == 0
    assert packs_of(other)


def test_a_file_that_its_list_does_not_know_is_refused(cli: Cli, directory: str, other: Path, home: Path) -> None:
    (library,) = (home / "public" / "v1" / "objects").rglob("*.so")
    library.write_bytes(library.read_bytes()[:-1] + b"x")
    result = cli("--store", other, "pull", "--key", "ci.key.pub", directory)
    assert (result.code, "[export_damaged]" in result.err) == (4, True)
    library.write_bytes(library.read_bytes() + b"x")
    result = cli("--store", other, "pull", "--key", "ci.key.pub", directory)
    assert (result.code, "[download_too_large]" in result.err) == (3, True)
    library.unlink()
    assert cli("--store", other, "pull", "--key", "ci.key.pub", directory).code == 4
    assert not packs_of(other)


def test_what_is_not_there_says_so(cli: Cli, key: Path, server: Server, other: Path) -> None:
    for url in (server.url, server.url + "packs.tar"):
        result = cli("--store", other, "pull", "--key", "ci.key.pub", url)
        assert (result.code, "[http_missing]" in result.err) == (3, True)
    result = cli("--store", other, "pull", "--key", "ci.key.pub", "ftp://host/packs.tar")
    assert (result.code, "[bad_url]" in result.err) == (2, True)


def fetched(server: Server, name: str, fetcher: Fetcher, limit_bytes: int = 1 << 30) -> bytes:
    stream = io.BytesIO()
    assert fetcher.fetch(server.url + name, stream, limit_bytes)
    return stream.getvalue()


DATA = bytes(range(256)) * 4000


@pytest.fixture
def served(server: Server, home: Path) -> Server:
    (home / "public" / "data").write_bytes(DATA)
    return server


def test_a_broken_transfer_is_continued_where_it_broke(served: Server) -> None:
    served.breaks = [300_000, 200_000]
    assert fetched(served, "data", quick()) == DATA
    assert [what for _, what in served.requests] == [None, "bytes=300000-", "bytes=500000-"]


def test_without_ranges_a_broken_transfer_begins_again(served: Server) -> None:
    served.breaks, served.ranges = [300_000], False
    assert fetched(served, "data", quick()) == DATA


def test_a_changed_file_begins_again(served: Server, home: Path) -> None:
    served.breaks = [300_000]
    other = DATA[::-1]

    def wait(seconds: float) -> None:
        served.ranges = False  # its ETag does not match any more
        (home / "public" / "data").write_bytes(other)

    assert fetched(served, "data", Fetcher(retries=1, wait=wait)) == other


def test_attempts_end(served: Server) -> None:
    served.breaks = [0] * 10
    waits: list[float] = []
    with pytest.raises(InputError) as caught:
        fetched(served, "data", Fetcher(retries=3, wait=waits.append))
    assert (caught.value.reference, waits) == ("http_truncated", [0.5, 1.0, 2.0])


def test_a_busy_server_is_asked_again_and_a_refusing_one_is_not(served: Server) -> None:
    served.statuses = [503, 429]
    assert fetched(served, "data", quick()) == DATA
    served.statuses = [403, 403]
    with pytest.raises(InputError, match="HTTP 403"):
        fetched(served, "data", quick())
    assert served.statuses == [403]


@pytest.mark.parametrize("limit_bytes", [0, 1000, len(DATA) - 1])
def test_no_more_than_the_limit_is_taken(served: Server, limit_bytes: int) -> None:
    with pytest.raises(InputError) as caught:
        fetched(served, "data", quick(), limit_bytes)
    assert caught.value.reference == "download_too_large"
    assert len(served.requests) == 1


def test_redirects_are_followed_but_not_for_ever(served: Server) -> None:
    served.moved = {"/there": "/data", "/round": "/round"}
    assert fetched(served, "there", quick()) == DATA
    with pytest.raises(InputError, match="redirects more than"):
        fetched(served, "round", quick())


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/data"])
def test_a_redirect_to_what_is_no_web_server_is_not_followed(served: Server, elsewhere: str) -> None:
    served.moved = {"/there": elsewhere}
    with pytest.raises(InputError, match="neither http nor https"):
        fetched(served, "there", quick())


def test_https_does_not_become_http(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def request(self: object, url: str) -> str:
        asked.append(url)
        return "http://127.0.0.1:1/data"

    monkeypatch.setattr("evmaot.sharing.download._Transfer._request", request)
    with pytest.raises(InputError, match="from https to http"):
        quick().read("https://127.0.0.1:1/data", 100)
    assert asked == ["https://127.0.0.1:1/data"]


def test_a_silent_server_is_given_up(key: Path, server: Server) -> None:
    from tests.support.fake_node import FakeNode

    node: list[FakeNode] = []
    with FakeNode(lambda body: lambda connection: node[0].hold(connection)) as silent:
        node.append(silent)
        with pytest.raises(InputError) as caught:
            Fetcher(timeout_seconds=0.1, retries=1, wait=lambda seconds: None).read(silent.url, 10)
    assert caught.value.reference == "http_timeout"


def test_a_proxy_of_the_environment_is_asked(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", served.url)
    assert quick().read("http://packs.example.org/data", 1) is None
    assert served.requests[0][0] == "http://packs.example.org/data"
