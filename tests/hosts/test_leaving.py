"""A host that is told to leave: what runs there ends, or is given back and charged to nobody."""

import signal

import pytest

from tests.cluster.recovery import recovering
from tests.deploy.manifests import CLUSTER, custom, pods
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import HOSTS, RAY_PORT, ServiceOnHosts

WORKER = "two"


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")]
)
def test_a_signal_lets_tasks_end(
    service: ServiceOnHosts, load: Load, number: signal.Signals, said: str
) -> None:
    host, log = service.workers[1], service.folder / f"{WORKER}.log"
    tasks = load.running_on(WORKER, seconds=4.0)
    before = len(log.read_text())
    with recovering(f"a worker told to stop ({said}): its tasks of 4 s have ended, it is gone"):
        service.leave(host, number)
    assert "nothing runs here any more" in log.read_text()[before:]
    for task_id in tasks:
        [attempt] = load.done(task_id)["attempts"]
        assert attempt["outcome"] == "succeeded"


def test_what_takes_longer_is_given_back(service: ServiceOnHosts, load: Load) -> None:
    host = service.workers[1]
    remote = load.running_remotely(30.0)
    tasks = load.running_on(WORKER, seconds=20.0)
    with recovering("a worker told to stop (SIGTERM), tasks longer than the grace: it is gone"):
        service.leave(host)
    # Those of this host, and of the others. Ray ends a remote task with its node.
    assert first_outcomes(load, tasks) == {"released", "succeeded"}
    assert first_outcomes(load, remote) == {"lost", "succeeded"}


def first_outcomes(load: Load, tasks: list[str]) -> set[str]:
    """Return how the first attempts ended of tasks that are done, none of them charged."""
    done = [load.done(task_id) for task_id in tasks]
    assert not any(task["crashes"] for task in done)
    return {task["attempts"][0]["outcome"] for task in done}


def test_rays_own_drain(service: ServiceOnHosts, load: Load) -> None:
    """As Ray's autoscaler has a node leave: the worker ends by itself, and joins again."""
    tasks = load.running_on(WORKER, seconds=4.0)
    [node] = [one for one in service.nodes_alive() if one["host"] == WORKER]
    drain = [
        "drain-node",
        f"--address={service.head.address}:{RAY_PORT}", f"--node-id={node['node_id']}",
        "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=a test",
        "--deadline-remaining-seconds=60",
    ]  # fmt: skip
    with recovering("a node drained by `ray drain-node`: its tasks of 4 s have ended, it is gone"):
        service.run_ray(service.head, *drain)
        service.wait_for(lambda: service.nodes() == 2, "the node is gone")
    log = service.folder / f"{WORKER}.log"
    service.wait_for(lambda: "was told to leave" in log.read_text(), "the worker has ended")
    for task_id in tasks:
        [attempt] = load.done(task_id)["attempts"]
        assert attempt["outcome"] == "succeeded"


def test_a_pod_of_kuberay_is_deleted(service: ServiceOnHosts, load: Load) -> None:
    """Its preStop has the node leave, as the manifest says; then its first process gets SIGTERM.

    `ray start --block` outlives its raylet, and ends by the signal.
    """
    template = pods(custom(CLUSTER))["worker"]
    host = service.workers[1]
    host.kill()
    service.wait_for_nodes(len(HOSTS) - 1)
    host.boot()
    host.plug()
    first = service.start_pod(host, template)
    tasks = load.running_on(WORKER, seconds=4.0)
    with recovering("a pod of KubeRay deleted: its tasks of 4 s have ended, its container, too"):
        said = service.delete_pod(host, first, template)
    assert "nothing runs here any more" in said
    for task_id in tasks:
        [attempt] = load.done(task_id)["attempts"]
        assert attempt["outcome"] == "succeeded"
    service.start_worker(host)


def test_a_remote_task_ends_or_runs_again(service: ServiceOnHosts, load: Load) -> None:
    """A task of Ray's own on a host that leaves: within the grace it ends."""
    tasks = load.running_remotely(4.0)
    service.leave(service.workers[1])
    attempts = [attempt for task_id in tasks for attempt in load.done(task_id)["attempts"]]
    assert {attempt["outcome"] for attempt in attempts} == {"succeeded"}
    assert WORKER in {attempt["host"] for attempt in attempts}
