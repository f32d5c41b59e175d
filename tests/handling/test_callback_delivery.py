"""The delivery of callbacks to a real receiver, and the addresses that it refuses."""

import base64
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from msgspec import json

from raytasks.handling import callback_delivery
from raytasks.handling.callback_delivery import RETRY_TABLE, callback_info, callback_spec, masked
from raytasks.handling.callback_terms import NO_CALLBACKS, CallbackTerms
from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.handling.guarded_connection import FetchError
from raytasks.model.callbacks import CALLBACK_POOL, CALLBACK_TYPE, MAX_TRIES, RETRY_SECONDS
from raytasks.model.controls import Pool
from raytasks.model.errors import HandlerError, InvalidSubmission
from raytasks.model.retry import PermanentError
from tests.callback_receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
SECRETS = {"default": (SECRET,)}
EVENT = {"type": "task.completed", "data": {"namespace": "default", "task_id": "t"}}
LOCAL = ["127.0.0.1"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as found:
        yield found


def deliver(url: str, hosts: list[str], **context: Any) -> Any:
    """Run the handler once."""
    found = Context(task_id="callback-1", task_type=CALLBACK_TYPE, **context)
    return callback_spec(SECRETS, hosts).target({"url": url, "event": EVENT}, found)


def test_a_callback_arrives_and_is_verified(receiver: Receiver) -> None:
    assert deliver(f"{receiver.url}?token=t", LOCAL) == {"status": 204}
    assert (receiver.faults, receiver.bodies, receiver.ids) == ([], [EVENT], ["callback-1"])


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answer = lambda _number, _path: (302, {"location": "/other"}, b"")
    with pytest.raises(callback_delivery.CallbackError, match="redirects are not followed"):
        deliver(receiver.url, LOCAL)
    assert len(receiver.ids) == 1


def test_gone_is_for_good(receiver: Receiver) -> None:
    receiver.answer = lambda _number, _path: (410, {}, b"no more")
    with pytest.raises(PermanentError, match="the receiver answered 410: no more"):
        deliver(receiver.url, LOCAL)


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.answer = lambda _number, _path: (500, {}, b"x" * 10_000_000)
    with pytest.raises(callback_delivery.CallbackError) as caught:
        deliver(receiver.url, LOCAL)
    assert len(str(caught.value)) < 500


def test_a_receiver_that_does_not_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_delivery, "RECEIVER_SECONDS", 0.2)
    held = threading.Event()

    def hang(_number: int, _path: str) -> Any:
        held.wait(10)
        return 204, {}, b""

    receiver.answer = hang
    try:
        with pytest.raises(FetchError, match="no complete answer in time"):
            deliver(f"{receiver.url}?token=geheim", LOCAL)
    finally:
        held.set()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hook?token=geheim"
        with pytest.raises(FetchError) as caught:
            deliver(url, LOCAL)
    assert "geheim" not in str(caught.value)
    assert "/hook?…" in str(caught.value)


REFUSED = [
    "http://127.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "http://[fd00::1]/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://hook.localhost./",
]


@pytest.mark.parametrize("url", REFUSED)
def test_private_addresses_are_refused_at_submission(url: str) -> None:
    terms = CallbackTerms(frozenset(["default"]))
    with pytest.raises(InvalidSubmission) as caught:
        terms.check(url, "default")
    [error] = caught.value.errors
    assert error.pointer == "/callback_url"
    assert "add the host to RAYTASKS_CALLBACK_ALLOWED_HOSTS" in error.message


@pytest.mark.parametrize("url", REFUSED[:-2])
def test_private_addresses_are_refused_at_delivery(url: str) -> None:
    with pytest.raises(PermanentError, match="RAYTASKS_CALLBACK_ALLOWED_HOSTS"):
        deliver(url, [])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.com/", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("https://user:secret@example.com/", "user name or password"),
        ("https:///path", "names no host"),
        ("https://example.com:0/", "the port must be from 1"),
        ("nothing", "only http and https"),
    ],
)
def test_urls_that_cannot_be_called(url: str, told: str) -> None:
    terms = CallbackTerms(frozenset(["default"]))
    with pytest.raises(InvalidSubmission) as caught:
        terms.check(url, "default")
    assert told in caught.value.errors[0].message


@pytest.mark.parametrize("url", ["https://example.com/hook", "http://93.184.215.14:8080/", None])
def test_public_urls_are_taken(url: str | None) -> None:
    CallbackTerms(frozenset(["default"])).check(url, "default")


def test_a_namespace_needs_a_secret() -> None:
    terms = CallbackTerms(frozenset(["other"]))
    with pytest.raises(InvalidSubmission) as caught:
        terms.check("https://example.com/", "default")
    assert "default=whsec_… to RAYTASKS_CALLBACK_SECRETS" in caught.value.errors[0].message
    NO_CALLBACKS.check(None, "default")


def test_allowed_hosts() -> None:
    terms = CallbackTerms(frozenset(["default"]), ("10.0.0.1:8080", "localhost"))
    terms.check("http://10.0.0.1:8080/", "default")
    terms.check("http://localhost:1/", "default")
    with pytest.raises(InvalidSubmission):
        terms.check("http://10.0.0.1:8081/", "default")


def test_a_second_answer_of_dns_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebinding server answers with a public address first, and then with ours."""
    asked: list[str] = []
    connected: list[Any] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def create_connection(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(FetchError):
        deliver("http://rebinding.example/", [])
    assert (asked, connected) == (["rebinding.example"], [("93.184.215.14", 80)])
    with pytest.raises(PermanentError, match=r"rebinding.example \(127.0.0.1\) is not a public"):
        deliver("http://rebinding.example/", [])
    assert receiver.ids == []


def test_the_table_of_waits() -> None:
    class Middle:
        def uniform(self, _low: float, _high: float) -> float:
            return 0.0

    waits = [RETRY_TABLE.backoff(number, Middle()) for number in range(1, 11)]  # type: ignore[arg-type]
    assert waits == [*RETRY_SECONDS, 86_400]
    assert RETRY_TABLE.max_attempts == MAX_TRIES == 10


def test_the_handler_is_in_a_pool_of_its_own() -> None:
    info = callback_info()
    assert (info.task_type, info.pool, info.is_concurrent) == (CALLBACK_TYPE, CALLBACK_POOL, True)
    assert info.own_pool is not None
    assert info.own_pool.runners[0] == 0
    assert SECRET not in repr(callback_spec(SECRETS, ()))
    assert json.encode(info.description)


def test_a_url_for_logs(caplog: pytest.LogCaptureFixture) -> None:
    assert masked("https://example.com/a?token=geheim#x") == "https://example.com/a?…"
    assert masked(httpx.URL("https://example.com/a")) == "https://example.com/a"
    with caplog.at_level(logging.DEBUG):
        for url in ("http://127.0.0.1/?token=geheim", "http://169.254.1.1/?token=geheim"):
            with pytest.raises(PermanentError) as caught:
                deliver(url, [])
            assert "geheim" not in str(caught.value)
    assert "geheim" not in caplog.text


def test_our_names_are_not_for_users() -> None:
    with pytest.raises(HandlerError, match=r"'raytasks\.mine' begins with 'raytasks\.'"):
        handler("mine", pool=Pool("raytasks.mine"))(lambda payload: payload)
    with pytest.raises(HandlerError, match=r"bad task type 'raytasks\.callback'"):
        handler("raytasks.callback")(lambda payload: payload)
