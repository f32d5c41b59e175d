"""The port of the replicas' own listeners: theirs together, and nobody else's."""

import socket
from collections.abc import Iterator

import pytest

from raytasks.api.listening.shared_port import PortTaken, SharedPort
from tests.ports import quiet_port

HOST = "127.0.0.1"


@pytest.fixture
def first() -> Iterator[SharedPort]:
    """A port that a replica of the service `one` has."""
    port = SharedPort(HOST, quiet_port(), "one")
    port.socket.listen()
    yield port
    port.close()


def test_replicas_of_a_service_share_it(first: SharedPort) -> None:
    second = SharedPort(HOST, first.port, "one")
    second.socket.listen()
    assert second.port == first.port
    second.close()


def test_another_service_is_refused_and_told_who_has_it(first: SharedPort) -> None:
    with pytest.raises(
        PortTaken, match=f"port {first.port} is used by .*service \\(one\\); choose"
    ):
        SharedPort(HOST, first.port, "other")


def test_it_goes_to_another_service_when_the_last_replica_has_left(first: SharedPort) -> None:
    second = SharedPort(HOST, first.port, "one")
    number = first.port
    first.close()
    with pytest.raises(PortTaken):
        SharedPort(HOST, number, "other")
    second.close()
    third = SharedPort(HOST, number, "other")
    with pytest.raises(PortTaken, match=r"\(other\)"):
        SharedPort(HOST, number, "one")
    third.close()


@pytest.mark.parametrize("shares", [False, True])
def test_another_program_is_not_joined_even_if_it_would_share(shares: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        other.bind((HOST, 0))
        other.listen()
        number = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {number} is in use by another program; choose"):
            SharedPort(HOST, number, "one")
    SharedPort(HOST, number, "one").close()


def test_a_host_of_another_machine_is_refused_with_the_reason() -> None:
    refused = r"cannot listen on 192\.0\.2\.1:.* see RAYTASKS_LISTEN_HOST"
    with pytest.raises(PortTaken, match=refused):
        SharedPort("192.0.2.1", quiet_port(), "one")


def test_without_a_number_any_free_port_is_taken() -> None:
    port = SharedPort(HOST, 0, "one")
    assert port.port > 0
    port.close()
