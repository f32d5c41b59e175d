"""The network itself: its cuts are silent, and its wire is as slow as it says."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.lan import Host, Lan, lacking

_DISCARD = 9
_SILENCE_SECONDS = 0.5


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if reason := lacking():
        pytest.skip(reason)
    lan = Lan(tmp_path_factory.mktemp("lan"), "alone")
    try:
        lan.open()
        yield lan.add("one")
    finally:
        lan.close()


def refusal(host: Host) -> float | None:
    """Return how many seconds a host took to refuse a connection; None if it said nothing."""
    began = time.monotonic()
    try:
        socket.create_connection((host.address, _DISCARD), timeout=_SILENCE_SECONDS)
    except ConnectionRefusedError:
        return time.monotonic() - began
    except TimeoutError:
        return None
    raise AssertionError("somebody listens there")


def test_a_cut_is_silent(host: Host) -> None:
    assert refusal(host) is not None
    host.unplug()
    assert refusal(host) is None
    host.plug()
    assert refusal(host) is not None


@pytest.mark.parametrize("way", ["heard", "hears"])
def test_one_way_is_cut(host: Host, way: str) -> None:
    with host.on_a_wire() as wire:
        assert refusal(host) is not None
        setattr(wire, way, False)
        assert refusal(host) is None
        assert wire.lost


def test_a_slow_wire_delays_each_way(host: Host) -> None:
    with host.on_a_wire(delay=0.1):
        refusal(host)  # each side learns the other's hardware address
        assert 0.2 <= (refusal(host) or 0) < 0.4


def test_a_lossy_wire_loses_some(host: Host) -> None:
    with host.on_a_wire(loss=0.3) as wire:
        answers = [refusal(host) for _ in range(8)]
    assert any(answers)
    assert wire.lost


def test_a_killed_host_ends_with_all_its_processes(host: Host, tmp_path: Path) -> None:
    process = host.run(["sleep", "1000"], tmp_path / "log")
    host.kill()
    assert process.poll() is not None
    host.boot()
    host.plug()
    assert refusal(host) is not None
