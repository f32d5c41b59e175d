"""Guarded connections: requests to URLs from strangers never reach our own network.

The host is resolved here, and every address is checked. The connection goes to a checked address,
so a second DNS answer cannot send it elsewhere. Proxies from the environment are not used: they
would resolve hosts without our check. Redirects are not followed here.
"""

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from raytasks.model.retry import PermanentError

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
class AllowedHosts:
    """The hosts (`host` or `host:port`) that may have private addresses.

    - `setting`: the name of the setting that lists them.
    """

    names: frozenset[str]
    setting: str

    @classmethod
    def listed(cls, hosts: Iterable[str], setting: str) -> "AllowedHosts":
        """Return these hosts, written in any form."""
        return cls(frozenset(_plain(host) for host in hosts if host.strip()), setting)

    def takes(self, target: httpx.URL) -> bool:
        """Return whether the host of a URL is one of them."""
        port = port_of(target)
        names = {_plain(target.host), _plain(target.raw_host.decode("ascii"))}
        return any(
            name in self.names or f"{_bracketed(name)}:{port}" in self.names for name in names
        )

    def refusal(self, where: str) -> PermanentError:
        """Return the error for an address that is not public."""
        return PermanentError(
            f"{where} is not a public address; add the host to {self.setting} if this is meant"
        )


@contextmanager
def guarded_request(
    method: str,
    target: httpx.URL,
    *,
    headers: Sequence[tuple[str, str]],
    deadline: float,
    hosts: AllowedHosts,
    content: bytes | None = None,
    shown: str | None = None,
) -> Iterator[httpcore.Response]:
    """Make one request to a URL that `check_url` has passed, and yield the answer.

    Its body has not been read yet. It connects only to public addresses, and to the allowed hosts.
    All has to be done before the `deadline` (of `time.monotonic`). Errors name the URL as `shown`.

    Raises `PermanentError` for a refused address, and `FetchError` for every error that may pass.
    """
    request_url = httpcore.URL(
        scheme=target.raw_scheme,
        host=target.raw_host,
        port=port_of(target),
        target=target.raw_path,
    )
    always = [
        ("Host", target.netloc.decode("ascii")),
        ("User-Agent", "raytasks"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),  # so that the counted bytes are the kept bytes
        ("Connection", "close"),
    ]
    with (
        _as_fetch_errors(shown or shown_url(target)),
        httpcore.ConnectionPool(
            ssl_context=_ssl_context() if target.scheme == "https" else None,
            network_backend=_CheckingBackend(deadline, hosts, is_allowed=hosts.takes(target)),
        ) as pool,
        pool.stream(method, request_url, headers=[*always, *headers], content=content) as got,
    ):
        yield got


def port_of(target: httpx.URL) -> int:
    """Return the port of an http or https URL."""
    return target.port or _DEFAULT_PORTS[target.scheme]


def check_literal_host(target: httpx.URL, hosts: AllowedHosts) -> None:
    """Refuse a URL whose host can only be private, without DNS. Raises `PermanentError`.

    It is an address that is not public, in any form (`127.1`, `0x7f000001`), or `localhost`.
    """
    if hosts.takes(target):
        return
    host = _plain(target.host)
    address: str | None = None
    with suppress(ValueError):
        address = str(ipaddress.ip_address(host))
    if address is None:
        with suppress(OSError, UnicodeError):
            address = socket.inet_ntoa(socket.inet_aton(host))
    if address is None and (host == "localhost" or host.endswith(".localhost")):
        address = "127.0.0.1"
    if address is not None and not is_public(address):
        raise hosts.refusal(host if host == address else f"{host} ({address})")


def check_url(url: str | httpx.URL) -> httpx.URL:
    """Return the URL if its form is valid; nothing is resolved. Raises `PermanentError`."""
    try:
        parsed = httpx.URL(url)
        port = parsed.port
    except (httpx.InvalidURL, ValueError) as error:
        raise PermanentError(f"not a URL: {error}") from None
    if parsed.scheme not in _DEFAULT_PORTS:
        raise PermanentError(f"{shown_url(parsed)}: only http and https URLs can be fetched")
    if parsed.userinfo:
        raise PermanentError("a URL with a user name or password in it cannot be fetched")
    if not parsed.host:
        raise PermanentError(f"{shown_url(parsed)}: the URL names no host")
    if not _HOST.fullmatch(parsed.raw_host):
        raise PermanentError(f"{shown_url(parsed)}: not a host name")
    if port is not None and not 0 < port < 65536:
        raise PermanentError(f"{shown_url(parsed)}: the port must be from 1 to 65535")
    return parsed


def shown_url(url: str | httpx.URL) -> str:
    """Return a URL for an error message, cut to 200 characters."""
    text = str(url)
    return text if len(text) <= 200 else text[:199] + "…"


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


class _CheckingBackend(httpcore.NetworkBackend):
    """Resolves hosts itself, checks all their addresses, and connects to one of those."""

    def __init__(self, deadline: float, hosts: AllowedHosts, *, is_allowed: bool) -> None:
        self._backend = httpcore.SyncBackend()
        self._deadline = deadline
        self._hosts = hosts
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
                raise self._hosts.refusal(host if host == address else f"{host} ({address})")
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
def _as_fetch_errors(shown: str) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise FetchError(f"{shown}: no complete answer in time") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise FetchError(f"{shown}: {error or type(error).__name__}") from error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _plain(host: str) -> str:
    """Return a host or `host:port` in a form to compare: `[::1]` loses its brackets."""
    host = host.strip().lower()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host.rstrip(".")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
