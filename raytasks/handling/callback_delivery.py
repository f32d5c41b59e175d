"""The handler of callbacks, which is always there: it signs an event, and posts it.

It follows Standard Webhooks 1.0. The connection is guarded as a fetch is; see
`raytasks.handling.guarded_connection`.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import httpx
from pydantic_core import to_json

from raytasks.handling.callback_secrets import signature
from raytasks.handling.callback_terms import ALLOWED_HOSTS
from raytasks.handling.context import Context
from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.fetch import retry_after_seconds
from raytasks.handling.guarded_connection import (
    AllowedHosts,
    check_url,
    guarded_request,
)
from raytasks.model.callbacks import (
    CALLBACK_POOL,
    CALLBACK_TYPE,
    DELIVERY_SECONDS,
    MAX_TRIES,
    RECEIVER_SECONDS,
    RETRY_SECONDS,
)
from raytasks.model.controls import Pool
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.retry import PermanentError, RetryAfter, RetryPolicy

CONCURRENCY = 64
"""How many callbacks a runner delivers at a time. A slow receiver holds up one of them."""

MAX_RUNNERS = 2

MAX_ANSWER_BYTES = 64 * 1024
"""Maximum number of bytes that are read of a receiver's answer."""

_MAX_SHOWN = 300
_BUSY = frozenset({429, 502, 503, 504})

Post = Callable[[httpx.Request], httpx.Response]
"""Sends a request, and returns the answer. Raises `FetchError`, `PermanentError`."""


class CallbackError(Exception):
    """The receiver did not accept a callback. A later try may help."""


@dataclass(frozen=True)
class RetryTable(RetryPolicy):
    """A retry policy with a table of delays; further failures wait as long as the last one."""

    max_attempts: int = MAX_TRIES
    max_delay_seconds: float = float(RETRY_SECONDS[-1])

    def backoff(self, failures: int, random_source: random.Random) -> float:
        """Return the delay in seconds after `failures` failed attempts (at least 1)."""
        delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
        return delay * (1 + self.jitter * random_source.uniform(-1, 1))


RETRY_TABLE = RetryTable()


def callback_spec(
    secrets: Mapping[str, Sequence[str]], allowed_hosts: Iterable[str], post: Post | None = None
) -> HandlerSpec:
    """Return the handler of callbacks, with the secrets of each namespace.

    It connects only to public addresses, and to the allowed hosts. A test may `post` in another
    way.
    """
    hosts = AllowedHosts.listed(allowed_hosts, ALLOWED_HOSTS)
    send = post or partial(guarded_post, hosts=hosts)

    def deliver(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        """Post the end of a task to its callback URL."""
        return _deliver(payload, context, secrets, send)

    return HandlerSpec(
        task_type=CALLBACK_TYPE,
        target=deliver,
        retry=RETRY_TABLE,
        timeout_seconds=DELIVERY_SECONDS,
        pool=Pool(CALLBACK_POOL, runners=(0, MAX_RUNNERS), ray_options={"num_cpus": 0}),
        concurrency=CONCURRENCY,
    )


@cache
def callback_info() -> HandlerInfo:
    """Return the description of the handler of callbacks."""
    return callback_spec({}, ()).info()


def guarded_post(request: httpx.Request, *, hosts: AllowedHosts) -> httpx.Response:
    """Send a request over a guarded connection. Raises `FetchError`, `PermanentError`.

    Of the answer's body, the first `MAX_ANSWER_BYTES` are read.
    """
    target = check_url(request.url)
    headers = [pair for pair in request.headers.multi_items() if pair[0] in _SENT]
    with guarded_request(
        "POST",
        target,
        headers=headers,
        content=request.content,
        deadline=time.monotonic() + RECEIVER_SECONDS,
        hosts=hosts,
        shown=masked(target),
    ) as got:
        found = httpx.Headers(got.headers)
        kept = {"retry-after": found["retry-after"]} if "retry-after" in found else {}
        body = bytearray()
        for chunk in got.iter_stream():
            body += chunk
            if len(body) >= MAX_ANSWER_BYTES:
                break
        return httpx.Response(got.status, headers=kept, content=bytes(body[:MAX_ANSWER_BYTES]))


_SENT = frozenset(
    {"content-type", "content-length", "webhook-id", "webhook-timestamp", "webhook-signature"}
)


def masked(url: str | httpx.URL) -> str:
    """Return a URL for logs and errors: its query may hold a token."""
    found = httpx.URL(url)
    shown = str(found.copy_with(query=None, fragment=None))[:200]
    return f"{shown}?…" if found.query else shown


def _deliver(
    payload: Mapping[str, Any],
    context: Context,
    secrets: Mapping[str, Sequence[str]],
    post: Post,
) -> dict[str, Any]:
    event = payload["event"]
    namespace = event["data"]["namespace"]
    if not secrets.get(namespace):
        raise CallbackError(
            f"the namespace {namespace!r} has no secret to sign with; add {namespace}=whsec_… to "
            "RAYTASKS_CALLBACK_SECRETS of the service, and deploy"
        )
    body, timestamp = to_json(event), int(time.time())
    target = check_url(payload["url"])
    request = httpx.Request(
        "POST",
        target,
        content=body,
        headers={
            "content-type": "application/json",
            "webhook-id": context.task_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secrets[namespace], context.task_id, timestamp, body),
        },
    )
    answer = post(request)
    if answer.is_success:
        return {"status": answer.status_code}
    raise _error(masked(target), answer, context.failures + 1)


def _error(shown: str, answer: httpx.Response, failures: int) -> Exception:
    """Return the error for an answer that is not a success, after so many failures."""
    status = answer.status_code
    said = " ".join(answer.content.decode(errors="replace").split())[:_MAX_SHOWN]
    message = f"{shown}: the receiver answered {status}"
    if answer.is_redirect or 300 <= status < 400:
        message = f"{message}, and redirects are not followed; name the final URL"
    if said:
        message = f"{message}: {said}"
    if status == 410:
        return PermanentError(message)
    if status in _BUSY and "retry-after" in answer.headers:
        asked = retry_after_seconds(answer.headers["retry-after"])
        return RetryAfter(max(asked, RETRY_TABLE.backoff(failures, _random)), message)
    return CallbackError(message)


_random = random.Random()  # noqa: S311 - only jitter
