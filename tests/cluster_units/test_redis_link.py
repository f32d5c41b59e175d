"""Redis as REDIS_URL names it: addresses, and a real server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.cluster.redis_link import RedisAddress, RedisError, connected, delete_keys
from tests.redis_server import RedisServer, running_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for the tests of this module."""
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "read"),
        [
            ("redis://h:1", RedisAddress("h", 1)),
            ("h:1", RedisAddress("h", 1)),
            ("redis://h", RedisAddress("h", 6379)),
            ("h", RedisAddress("h", 6379)),
            ("redis://h:1/", RedisAddress("h", 1)),
            ("redis://h:1/0", RedisAddress("h", 1)),
            ("redis://:p@h:1", RedisAddress("h", 1, "", "p")),
            ("redis://u:p%40%3A@h:1", RedisAddress("h", 1, "u", "p@:")),
            ("redis://[::1]:1", RedisAddress("::1", 1)),
        ],
    )
    def test_is_read_from_a_url(self, url: str, read: RedisAddress) -> None:
        assert RedisAddress.parse(url) == read

    @pytest.mark.parametrize(
        "url", ["", "http://h:1", "rediss://h:1", "h:port", "h:70000", "redis://", "redis://h?a=1"]
    )
    def test_anything_else_is_refused(self, url: str) -> None:
        with pytest.raises(RedisError, match="HOST:PORT"):
            RedisAddress.parse(url)

    def test_another_database_is_refused_since_ray_cannot_use_it(self) -> None:
        with pytest.raises(RedisError, match="database 0"):
            RedisAddress.parse("redis://h:1/2")

    def test_is_written_as_ray_reads_it_and_never_with_its_password(self) -> None:
        assert str(RedisAddress("h", 1, "u", "geheim")) == "h:1"
        assert str(RedisAddress("::1", 1)) == "[::1]:1"
        assert "geheim" not in repr(RedisAddress("h", 1, "u", "geheim"))


class TestServer:
    def test_only_the_keys_that_match_are_deleted(self, server: RedisServer) -> None:
        with connected(RedisAddress.parse(server.url)) as redis:
            redis.mset({f"ours@{number}": "x" for number in range(2500)} | {"theirs": "x"})
            delete_keys(redis, "ours@*")
        assert server.all_keys() == [b"theirs"]

    @pytest.mark.parametrize("who", ["", "default:wrong@"])
    def test_the_password_is_needed(self, server: RedisServer, who: str) -> None:
        host = server.url.partition("@")[2]
        with pytest.raises(RedisError) as caught, connected(RedisAddress.parse(f"{who}{host}")):
            pass
        assert "wrong" not in str(caught.value)


def test_where_nothing_listens_is_said() -> None:
    refused = pytest.raises(RedisError, match=r"Redis cannot be used at 127\.0\.0\.1:1: ")
    with refused, connected(RedisAddress("127.0.0.1", 1)):
        pass


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_kind_of_server_is_told_apart(answer: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        other = threading.Thread(target=serve)
        other.start()
        address = RedisAddress("127.0.0.1", server.getsockname()[1])
        with pytest.raises(RedisError, match="Redis cannot be used at"), connected(address):
            pass
        server.shutdown(socket.SHUT_RDWR)
        other.join()
