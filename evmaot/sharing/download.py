"""Files from a web server, bounded in time and size, continued where a connection broke.

Job: GET to a stream.  Invariants: nothing beyond the limit is kept; a server that sends less than a little in each
span of the timeout is given up; what is continued is the same file, by its ETag or its date, else it begins again;
https never becomes http.  What is fetched is believed only after its signature or SHA-256, which is the caller's duty.
The connection itself is that of `evmaot.inputs.live`: system certificates, HTTP proxies of the environment.
May import: `evmaot.errors`, `evmaot.inputs.live`.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import urljoin

from evmaot.errors import InputError, UsageError
from evmaot.inputs.live.endpoint import Endpoint, parse_endpoint, shown_url
from evmaot.inputs.live.http import (
    Deadline,
    RpcFailure,
    common_headers,
    explained,
    new_connection,
    request_target,
    retry_after_seconds,
)

_READ_BYTES: Final = 1 << 16
_LEAST_BYTES: Final = 1 << 14
"""What must arrive in each span of the timeout."""
_MAX_REDIRECTS: Final = 5
_MAX_WAIT_SECONDS: Final = 60.0
_MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Fetcher:
    """How files are fetched."""

    timeout_seconds: float = 30.0
    retries: int = 4
    wait: Callable[[float], None] = time.sleep

    def fetch(self, url: str, target: BinaryIO, limit_bytes: int) -> bool:
        """Write the file at a URL to an empty stream; False where the server has none (404, 410).

        Raises UsageError ``bad_url``; InputError ``http_*``, ``download_too_large``.
        """
        transfer = _Transfer(url, target, limit_bytes, self.timeout_seconds)
        for attempt in range(self.retries + 1):
            try:
                return transfer.go_on()
            except RpcFailure as failure:
                if attempt == self.retries or not failure.can_retry:
                    raise _as_error(failure, url, attempt) from None
                self.wait(min(failure.retry_after_seconds or 0.5 * 2**attempt, _MAX_WAIT_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    def read(self, url: str, limit_bytes: int) -> bytes | None:
        """The bytes of a file, None where the server has none."""
        stream = io.BytesIO()
        return stream.getvalue() if self.fetch(url, stream, limit_bytes) else None


def _as_error(failure: RpcFailure, url: str, attempt: int) -> InputError:
    attempts = f" (after {attempt + 1} attempts)" if attempt else ""
    return InputError(
        failure.code.replace("rpc_", "http_"),
        failure.message.replace("the node", "the server") + attempts,
        context={"subject": shown_url(url)},
        cause=failure.cause,
        hint=failure.hint,
    )


def endpoint_of(url: str) -> Endpoint:
    """Where a URL leads, by the proxies of the environment.  Raises UsageError ``bad_url``, ``unsupported_proxy``."""
    try:
        return parse_endpoint(url)
    except UsageError as error:
        if error.reference != "bad_rpc_url":
            raise
        hint = "give a URL such as https://HOST/packs/ or https://HOST/packs.tar.zst"
        raise UsageError("bad_url", "the URL cannot be used", cause=error.cause, hint=hint) from None


class _Transfer:
    """One file, in as many requests as it takes."""

    def __init__(self, url: str, target: BinaryIO, limit_bytes: int, timeout_seconds: float) -> None:
        self._url = url
        self._target = target
        self._limit_bytes = limit_bytes
        self._timeout_seconds = timeout_seconds
        self._size_bytes = 0
        self._validator: str | None = None
        """ETag or date of the file that the bytes so far are of."""

    def go_on(self) -> bool:
        url = self._url
        for _ in range(_MAX_REDIRECTS):
            found = self._request(url)
            if isinstance(found, bool):
                return found
            following = urljoin(url, found)
            if not following.startswith(("http:", "https:")):
                raise RpcFailure("rpc_http_error", "the server leads to what is neither http nor https: not followed")
            if url.startswith("https:") and not following.startswith("https:"):
                raise RpcFailure("rpc_http_error", "the server leads from https to http, which is not followed")
            url = following
        raise RpcFailure("rpc_http_error", f"the server redirects more than {_MAX_REDIRECTS} times")

    def _request(self, url: str) -> bool | str:
        """Whether the file is there and was read to its end; or where it has moved to."""
        endpoint = endpoint_of(url)
        headers = {"Accept-Encoding": "identity", **common_headers(endpoint)}
        if self._size_bytes and self._validator:
            headers |= {"Range": f"bytes={self._size_bytes}-", "If-Range": self._validator}
        deadline = Deadline(self._timeout_seconds)
        connection = new_connection(endpoint, self._timeout_seconds)
        try:
            with contextlib.closing(connection):
                connection.connect()
                with deadline.over(connection):
                    connection.request("GET", request_target(endpoint), headers=headers)
                    response = connection.getresponse()
                with response:
                    return self._answer(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if deadline.expired or isinstance(error, TimeoutError):
                raise self._too_slow() from None
            raise explained(error, endpoint) from None

    def _answer(self, response: http.client.HTTPResponse) -> bool | str:
        location = response.getheader("Location")
        if response.status in (301, 302, 303, 307, 308) and location:
            return location
        if response.status in (404, 410):
            return False
        if response.status == 206 and self._size_bytes and self._continues(response):
            self._receive(response)
            return True
        if response.status in (200, 206, 416):
            self._begin_again(response)
            if response.status == 200:
                self._receive(response)
                return True
            # A part that was not asked for: the whole, next time.
            raise RpcFailure("rpc_truncated", "the server sends another part than was asked for", can_retry=True)
        raise RpcFailure(
            "rpc_http_error",
            f"the server answers HTTP {response.status}",
            can_retry=response.status in _MAY_PASS,
            retry_after_seconds=retry_after_seconds(response),
        )

    def _continues(self, response: http.client.HTTPResponse) -> bool:
        return (response.getheader("Content-Range") or "").startswith(f"bytes {self._size_bytes}-")

    def _begin_again(self, response: http.client.HTTPResponse) -> None:
        self._target.seek(0)
        self._target.truncate()
        self._size_bytes = 0
        etag = response.getheader("ETag")
        # RFC 9110, section 13.1.5: a weak tag names no bytes.
        self._validator = etag if etag and not etag.startswith("W/") else response.getheader("Last-Modified")

    def _receive(self, response: http.client.HTTPResponse) -> None:
        promised = response.length
        if promised is not None and self._size_bytes + promised > self._limit_bytes:
            raise self._too_large()
        begun, arrived, got = time.monotonic(), 0, 0
        while piece := response.read1(_READ_BYTES):
            got += len(piece)
            if self._size_bytes + len(piece) > self._limit_bytes:
                raise self._too_large()
            self._target.write(piece)
            self._size_bytes += len(piece)
            now = time.monotonic()
            if now - begun > self._timeout_seconds:
                if got - arrived < _LEAST_BYTES:
                    raise self._too_slow()
                begun, arrived = now, got
        if promised is not None and got < promised:
            raise RpcFailure("rpc_truncated", f"the reply ends after {got} of {promised} bytes", can_retry=True)

    def _too_large(self) -> RpcFailure:
        return RpcFailure("download_too_large", f"the file has more than {self._limit_bytes} bytes")

    def _too_slow(self) -> RpcFailure:
        words = f"the server sent next to nothing within {self._timeout_seconds:g} seconds"
        return RpcFailure("rpc_timeout", words, can_retry=True)
