"""The address of a node: what is connected to, by which proxy, and what of it may be shown.

Job: a URL to an `Endpoint`; the proxy by HTTP_PROXY, HTTPS_PROXY and NO_PROXY.  Invariant: what is shown of an endpoint
holds no password, path or query, since providers put keys of access there.  May import: errors.
"""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from evmaot.errors import UsageError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None
    """Value of Proxy-Authorization."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node answers JSON-RPC over HTTP."""

    is_https: bool
    host: str
    port: int
    target: str
    """Path and query."""
    authorization: str | None
    """Value of Authorization, for a user and password in the URL."""
    proxy: Proxy | None = None

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return shown_url(f"{'https' if self.is_https else 'http'}://{self.authority}")

    @property
    def authority(self) -> str:
        """Host, and port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = _DEFAULT_PORTS["https" if self.is_https else "http"]
        return host if self.port == own else f"{host}:{self.port}"

    def without_secrets(self, text: str) -> str:
        """A text of the server as it may be shown: servers repeat the path or the key that they don't know."""
        parts = urlsplit(self.target)
        words = {self.target, parts.path, parts.query, *parts.path.split("/")}
        words.update(value for _, value in parse_qsl(parts.query))
        for proxied in (self.authorization, self.proxy.authorization if self.proxy else None):
            words.update((proxied or "").split()[1:])
        words |= {unquote(word) for word in words}
        # Short ones are versions and names of networks, and would blot out other words.
        for word in sorted((word for word in words if len(word) >= _SHORTEST_SECRET), key=len, reverse=True):
            text = text.replace(word, "...")
        return text


def parse_endpoint(url: str) -> Endpoint:
    """The endpoint of an http or https URL, by the proxy that the environment names.

    UsageError ``bad_rpc_url`` or ``unsupported_proxy``.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # its words repeat what stands there, which may be a part of a password
        raise _bad_url("its host or port is none: / ? # and @ in a password are written %2F %3F %23 and %40") from None
    if parts.scheme not in _DEFAULT_PORTS:
        text = f"{parts.scheme}: is not spoken" if "://" in url else "it has no http:// or https:// in front"
        raise _bad_url(text)
    if not host:
        raise _bad_url("it names no host")
    if any(not 0x21 <= ord(character) <= 0x7E for character in url.strip()):
        raise _bad_url("it holds white space or characters that are not ASCII")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_https = parts.scheme == "https"
    endpoint = Endpoint(is_https, host, port or _DEFAULT_PORTS[parts.scheme], target, _basic(parts))
    proxy = _proxy_of(endpoint)
    return Endpoint(is_https, host, endpoint.port, target, endpoint.authorization, proxy) if proxy else endpoint


def shown_url(url: str) -> str:
    """A URL as it may be printed: scheme, host and port, and dots for the rest."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "..."
    host = f"[{host}]" if ":" in host else host
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{'...@' if '@' in parts.netloc else ''}{host}{port}{rest}"


def _bad_url(cause: str) -> UsageError:
    return UsageError(
        "bad_rpc_url",
        "the URL of the node cannot be used",
        cause=cause,
        hint="give a URL such as http://127.0.0.1:8545 or https://HOST/KEY",
    )


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(text.encode()).decode("ascii")


def _proxy_of(endpoint: Endpoint) -> Proxy | None:
    proxies = urllib.request.getproxies()
    url = proxies.get("https" if endpoint.is_https else "http") or proxies.get("all")
    if not url or urllib.request.proxy_bypass(endpoint.authority):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "http" or not host:
        raise UsageError(
            "unsupported_proxy",
            "the proxy of the environment cannot be used",
            context={"subject": shown_url(url)},
            cause="only proxies with http:// URLs are spoken to",
            hint="correct HTTP_PROXY or HTTPS_PROXY, or list the node's host in NO_PROXY",
        )
    return Proxy(host, port or 80, _basic(parts))
