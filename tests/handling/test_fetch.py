"""The fetch that must never reach into our own network."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytasks.handling.fetch import fetch, retry_after_seconds
from raytasks.handling.guarded_connection import FetchError, check_url, is_public
from raytasks.model.retry import PermanentError, RetryAfter

NOT_PUBLIC = "is not a public address; add the host to FETCH_ALLOWED_HOSTS if this is meant"


def get(url: str, **more: Any) -> Any:
    options: dict[str, Any] = {
        "max_bytes": 1000,
        "timeout_seconds": 5.0,
        "allowed_hosts": (),
    } | more
    return fetch(url, **options)


class Site(BaseHTTPRequestHandler):
    """A small web site; the path says how it behaves."""

    seen: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self) -> None:
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        kind, _, rest = self.path.removeprefix("/").partition("/")
        match kind:
            case "status":
                code, _, retry = rest.partition("/")
                self.answer(int(code), b"no", {"Retry-After": retry} if retry else {})
            case "to":
                self.answer(302, b"", {"Location": rest})
            case "again":
                left = int(rest)
                self.answer(301, b"", {"Location": f"/again/{left - 1}" if left else "/ok"})
            case "large":
                self.answer(200, b"x" * int(rest))
            case "endless":
                self.stream(b"x" * 500, 0.0)
            case "drip":
                self.stream(b"x", 0.05)
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"only this")
            case "packed":
                self.answer(200, b"...", {"Content-Encoding": "gzip"})
            case "silent":
                self.server.quiet.wait(10)  # type: ignore[attr-defined]
            case _:
                self.answer(200, b"hello", {"Content-Type": "text/plain"})

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, piece: bytes, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.quiet.wait(pause):  # type: ignore[attr-defined]
                self.wfile.write(piece)
        except OSError:
            pass

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(
    family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1"
) -> Iterator[int]:
    class Server(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True

    with Server((host, 0), Site) as server:
        server.quiet = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.quiet.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as number:
        yield number


@pytest.fixture(autouse=True)
def forget_requests() -> None:
    Site.seen.clear()


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Give names their addresses; each call of the resolver takes the next answer of a name."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def answer(**names: list[list[str]]) -> list[str]:
        def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
            key = str(host).partition(".")[0]
            if key not in names:
                return real(host, port, *args, **more)
            asked.append(str(host))
            addresses = names[key].pop(0)
            return [info for address in addresses for info in real(address, port, *args, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answer


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "198.17.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1"),
        *("127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1"),
        *("192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1"),
        *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:db8::1"),
        *("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2001:10::1", "2001:20::1", "2002:7f00:1::"),
        *("2002:808:808::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:808:808", "3fff::1"),
        *("4000::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%1", "fec0::1"),
        *("ff02::1", "ff0e::1"),
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_itself(address: Any) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") == public
    assert is_public(f"64:ff9b::{address}") == public
    if public:
        assert address.is_global


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address: Any) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_private


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001"),
        *("127.1", "127.0.1", "0", "0.0.0.0", "localhost", "LOCALHOST"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[fe80::1]", "10.255.255.1"),
        *("100.100.100.200", "１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1"),
    ],
)
def test_every_spelling_of_an_inner_address_is_refused(host: str, port: int) -> None:
    for url in (f"http://{host}:{port}/ok", f"https://{host}/ok", f"http://{host}"):
        with pytest.raises(PermanentError):
            get(url)
    assert not Site.seen


def test_the_refusal_says_what_to_do(port: int) -> None:
    with pytest.raises(PermanentError, match=f"^127.0.0.1 {NOT_PUBLIC}$"):
        get(f"http://127.0.0.1:{port}/ok")


def test_a_name_that_points_inside_is_refused(dns: Any, port: int) -> None:
    dns(inner=[["10.1.2.3"]])
    with pytest.raises(PermanentError, match=rf"^inner.example \(10.1.2.3\) {NOT_PUBLIC}$"):
        get(f"http://inner.example:{port}/")


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_that_points_both_ways_is_refused(dns: Any, port: int, order: int) -> None:
    dns(both=[["8.8.8.8", "127.0.0.1"][::order]])
    with pytest.raises(PermanentError, match=NOT_PUBLIC):
        get(f"http://both.example:{port}/")
    assert not Site.seen


def test_the_connection_goes_to_the_address_that_was_judged(
    dns: Any, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is judged, our own network when it is asked again."""
    asked = dns(rebind=[["8.8.8.8"], ["127.0.0.1"]])
    tried: list[Any] = []

    def create_connection(address: Any, *args: Any, **more: Any) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(FetchError, match="nobody there"):
        get(f"http://rebind.example:{port}/")
    assert tried == [("8.8.8.8", port)]
    assert asked == ["rebind.example"]


def test_the_next_address_is_tried_when_one_does_not_answer(dns: Any, port: int) -> None:
    closed = socket.socket()
    closed.bind(("127.0.0.2", 0))  # bound, not listening: refuses
    dns(two=[["127.0.0.2", "127.0.0.1"]])
    with closed:
        assert (
            get(f"http://two.example:{port}/ok", allowed_hosts=["two.example"]).content == b"hello"
        )
    assert Site.seen[0][1]["host"] == f"two.example:{port}"


def test_an_address_that_is_silent_leaves_time_for_the_others(
    dns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns(many=[["8.8.8.8", "1.1.1.1", "9.9.9.9"]])
    waits: list[float] = []

    def create_connection(address: Any, timeout: float, *args: Any, **more: Any) -> socket.socket:
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(FetchError, match="in time"):
        get("http://many.example/", timeout_seconds=9.0)
    assert waits == pytest.approx([3.0, 4.5, 9.0], abs=0.5)


def test_a_fetch(port: int) -> None:
    got = get(f"http://127.0.0.1:{port}/some/path?q=1", allowed_hosts=["127.0.0.1"])
    assert (got.content, got.content_type) == (b"hello", "text/plain")
    assert got.url == f"http://127.0.0.1:{port}/some/path?q=1"
    path, headers = Site.seen[0]
    assert path == "/some/path?q=1"
    assert headers["host"] == f"127.0.0.1:{port}"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("host", "entries", "ok"),
    [
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.1", [" 127.0.0.1:{port} "], True),
        ("127.0.0.1", ["127.0.0.1:1"], False),
        ("127.0.0.1", ["localhost"], False),
        ("localhost", ["LocalHost:{port}"], True),
        ("127.1", ["127.0.0.1"], False),
        ("127.0.0.1", ["", "  "], False),
        ("127.0.0.1", ["*"], False),
    ],
)
def test_allowed_hosts(host: str, entries: list[str], ok: bool, port: int) -> None:
    allowed = [entry.format(port=port) for entry in entries]
    url = f"http://{host}:{port}/ok"
    if ok:
        assert get(url, allowed_hosts=allowed).content == b"hello"
    else:
        with pytest.raises(PermanentError, match=NOT_PUBLIC):
            get(url, allowed_hosts=allowed)


def test_a_host_is_the_same_with_a_dot_at_its_end_and_in_punycode(dns: Any, port: int) -> None:
    dns(**{"dotted": [["127.0.0.1"]], "xn--bcher-kva": [["127.0.0.1"]] * 2})
    assert get(f"http://dotted.example.:{port}/", allowed_hosts=["Dotted.example"]).content
    for entry in ("bücher.example", "xn--bcher-kva.example"):
        assert get(f"http://bücher.example:{port}/", allowed_hosts=[entry]).content


@pytest.mark.parametrize("entry", ["::1", "[::1]", "[::1]:{port}"])
def test_allowed_ipv6_hosts(entry: str) -> None:
    try:
        with serving(socket.AF_INET6, "::1") as number:
            allowed = [entry.format(port=number)]
            assert get(f"http://[::1]:{number}/", allowed_hosts=allowed).content == b"hello"
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_allowed_hosts_from_the_environment(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETCH_ALLOWED_HOSTS", f"other, localhost:{port}")
    assert get(f"http://localhost:{port}/", allowed_hosts=None).content == b"hello"
    monkeypatch.delenv("FETCH_ALLOWED_HOSTS")
    with pytest.raises(PermanentError, match=NOT_PUBLIC):
        get(f"http://localhost:{port}/", allowed_hosts=None)


def test_proxies_of_the_environment_are_not_used(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert get(f"http://127.0.0.1:{port}/", allowed_hosts=["127.0.0.1"]).content == b"hello"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://example.com/x",
            "file:///etc/passwd",
            "gopher://example.com",
            "data:,x",
            "//host/x",
        ),
        *("example.com", "", "http://", "http:///path", "http://user@example.com"),
        *("http://user:secret@example.com/", "http://good.example@127.0.0.1/", "http://:80"),
        *("http://example.com:99999", "http://example.com:0", "http://example.com:-1"),
        *("http://example.com:port", "http://[::1", "http://exa mple.com", "http://a\r\nb/"),
        *("http://example.com/\r\nHost: inner", "HTTP://", "jar:http://example.com!/"),
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.com", "HTTPS://EXAMPLE.com:8443/x?y#z", "http://[2a00::1]:81"]
)
def test_urls_that_are_not(url: str) -> None:
    assert check_url(url).host


@pytest.mark.parametrize("hops", [1, 4])
def test_redirects_are_followed(hops: int, port: int) -> None:
    got = get(f"http://127.0.0.1:{port}/again/{hops}", allowed_hosts=["127.0.0.1"])
    assert got.content == b"hello"
    assert got.url == f"http://127.0.0.1:{port}/ok"


def test_too_many_redirects(port: int) -> None:
    with pytest.raises(PermanentError, match="more than 5 redirects"):
        get(f"http://127.0.0.1:{port}/again/5", allowed_hosts=["127.0.0.1"])
    assert len(Site.seen) == 6


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://localhost:{port}/ok", NOT_PUBLIC),
        ("//localhost:{port}/ok", NOT_PUBLIC),
        ("http://169.254.169.254/latest/meta-data/", NOT_PUBLIC),
        ("http://[::ffff:127.0.0.1]:{port}/ok", NOT_PUBLIC),
        ("file:///etc/passwd", "only http and https"),
        ("http://me:secret@127.0.0.1:{port}/ok", "user name or password"),
        ("http://[bad", "not a host name"),
        ("http://127.0.0.1:port/", "bad URL"),
    ],
)
def test_each_hop_is_judged_again(location: str, message: str, port: int) -> None:
    url = f"http://127.0.0.1:{port}/to/{location.format(port=port)}"
    with pytest.raises(PermanentError, match=message):
        get(url, allowed_hosts=[f"127.0.0.1:{port}"])
    assert len(Site.seen) == 1


@pytest.mark.parametrize("path", ["large/1001", "endless"])
def test_too_many_bytes(path: str, port: int) -> None:
    with pytest.raises(PermanentError, match="larger than 1000 bytes"):
        get(f"http://127.0.0.1:{port}/{path}", allowed_hosts=["127.0.0.1"])


def test_as_many_bytes_as_are_allowed(port: int) -> None:
    got = get(f"http://127.0.0.1:{port}/large/1000", allowed_hosts=["127.0.0.1"])
    assert len(got.content) == 1000


@pytest.mark.parametrize("path", ["silent", "drip"])
def test_the_deadline_is_for_all_of_it(path: str, port: int) -> None:
    started = time.monotonic()
    with pytest.raises(FetchError, match="no complete answer in time"):
        get(f"http://127.0.0.1:{port}/{path}", allowed_hosts=["127.0.0.1"], timeout_seconds=0.3)
    assert 0.25 < time.monotonic() - started < 2


def test_dns_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: release.wait(5) and [])
    with pytest.raises(FetchError, match="no answer from DNS in time"):
        get("http://slow.example/", timeout_seconds=0.1)
    release.set()


def test_dns_that_fails_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(FetchError, match=r"gone.example cannot be resolved: .*Temporary failure"):
        get("http://gone.example/")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("status/404", PermanentError, "the server answered 404"),
        ("status/403", PermanentError, "the server answered 403"),
        ("status/304", PermanentError, "the server answered 304"),
        ("status/500", FetchError, "the server answered 500"),
        ("status/503", FetchError, "the server answered 503"),
        ("packed", PermanentError, "compresses"),
        ("cut", FetchError, "incomplete|without sending complete"),
    ],
)
def test_answers_that_are_errors(
    path: str, error: type[Exception], message: str, port: int
) -> None:
    with pytest.raises(error, match=message):
        get(f"http://127.0.0.1:{port}/{path}", allowed_hosts=["127.0.0.1"])


@pytest.mark.parametrize(("path", "seconds"), [("status/429/7", 7.0), ("status/429", 30.0)])
def test_too_many_requests(path: str, seconds: float, port: int) -> None:
    with pytest.raises(RetryAfter) as caught:
        get(f"http://127.0.0.1:{port}/{path}", allowed_hosts=["127.0.0.1"])
    assert caught.value.seconds == seconds


def test_retry_after() -> None:
    assert retry_after_seconds("1.5") == 1.5
    assert retry_after_seconds("-5") == 0
    assert retry_after_seconds("1e9") == 3600
    for nonsense in (None, "", "soon", "nan"):
        assert retry_after_seconds(nonsense) == 30
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 97 < retry_after_seconds(date) <= 100
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 -0000") == 0


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        number = closed.getsockname()[1]
        with pytest.raises(FetchError, match="refused"):
            get(f"http://127.0.0.1:{number}/", allowed_hosts=["127.0.0.1"])


def test_tls_is_checked_against_the_name(port: int) -> None:
    with pytest.raises(FetchError):
        get(f"https://127.0.0.1:{port}/", allowed_hosts=["127.0.0.1"])
