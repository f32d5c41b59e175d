"""Safe fetching of URLs from strangers: never from inside our own network.

The host is resolved here, and every address is checked. The connection goes to a checked address,
so a second DNS answer cannot send it elsewhere. Redirects are followed here, and each hop is
checked again. Proxies from the environment are not used: they would resolve hosts without our
check.
"""

import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from raytasks.model.retry import PermanentError, RetryAfter

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_RETRY_AFTER_SECONDS = 30.0
_MAX_RETRY_AFTER_SECONDS = 3600.0
_DEFAULT_PORTS = {"http": 80, "https": 443}

# The form of a host, after IDNA. Parsers allow more (percent-encoded bytes), but no honest host has
# it.
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
# Networks that `ipaddress` calls global in some Python releases. No public service can live there.
_REFUSED_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",  # shared by carriers
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            "2001::/23",  # protocol assignments, among them Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: it carries an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)


class FetchError(Exception):
    """The fetch failed in a way that may pass: no DNS, no connection, a timeout, a 5xx."""


@dataclass(frozen=True)
class Fetched:
    """The answer: its body, its content type as the server gave it, and the last URL."""

    content: bytes
    content_type: str | None
    url: str


def fetch(
    url: str,
    *,
    max_bytes: int,
    timeout_seconds: float,
    allowed_hosts: Iterable[str] | None = None,
) -> Fetched:
    """GET an http or https URL with at most 5 redirects, within one total deadline.

    It connects only to public addresses, and to the hosts (`host` or `host:port`) in
    `allowed_hosts`. By default those are the hosts of the setting `FETCH_ALLOWED_HOSTS` (separated
    by commas).

    Raises `PermanentError` for a refused URL or address, for more than `max_bytes` bytes, and for a
    4xx. Raises `RetryAfter` for a 429, and `FetchError` for every error that may pass.
    """
    deadline = time.monotonic() + timeout_seconds
    hosts = hosts_from_environment() if allowed_hosts is None else _normalized(allowed_hosts)
    target = check_url(url)
    for _ in range(_MAX_REDIRECTS + 1):
        answer = _get(target, max_bytes, deadline, hosts)
        if isinstance(answer, Fetched):
            return answer
        target = check_url(answer)
    raise PermanentError(f"{_shown(url)}: more than {_MAX_REDIRECTS} redirects")


def check_url(url: str | httpx.URL) -> httpx.URL:
    """Return the URL if its form is valid; nothing is resolved. Raises `PermanentError`."""
    try:
        parsed = httpx.URL(url)
        port = parsed.port
    except (httpx.InvalidURL, ValueError) as error:
        raise PermanentError(f"not a URL: {error}") from None
    if parsed.scheme not in _DEFAULT_PORTS:
        raise PermanentError(f"{_shown(parsed)}: only http and https URLs can be fetched")
    if parsed.userinfo:
        raise PermanentError("a URL with a user name or password in it cannot be fetched")
    if not parsed.host:
        raise PermanentError(f"{_shown(parsed)}: the URL names no host")
    if not _HOST.fullmatch(parsed.raw_host):
        raise PermanentError(f"{_shown(parsed)}: not a host name")
    if port is not None and not 0 < port < 65536:
        raise PermanentError(f"{_shown(parsed)}: the port must be from 1 to 65535")
    return parsed


def hosts_from_environment() -> frozenset[str]:
    """Return the hosts of the setting `FETCH_ALLOWED_HOSTS`."""
    return _normalized(os.environ.get("FETCH_ALLOWED_HOSTS", "").split(","))


def is_public(address: str) -> bool:
    """Return whether an IP address, as text, is public: anybody on the internet could reach it.

    For an IPv6 address that contains an IPv4 address (mapped, NAT64), the IPv4 address counts.
    """
    ip: _IPAddress = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        embedded = ip.ipv4_mapped or (
            ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        )
        if embedded is not None:
            return is_public(str(embedded))
        if ip not in _PUBLIC_IPV6 or _is_isatap(ip):
            return False
    if any(ip in network for network in _REFUSED_NETWORKS if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    return (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE  # the last 32 bits are an IPv4 address


def _get(
    target: httpx.URL, max_bytes: int, deadline: float, hosts: frozenset[str]
) -> Fetched | httpx.URL:
    """Make one request. Return the body, or the URL of a redirect."""
    port = target.port or _DEFAULT_PORTS[target.scheme]
    names = {_plain(target.host), _plain(target.raw_host.decode("ascii"))}
    is_allowed = any(name in hosts or f"{_bracketed(name)}:{port}" in hosts for name in names)
    headers = [
        ("Host", target.netloc.decode("ascii")),
        ("User-Agent", "raytasks"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),  # so that the counted bytes are the kept bytes
        ("Connection", "close"),
    ]
    request_url = httpcore.URL(
        scheme=target.raw_scheme, host=target.raw_host, port=port, target=target.raw_path
    )
    with (
        _as_fetch_errors(target),
        httpcore.ConnectionPool(
            ssl_context=_ssl_context() if target.scheme == "https" else None,
            network_backend=_CheckingBackend(deadline, is_allowed),
        ) as pool,
        pool.stream("GET", request_url, headers=headers) as got,
    ):
        answer = httpx.Headers(got.headers)
        if got.status in _REDIRECTS and "location" in answer:
            return _redirected(target, answer["location"])
        _check_status(target, got.status, answer)
        if answer.get("content-encoding", "identity").lower() != "identity":
            raise PermanentError(f"{_shown(target)}: the server compresses, although asked not to")
        body = _read(got.iter_stream(), answer, max_bytes, target)
        return Fetched(body, answer.get("content-type"), str(target))


def _redirected(target: httpx.URL, location: str) -> httpx.URL:
    try:
        return target.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise PermanentError(f"{_shown(target)}: redirected to a bad URL: {error}") from None


def _check_status(target: httpx.URL, status: int, headers: httpx.Headers) -> None:
    if 200 <= status < 300:
        return
    message = f"{_shown(target)}: the server answered {status}"
    if status == 429:
        raise RetryAfter(retry_after_seconds(headers.get("retry-after")), message)
    if status >= 500:
        raise FetchError(message)
    raise PermanentError(message)


def retry_after_seconds(value: str | None) -> float:
    """Return the seconds that a `Retry-After` header asks for, by a number or a date.

    At most an hour. It is 30 seconds if the header is missing or cannot be parsed.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            until = parsedate_to_datetime(value or "")
        except ValueError:
            return _DEFAULT_RETRY_AFTER_SECONDS
        # A date with the zone -0000 is parsed without a zone. HTTP dates are all UTC.
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    if seconds != seconds:
        return _DEFAULT_RETRY_AFTER_SECONDS
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)


def _read(
    chunks: Iterable[bytes], headers: httpx.Headers, max_bytes: int, target: httpx.URL
) -> bytes:
    too_large = PermanentError(f"{_shown(target)}: it is larger than {max_bytes} bytes")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    for chunk in chunks:
        if len(body) + len(chunk) > max_bytes:
            raise too_large
        body += chunk
    return bytes(body)


class _CheckingBackend(httpcore.NetworkBackend):
    """Resolves hosts itself, checks all their addresses, and connects to one of those."""

    def __init__(self, deadline: float, is_allowed: bool) -> None:
        self._backend = httpcore.SyncBackend()
        self._deadline = deadline
        self._is_allowed = is_allowed

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that answers."""
        addresses = _resolve(host, port, _left(self._deadline))
        for address in addresses:
            # A single address that is not public refuses the host: an honest name does not mix the
            # two.
            if not (self._is_allowed or is_public(address)):
                where = host if host == address else f"{host} ({address})"
                raise PermanentError(
                    f"{where} is not a public address; "
                    "add the host to FETCH_ALLOWED_HOSTS if this is meant"
                )
        failure: Exception | None = None
        for index, address in enumerate(addresses):
            # An address that does not answer must leave time for the others.
            timeout = _left(self._deadline) / (len(addresses) - index)
            try:
                stream = self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
                return _DeadlineStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _DeadlineStream(httpcore.NetworkStream):
    """A stream with one deadline for all its steps, however small they are."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve(host: str, port: int, timeout_seconds: float) -> list[str]:
    """Return the distinct addresses of a host, in the resolver's order.

    The resolver takes no timeout. So it runs in a thread, which is abandoned if it takes too long.
    The resolver also understands every way to write an IPv4 address (`127.1`, `0x7f000001`).
    """
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(info[4][0]) for info in found)))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_seconds)
    except queue.Empty:
        raise FetchError(f"{host}: no answer from DNS in time") from None
    if isinstance(answer, Exception):
        raise FetchError(f"{host} cannot be resolved: {answer}") from answer
    return answer


@contextmanager
def _as_fetch_errors(target: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise FetchError(f"{_shown(target)}: no complete answer in time") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise FetchError(f"{_shown(target)}: {error or type(error).__name__}") from error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _normalized(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(_plain(host) for host in hosts if host.strip())


def _plain(host: str) -> str:
    """Return a host or `host:port` in a form to compare: `[::1]` loses its brackets."""
    host = host.strip().lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host.rstrip(".")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shown(url: str | httpx.URL) -> str:
    text = str(url)
    return text if len(text) <= 200 else text[:199] + "…"
