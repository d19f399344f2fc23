"""JSON-RPC in batches: many calls to a node, with retries, a rate limit and bounds.

Job: calls to one answer each, in order.  Invariants: every call ends in a value or a `CallError`, or the whole ends in
an `RpcFailure` (the node can't be used); answers are matched by id; a batch that the node finds too big is halved, down
to single calls; waiting is bounded.  Source: JSON-RPC 2.0.  May import: inputs.live.{endpoint,http}, json_text.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from evmaot.inputs.live.endpoint import Endpoint
from evmaot.inputs.live.http import HttpReply, HttpSender, RpcFailure
from evmaot.json_text import parse_json

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_LIMIT_CODES = (-32005, 429)
"""Of errors: EIP-1474's "limit exceeded", and what providers make of HTTP's."""
_LIMIT_WORDS = ("rate limit", "too many requests", "request limit", "capacity", "throughput")
_BATCH_WORDS = ("batch", "too large", "response size", "limit exceeded")


@dataclass(frozen=True, slots=True)
class RpcOptions:
    """How a node is treated."""

    timeout_seconds: float = 30.0
    """One request, from sending to the last byte."""
    retries: int = 4
    """Further attempts after the first."""
    batch_size: int = 100
    """Calls in one request."""
    calls_per_second: float = 0.0
    """At most; 0: no limit."""
    reply_limit_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method."""

    method: str
    parameters: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CallError:
    """The node's error for one call."""

    code: int | None
    message: str

    @property
    def is_limit(self) -> bool:
        """Whether the same call may be answered later."""
        return self.code in _LIMIT_CODES or any(word in self.message.lower() for word in _LIMIT_WORDS)


Answer: TypeAlias = "Any | CallError"


class RpcClient:
    """A node; a context manager.  Not for use by two threads at a time."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: RpcOptions | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.options = options or RpcOptions()
        self._batch_size = self.options.batch_size
        self._sleep = sleep
        self._clock = clock
        self._next_moment = clock()
        self._next_id = 1
        self._sender = HttpSender(
            endpoint,
            timeout_seconds=self.options.timeout_seconds,
            reply_limit_bytes=self.options.reply_limit_bytes,
        )

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sender.close()

    def call(self, method: str, *parameters: Any) -> Answer:
        """One answer.  RpcFailure."""
        return self.call_many([Call(method, parameters)])[0]

    def call_many(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers, in the order of the calls.  RpcFailure where the node can't be used."""
        answers: list[Answer] = []
        attempt = 0
        while len(answers) < len(calls):
            batch = calls[len(answers) : len(answers) + self._batch_size]
            try:
                answers += self._batch(batch, attempt)
                attempt = 0
            except RpcFailure as failure:
                if failure.too_big and len(batch) > 1:
                    self._batch_size = len(batch) // 2
                elif failure.can_retry and attempt < self.options.retries:
                    self._sleep(self._pause(attempt, failure.retry_after_seconds))
                    attempt += 1
                else:
                    failure.cause = failure.cause and self.endpoint.without_secrets(failure.cause)
                    raise
        return answers

    def _pause(self, attempt: int, asked_seconds: float | None) -> float:
        """Twice as long each time, and never the same for two clients that failed together."""
        seconds = _FIRST_PAUSE_SECONDS * float(1 << attempt) * random.uniform(0.75, 1.25)
        return min(_LONGEST_PAUSE_SECONDS, max(seconds, asked_seconds or 0.0))

    def _wait_for_turn(self, calls: int) -> None:
        if self.options.calls_per_second <= 0:
            return
        now = self._clock()
        if self._next_moment > now:
            self._sleep(self._next_moment - now)
        self._next_moment = max(now, self._next_moment) + calls / self.options.calls_per_second

    def _batch(self, calls: Sequence[Call], attempt: int) -> list[Answer]:
        self._wait_for_turn(len(calls))
        first = self._next_id
        self._next_id += len(calls)
        requests = [
            {"jsonrpc": "2.0", "id": first + index, "method": call.method, "params": list(call.parameters)}
            for index, call in enumerate(calls)
        ]
        # A single call is not sent as a batch: some nodes take no batches.
        body = requests[0] if len(requests) == 1 else requests
        reply = self._sender.post(json.dumps(body, separators=(",", ":")).encode())
        replies = _replies(reply, len(calls))
        answers = [self._shown(_answer(replies, first + index)) for index in range(len(calls))]
        if attempt < self.options.retries:
            limited = next((a for a in answers if isinstance(a, CallError) and a.is_limit), None)
            if limited is not None:
                raise RpcFailure("rpc_rate_limited", "the node limits its calls", limited.message, can_retry=True)
        return answers

    def _shown(self, answer: Answer) -> Answer:
        """The answer; of an error only what may be printed."""
        if isinstance(answer, CallError):
            return CallError(answer.code, self.endpoint.without_secrets(answer.message))
        return answer


def _replies(reply: HttpReply, expected: int) -> dict[Any, Any]:
    """The objects of a reply by id.  RpcFailure where the whole is an error or no JSON-RPC."""
    document: Any = None
    syntax: str | None = None
    try:
        document = parse_json(reply.body)
    except ValueError as fault:
        syntax = str(fault)
    error = _error_of(document.get("error")) if isinstance(document, dict) and "error" in document else None
    if reply.status >= 400 and not (error is not None and expected == 1 and reply.status in (400, 500)):
        raise _http_failure(reply, error, expected)
    if syntax is not None:
        raise RpcFailure("rpc_bad_reply", "the reply is not JSON", _beginning(reply.body) or syntax, can_retry=True)
    if isinstance(document, dict):
        if expected > 1:
            raise _refused_batch(error)
        return {_any_id(document): document}
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise RpcFailure("rpc_bad_reply", "the reply is not of JSON-RPC", _beginning(reply.body))
    found = {_any_id(item): item for item in document}
    if len(found) != len(document):
        raise RpcFailure("rpc_bad_reply", "two replies have the same id", can_retry=True)
    if len(document) == 1 and expected > 1 and "error" in document[0]:
        raise _refused_batch(_error_of(document[0]["error"]))
    return found


def _any_id(reply: dict[str, Any]) -> Any:
    """The id; what can't be one is none."""
    value = reply.get("id")
    return value if isinstance(value, (int, str)) else None


def _refused_batch(error: CallError | None) -> RpcFailure:
    """One answer to many calls: no batches here, or not such large ones."""
    if error is not None and error.is_limit and not any(word in error.message.lower() for word in _BATCH_WORDS):
        return RpcFailure("rpc_rate_limited", "the node limits its calls", error.message, can_retry=True)
    cause = error.message if error is not None else None
    return RpcFailure("rpc_bad_reply", "the node gives one answer to many calls", cause, too_big=True)


def _answer(replies: dict[Any, Any], identifier: int) -> Answer:
    reply = replies.get(identifier)
    if reply is None and len(replies) == 1 and None in replies and "error" in replies[None]:
        reply = replies[None]  # JSON-RPC 2.0, section 5: the id is null where the request could not be read
    if reply is None:
        raise RpcFailure("rpc_bad_reply", "the reply lacks the answer of a call", can_retry=True, too_big=True)
    if reply.get("error") is not None:
        return _error_of(reply["error"])
    if "result" not in reply:
        raise RpcFailure("rpc_bad_reply", "an answer has neither result nor error", can_retry=True)
    return reply["result"]


def _error_of(value: Any) -> CallError:
    if isinstance(value, dict):
        code, message = value.get("code"), value.get("message")
        return CallError(code if isinstance(code, int) else None, str(message if message is not None else value)[:400])
    return CallError(None, str(value)[:400])


def _http_failure(reply: HttpReply, error: CallError | None, expected: int) -> RpcFailure:
    status = reply.status
    cause = error.message if error is not None else _beginning(reply.body)
    if status == 429:
        return RpcFailure(
            "rpc_rate_limited",
            "the node limits its calls (HTTP 429)",
            cause,
            can_retry=True,
            retry_after_seconds=reply.retry_after_seconds,
        )
    if status in (401, 403, 407):
        hint = "check the user and password of the proxy" if status == 407 else None
        return RpcFailure("rpc_unauthorized", f"the server refuses this client (HTTP {status})", cause, hint=hint)
    is_batch = expected > 1 and (status in (400, 413) or (error is not None and "batch" in error.message.lower()))
    return RpcFailure(
        "rpc_http_error",
        f"the server answered with HTTP {status}",
        cause,
        can_retry=status >= 500 or status == 408,
        too_big=is_batch,
        retry_after_seconds=reply.retry_after_seconds,
    )


def _beginning(body: bytes) -> str | None:
    """The first words of a reply, for people."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())[:160]
    return f"it begins: {text}" if text else None
