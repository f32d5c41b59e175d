"""Hosts with addresses of their own work together: tasks, replicas and large values."""

from tests.hosts.host_handlers import REMOTE
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import HOSTS, ServiceOnHosts

REPLICA = "ray::ServeReplica:raytasks:api"


def test_each_host_joins_with_its_own_address(service: ServiceOnHosts, load: Load) -> None:
    nodes = service.http.get("/nodes").json()["nodes"]
    places = {host.name: host.address for host in (service.head, *service.workers)}
    assert {node["host"]: node["address"] for node in nodes} == places
    assert len(set(places.values())) == len(HOSTS)


def test_tasks_run_on_all_hosts(service: ServiceOnHosts, load: Load) -> None:
    tasks = load.running_on(*HOSTS)
    remote = [load.submit(REMOTE, seconds=0.5) for _ in range(6)]
    for task_id in tasks + remote:
        [attempt] = load.done(task_id)["attempts"]
        assert attempt["host"] in HOSTS
        assert attempt["outcome"] == "succeeded"


def test_replicas_spread_over_hosts_and_answer(service: ServiceOnHosts, load: Load) -> None:
    """Serve has put both on the head, which was there first: one of them moves."""
    hosts = (service.head, *service.workers)

    def spread() -> bool:
        return [len(host.running(REPLICA)) for host in hosts].count(1) == 2

    service.wait_for(spread, "each of two hosts has a replica")
    for _ in range(40):
        load.submit()


def test_large_values_reach_all_hosts(service: ServiceOnHosts, load: Load) -> None:
    assert load.large_values(9) <= set(HOSTS)
