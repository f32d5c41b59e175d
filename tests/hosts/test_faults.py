"""A link is cut, slow or lossy, or a whole host is gone: nothing accepted is lost."""

import time

import pytest

from tests.cluster.recovery import recovering
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import HOSTS, ServiceOnHosts

WORKER = "two"
DELAY_SECONDS = 0.1
LOSS = 0.05


@pytest.mark.parametrize("seconds", [5, 60])
def test_link_cut(service: ServiceOnHosts, load: Load, seconds: float) -> None:
    """In a short cut the host stays; after a long one it joins again."""
    host = service.workers[1]
    tasks = load.running_on(WORKER)
    began = time.monotonic()
    host.unplug()
    try:
        with recovering(f"a worker's link cut for {seconds} s: what ran there is done"):
            if seconds < 10:
                time.sleep(seconds)
                host.plug()
            finish(load, tasks)
        if seconds > 10:
            service.wait_for_nodes(2)
            time.sleep(max(0.0, began + seconds - time.monotonic()))
    finally:
        host.plug()
    with recovering(f"the same, from the end of the {seconds} s until its host is in the cluster"):
        service.wait_for_nodes(len(HOSTS))


def test_link_cut_for_good(service: ServiceOnHosts, load: Load) -> None:
    host = service.workers[1]
    tasks = load.running_on(WORKER)
    host.kill()
    with recovering("a worker's host gone for good: what ran there is done"):
        finish(load, tasks)
    service.wait_for_nodes(2)
    host.boot()
    host.plug()
    with recovering("a new host in its place: from its start until it is in the cluster"):
        service.start_worker(host)
        service.wait_for_nodes(len(HOSTS))


@pytest.mark.parametrize("way", ["heard", "hears"])
def test_link_cut_one_way(service: ServiceOnHosts, load: Load, way: str) -> None:
    host = service.workers[1]
    tasks = load.running_on(WORKER)
    said = "nobody hears a worker's host" if way == "heard" else "a worker's host hears nobody"
    with host.on_a_wire() as wire:
        setattr(wire, way, False)
        with recovering(f"{said} (one-way cut): what ran there is done"):
            finish(load, tasks)
        service.wait_for_nodes(2)
        assert wire.lost
    with recovering(f"{said}: from the end of that until the host is in the cluster again"):
        service.wait_for_nodes(len(HOSTS))


@pytest.mark.parametrize(("delay", "loss"), [(0.0, 0.0), (DELAY_SECONDS, 0.0), (0.0, LOSS)])
def test_a_bad_link(service: ServiceOnHosts, load: Load, delay: float, loss: float) -> None:
    """The host stays in the cluster, and its attempts are not run again."""
    said = "as it is"
    if delay:
        said = "200 ms slower (both ways together)"
    elif loss:
        said = "that loses 5 % of the frames each way"
    with service.workers[1].on_a_wire(delay=delay, loss=loss) as wire:
        with recovering(f"three times 6 tasks of 1 s on three hosts, a worker's link {said}"):
            tasks = [task for _ in range(3) for task in load.running_on(*HOSTS, seconds=1.0)]
            finish(load, tasks)
        assert service.nodes() == 3
        assert wire.carried
    for task_id in tasks:
        assert len(load.done(task_id)["attempts"]) == 1


def test_the_database_is_gone_for_a_while(service: ServiceOnHosts, load: Load) -> None:
    tasks = load.running_on(*HOSTS)
    service.database.kill()
    began = time.monotonic()
    service.wait_for(lambda: "database_away" in service.reasons(), "/health tells of it", 40)
    time.sleep(max(0.0, began + 10 - time.monotonic()))
    service.database.boot()
    with recovering("PostgreSQL's host gone for 10 s: from its start until all is done"):
        service.database.plug()
        service.start_database()
        finish(load, tasks)
    service.wait_for(lambda: not service.reasons(), "/health is well again")


def test_the_head_is_gone(service: ServiceOnHosts, load: Load) -> None:
    tasks = load.running_on(*HOSTS, seconds=5.0)
    before = service.times_ended()
    service.head.kill()
    with recovering("the head's host gone: until the nodes of the workers have ended"):
        service.wait_for(
            lambda: all(map(int.__gt__, service.times_ended(), before)), "all workers have ended"
        )
    with recovering("the same, from the start of the head until all that ran is done"):
        service.head.boot()
        service.head.plug()
        service.start_head()
        finish(load, tasks)
    with recovering("from then on until all hosts are in the cluster"):
        service.wait_for_nodes(len(HOSTS))


def finish(load: Load, tasks: list[str]) -> None:
    """Wait until all of these are done, and a new one, too."""
    for task_id in [*tasks, load.submit()]:
        load.done(task_id)
