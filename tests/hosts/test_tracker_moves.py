"""A tracker whose host dies comes up on another one, and then on a third; nothing is lost.

The head's raylet is killed first, and its control store stays. So the tracker goes to a worker's
host, as after the restart of a head that keeps its tables. Serve's controller never leaves the
head. So there is no HTTP from then on, and the history tells how everything went.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from raytasks.cluster.environment import ray_environment
from tests.cluster.recovery import recovering
from tests.hosts.lan import Host, lacking
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import API_PORT, RAY_PORT, ServiceOnHosts, prepared

TRACKER = "ray::TrackerActor"
RAYLET = str(Path(ray.__file__).parent / "core/src/ray/raylet/raylet")


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceOnHosts]:
    """A service in a cluster that Ray's own commands have started."""
    if reason := lacking():
        pytest.skip(reason)
    with prepared(tmp_path_factory.mktemp("moves"), "moves") as service:
        service.variables = ray_environment()
        (service.folder / "ray-token").write_text(secrets.token_hex(32))
        address = f"{service.head.address}:{RAY_PORT}"
        common = ("--num-cpus=1", "--include-log-monitor=false")
        service.run_ray(
            service.head, "start", "--head", f"--port={RAY_PORT}",
            f"--node-ip-address={service.head.address}", "--include-dashboard=false", *common,
        )  # fmt: skip
        for host in service.workers:
            service.run_ray(host, "start", f"--address={address}", *common)
        service.start_up(f"--address={address}", "--host=0.0.0.0", f"--port={API_PORT}")
        service.wait_for_nodes(1 + len(service.workers))
        yield service


def host_of_the_tracker(service: ServiceOnHosts) -> Host | None:
    """Return the host where the tracker runs."""
    up = [host for host in (service.head, *service.workers) if host.is_up]
    return next((host for host in up if host.running(TRACKER)), None)


def test_the_tracker_comes_up_elsewhere(service: ServiceOnHosts) -> None:
    load = Load(service)
    assert host_of_the_tracker(service) is service.head
    for _ in range(20):
        load.submit(seconds=2.0)
    [raylet] = service.head.running(RAYLET)
    with recovering("the head's raylet killed, its control store lives: the tracker is elsewhere"):
        raylet.kill()
        service.wait_for(
            lambda: host_of_the_tracker(service) in service.workers, "the tracker has moved"
        )
    first = host_of_the_tracker(service)
    assert first is not None
    with recovering("the tracker's host, a worker's, gone too: all tasks are done on the last one"):
        first.kill()
        service.wait_for(
            lambda: host_of_the_tracker(service) not in (None, first), "it has moved again"
        )
        load.judge()
