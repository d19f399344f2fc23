"""A node on loopback that answers, or misbehaves, as a test says.

`FakeNode(answer)` serves until it is closed, over TLS where it gets a context for that; `answer(body)` gives the bytes
of a whole HTTP reply, or a function that writes to the socket itself.
`chain(...)` makes an answer that knows some accounts.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

Reply: TypeAlias = "bytes | Callable[[socket.socket], None]"
Answer: TypeAlias = Callable[[Any], Reply]


class FakeNode:
    """A server; `requests` holds the parsed bodies, `heads` the request lines and headers."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self.requests: list[Any] = []
        self.heads: list[str] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def close(self) -> None:
        self._closing.set()
        # A blocked accept is not woken by close, but by a caller.
        with contextlib.suppress(OSError), socket.create_connection(self._socket.getsockname(), 1):
            pass
        for thread in self._threads:
            thread.join(5)
        self._socket.close()

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._closing.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client does not trust the certificate
                connection.close()
                return
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(10)
            while (body := self._read(stream)) is not None:
                reply = self._answer(body)
                with contextlib.suppress(OSError):
                    if callable(reply):
                        reply(connection)
                        return
                    connection.sendall(reply)

    def _read(self, stream: Any) -> Any:
        head = ""
        with contextlib.suppress(OSError):
            while (line := stream.readline().decode("latin-1")) not in ("", "\r\n"):
                head += line
                if "HTTP/" not in head:
                    break  # not a request; it gets its answer all the same
        if not head:
            return None
        self.heads.append(head)
        sizes = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
        body = json.loads(stream.read(int(sizes[0]))) if sizes else ""
        self.requests.append(body)
        return body

    def hold(self, connection: socket.socket) -> None:
        """Send nothing until the test is over or the client gives up."""
        while not self._closing.wait(0.02):
            connection.setblocking(False)
            try:
                if not connection.recv(1, socket.MSG_PEEK):
                    return
            except BlockingIOError:
                continue
            except OSError:
                return

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """Method and parameters of every call, in order."""
        return [(call["method"], call["params"]) for body in self.requests for call in as_list(body)]


def as_list(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


def http(body: bytes | str, status: str = "200 OK", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else body.encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def answers(body: Any, of: Callable[[str, list[Any]], Any]) -> list[dict[str, Any]]:
    """The objects that answer a body; `of` gives a result, or an exception whose text is the error's."""
    found = []
    for call in as_list(body):
        value = of(call["method"], call["params"])
        key = ("error", {"code": -32000, "message": str(value)}) if isinstance(value, Exception) else ("result", value)
        found.append({"jsonrpc": "2.0", "id": call["id"], key[0]: key[1]})
    return found


def reply(body: Any, of: Callable[[str, list[Any]], Any]) -> bytes:
    found = answers(body, of)
    return http(json.dumps(found if isinstance(body, list) else found[0]))


def chain(
    codes: dict[str, Any], slots: dict[tuple[str, str], str] | None = None, calls: dict[str, str] | None = None
) -> Callable[[str, list[Any]], Any]:
    """What a healthy node at block 16 of chain 7 says."""

    def of(method: str, parameters: list[Any]) -> Any:
        if method == "eth_chainId":
            return "0x7"
        if method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
            block = parameters[0]
            known = block in ("latest", "finalized", "0x10") or len(block) == 66
            return {"number": "0x10"} if known else None
        if method == "eth_getCode":
            return codes.get(parameters[0], "0x")
        if method == "eth_getStorageAt":
            return (slots or {}).get((parameters[0], parameters[1]), "0x" + "00" * 32)
        if method == "eth_call":
            return (calls or {}).get(parameters[0]["to"], ValueError("execution reverted"))
        return ValueError(f"the method {method} does not exist")

    return of


@contextlib.contextmanager
def healthy_node(codes: dict[str, Any], tls: ssl.SSLContext | None = None, **more: Any) -> Iterator[FakeNode]:
    of = chain(codes, **more)
    with FakeNode(lambda body: reply(body, of), tls) as node:
        yield node
