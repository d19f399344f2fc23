"""One POST to a node and its reply, bounded in time and size.

Job: HTTP over a kept connection, directly or by a proxy; whatever goes wrong is an `RpcFailure` with the name of an
input problem.  Invariants: a request ends at its deadline whatever the other side does (each byte in time is not the
whole in time); no reply beyond the limit is held; redirects are not followed, since a request with a key in it goes to
nobody else.  The standard library's client is enough: one connection, one request at a time, and proxies by the
environment; a library would bring pools and features that are not used here.  May import: errors, version,
inputs.live.endpoint.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from evmaot.inputs.live.endpoint import Endpoint
from evmaot.version import VERSION

_READ_SIZE_BYTES = 1 << 16
_ERROR_BODY_BYTES = 1 << 16


class RpcFailure(Exception):
    """A request that has no usable answer; becomes the problem of that name."""

    def __init__(
        self,
        code: str,
        message: str,
        cause: str | None = None,
        *,
        hint: str | None = None,
        can_retry: bool = False,
        too_big: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause
        self.hint = hint
        self.can_retry = can_retry
        """The same request may have an answer later."""
        self.too_big = too_big
        """A smaller batch may have an answer."""
        self.retry_after_seconds = retry_after_seconds
        """What the server asks to wait."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back, with a status that is no redirect."""

    status: int
    body: bytes
    retry_after_seconds: float | None


class _Stale(Exception):
    """The server has closed a connection that was kept: nothing is wrong with it, a new one is made."""


_GONE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class HttpSender:
    """Sends bodies to one endpoint; a context manager.  Not for use by two threads at a time."""

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float, reply_limit_bytes: int) -> None:
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._reply_limit_bytes = reply_limit_bytes
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> HttpSender:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def post(self, body: bytes) -> HttpReply:
        """Send one body.  RpcFailure."""
        if self._connection is not None:
            with contextlib.suppress(_Stale):
                return self._post(body, is_kept=True)
        return self._post(body, is_kept=False)

    def _post(self, body: bytes, *, is_kept: bool) -> HttpReply:
        deadline = Deadline(self._timeout_seconds)
        try:
            connection = self._connected()
            with deadline.over(connection):
                return self._exchange(connection, body)
        except RpcFailure as failure:
            self.close()
            raise (self._timed_out() if deadline.expired else failure) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            if is_kept and not deadline.expired and isinstance(error, _GONE):
                raise _Stale from None
            raise self._explain(error, expired=deadline.expired) from None

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> HttpReply:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **common_headers(self._endpoint)}
        connection.request("POST", request_target(self._endpoint), body, headers)
        with connection.getresponse() as response:
            return self._reply(response)

    def _reply(self, response: http.client.HTTPResponse) -> HttpReply:
        if 300 <= response.status < 400:
            raise RpcFailure(
                "rpc_http_error",
                f"the server answered with a redirect (HTTP {response.status}), which is not followed",
                hint="give the URL that answers itself",
            )
        is_error = response.status >= 400
        data = self._read(response, _ERROR_BODY_BYTES if is_error else self._reply_limit_bytes, cut=is_error)
        if response.will_close or is_error:
            self.close()
        return HttpReply(response.status, data, retry_after_seconds(response))

    def _read(self, response: http.client.HTTPResponse, limit_bytes: int, *, cut: bool) -> bytes:
        """The body; with `cut` only its beginning where it is long."""
        promised = response.length
        if promised is not None and promised > limit_bytes and not cut:
            raise self._too_large(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        while size <= limit_bytes and (piece := response.read1(_READ_SIZE_BYTES)):
            pieces.append(piece)
            size += len(piece)
        if size > limit_bytes and not cut:
            raise self._too_large(limit_bytes)
        if promised is not None and size < promised and not cut:
            raise RpcFailure(
                "rpc_truncated", f"the reply ends after {size} of {promised} bytes", can_retry=True, too_big=True
            )
        return b"".join(pieces)

    def _too_large(self, limit_bytes: int) -> RpcFailure:
        return RpcFailure("rpc_reply_too_large", f"the reply has more than {limit_bytes} bytes", too_big=True)

    def _timed_out(self) -> RpcFailure:
        message = f"no whole reply within {self._timeout_seconds:g} seconds"
        return RpcFailure("rpc_timeout", message, can_retry=True, too_big=True)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = new_connection(self._endpoint, self._timeout_seconds)
        if self._connection.sock is None:
            self._connection.connect()
        return self._connection

    def _explain(self, error: Exception, *, expired: bool) -> RpcFailure:
        """What a failure of the connection means."""
        if expired or isinstance(error, TimeoutError):
            return self._timed_out()
        return explained(error, self._endpoint)


def new_connection(endpoint: Endpoint, timeout_seconds: float) -> http.client.HTTPConnection:
    """A connection to an endpoint or its proxy, not yet made; the time is that of each step."""
    proxy = endpoint.proxy
    host, port = (proxy.host, proxy.port) if proxy is not None else (endpoint.host, endpoint.port)
    if not endpoint.is_https:
        return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=ssl.create_default_context())
    if proxy is not None:
        headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        connection.set_tunnel(endpoint.host, endpoint.port, headers)
    return connection


def common_headers(endpoint: Endpoint) -> dict[str, str]:
    """What every request says: who asks whom, and by which right."""
    headers = {"User-Agent": f"evmaot/{VERSION}", "Host": endpoint.authority}
    if endpoint.authorization:
        headers["Authorization"] = endpoint.authorization
    if endpoint.proxy is not None and not endpoint.is_https and endpoint.proxy.authorization:
        headers["Proxy-Authorization"] = endpoint.proxy.authorization
    return headers


def request_target(endpoint: Endpoint) -> str:
    """What a request line names: a proxy wants the whole URL."""
    by_proxy = endpoint.proxy is not None and not endpoint.is_https
    return f"http://{endpoint.authority}{endpoint.target}" if by_proxy else endpoint.target


def explained(error: Exception, endpoint: Endpoint) -> RpcFailure:
    """What a failure of a connection means, when its time was not over."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "if you know whose it is: SSL_CERT_FILE names a file with the certificates that are trusted"
        return RpcFailure("rpc_unreachable", "the server's certificate is not trusted", error.verify_message, hint=hint)
    if isinstance(error, ssl.SSLError):
        return RpcFailure("rpc_unreachable", "no secure connection could be made", str(error))
    if isinstance(error, socket.gaierror):
        host = endpoint.proxy.host if endpoint.proxy else endpoint.host
        return RpcFailure("rpc_unreachable", f"there is no host {host!r}", error.strerror)
    if isinstance(error, http.client.IncompleteRead):
        return RpcFailure("rpc_truncated", "the reply ends too early", can_retry=True, too_big=True)
    if isinstance(error, _GONE):
        return RpcFailure("rpc_truncated", "the server closed the connection without a reply", can_retry=True)
    if isinstance(error, (http.client.HTTPException, ValueError)):
        return RpcFailure(
            "rpc_bad_reply", "the reply is not HTTP", f"{type(error).__name__}: {error}"[:200], can_retry=True
        )
    cause = getattr(error, "strerror", None) or str(error)
    return RpcFailure("rpc_unreachable", "the node cannot be reached", cause, can_retry=True)


class Deadline:
    """Cuts a connection when the time of its request is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.expired = False

    @contextlib.contextmanager
    def over(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """For the time of the block."""
        timer = threading.Timer(max(0.0, self._end - time.monotonic()), self._cut, [connection.sock])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self, connected: socket.socket) -> None:
        self.expired = True
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def retry_after_seconds(response: http.client.HTTPResponse) -> float | None:
    """Seconds of Retry-After (RFC 9110, section 10.2.3); its other form, a date, is for longer waits than ours."""
    text = (response.getheader("Retry-After") or "").strip()
    return float(text) if text.isdecimal() and len(text) < 6 else None
