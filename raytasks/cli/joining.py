"""`raytasks worker`, a further machine of a cluster until Ctrl-C; and `raytasks leave`."""

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from raytasks.cli.foreground import catch_signals, console, step, stop_signals, wait_for_signal
from raytasks.cli.machine_options import (
    Labels,
    Memory,
    NumCpus,
    NumGpus,
    OwnResources,
    resources_of,
)

if TYPE_CHECKING:
    from raytasks.cluster.processes import RayProcess


def worker(
    address: Annotated[str, typer.Option(help="The cluster's address (HOST:PORT), as `up` says.")],
    num_cpus: NumCpus = None,
    num_gpus: NumGpus = None,
    memory: Memory = None,
    resource: OwnResources = None,
    labels: Labels = None,
    stop_grace: Annotated[
        float,
        typer.Option(
            help="Seconds that running tasks have at Ctrl-C.",
            envvar="RAYTASKS_STOP_GRACE_SECONDS",
            min=0,
        ),
    ] = 10.0,
) -> None:
    """Join this machine to a raytasks cluster, and run tasks until Ctrl-C.

    Then it takes no more tasks. What runs has some seconds to end, and is given back after that. A
    second Ctrl-C does not wait.
    """
    from raytasks.cluster import processes as cluster

    resources = resources_of(num_cpus, num_gpus, memory, resource, labels)
    stopping = stop_signals()
    with step(f"Joining {address}"):
        ray_process = cluster.start_worker(address, resources=resources)
    try:
        _compare_versions(address)
        catch_signals(stopping)  # Ray has taken SIGTERM for its own
        console.print(f"this machine works for {address}; Ctrl-C takes it out")
        _work(ray_process, stopping, stop_grace)
    finally:
        with step("Leaving the cluster"):
            ray_process.stop()


def leave(
    stop_grace: Annotated[
        float,
        typer.Option(
            help="Seconds that running tasks have.", envvar="RAYTASKS_STOP_GRACE_SECONDS", min=0
        ),
    ] = 10.0,
    node_id: Annotated[
        str | None,
        typer.Option(help="Which node, where several run here: its id, or how that begins."),
    ] = None,
) -> None:
    """Have this machine leave its cluster in order, where `ray start` has joined it.

    Ray's node here takes no more tasks, and ends when nothing runs. What runs has some seconds to
    end, and is given back after that. A machine with `raytasks worker` leaves at its Ctrl-C.
    """
    from raytasks.cluster import leaving

    with step(f"Taking no more tasks (those that run have {stop_grace:g} seconds)"):
        answer = leaving.leave_by_node(node_id, stop_grace)
    console.print(answer, soft_wrap=True)


def _compare_versions(address: str) -> None:
    """Refuse to work for a service of another version. Raises `OtherVersion`."""
    from raytasks.cluster import processes as cluster
    from raytasks.cluster import tracker_calls

    with step("Comparing the versions"):
        cluster.connect(address)
        try:
            tracker_calls.check_version_in_cluster()
        finally:
            cluster.disconnect()


def _work(ray_process: "RayProcess", stopping: threading.Event, grace: float) -> None:
    """Wait for a signal, then until nothing runs here; `grace` seconds at most.

    Raises `RayEnded` if Ray ends before the signal, unless somebody else has had this machine
    leave.
    """
    from raytasks.cluster import leaving
    from raytasks.cluster.processes import RayEnded

    try:
        wait_for_signal(stopping, ray_process)
    except RayEnded:
        if leaving.has_left(ray_process):
            console.print("this machine was told to leave (Ray's drain), and has left")
            return
        raise
    if grace <= 0:
        return
    with step(f"Taking no more tasks (those that run have {grace:g} seconds)"):
        answer = leaving.leave(ray_process, grace)
    console.print(answer, soft_wrap=True)
