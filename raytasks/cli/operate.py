"""`raytasks deploy`, `drain` and `stop`: an operator's commands for a running cluster."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from raytasks.cli.output import keeping

if TYPE_CHECKING:
    from raytasks.pools.versions import DeployAnswer
    from raytasks.settings import Settings

Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster (HOST:PORT). By default RAYTASKS_RAY_ADDRESS, or this one."),
]

NO_TRACKER = (
    "no tracker answered, so nothing was given back; what still ran is lost, and runs again at the "
    "next start"
)
"""The words of a service that stops without its tracker."""


def deploy(address: Address = None) -> None:
    """Deploy the present handlers to a running cluster.

    The cluster tries them first; if they fail there, nothing changes. Then new tasks go to runners
    with the new code. Runners with the old code finish what they run, for at most
    RAYTASKS_DRAIN_SECONDS, and end. A deployment also ends a drain.
    """
    from raytasks import service
    from raytasks.api.on_ray.deployment import present_version
    from raytasks.handling.builtin_extra import left_out_line

    settings = connect(address)
    version = present_version(settings)
    answer = service.redeploy(version, keeping)
    types = ", ".join(version.task_types)
    typer.echo(f"deployed version {answer.number} ({version.generation}): {types}")
    if line := left_out_line(settings.task_modules):
        typer.echo(line)
    for line in warnings(answer):
        typer.echo(line, err=line.startswith("warning: "))


def stop(
    seconds: Annotated[
        float | None,
        typer.Option(
            help="How long running tasks may go on; then they are given back. Default: "
            "RAYTASKS_STOP_GRACE_SECONDS.",
            min=0,
        ),
    ] = None,
    address: Address = None,
) -> None:
    """Take the service out of a Ray cluster: the API, the runners and the tracker.

    The cluster itself stays, and so do the tasks: they go on when the service is started again.
    """
    from raytasks import service

    settings = connect(address)
    grace = settings.stop_grace_seconds if seconds is None else seconds
    released = service.leave_cluster(grace, keeping)
    given_back = NO_TRACKER if released is None else f"{released} attempts were given back"
    typer.echo(f"the service has left the cluster; {given_back}")


def warnings(answer: "DeployAnswer") -> Iterator[str]:
    """Yield the warnings of a deployment that succeeded."""
    if answer.in_force != answer.number:
        yield f"version {answer.in_force}, which came later, is in force"
    waiting = dict(answer.without_handler)
    gone = [f"the type {name} ({waiting.pop(name, 0)} tasks wait)" for name in answer.gone_types]
    gone += [f"the schedule {name}" for name in answer.gone_schedules]
    if gone:
        yield (
            f"warning: this version no longer has {', '.join(gone)}; if this is the wrong folder, "
            "deploy again from the right one"
        )
    for task_type, count in sorted(waiting.items()):
        yield (
            f"warning: {count} tasks of the type {task_type} wait, and this version has no handler "
            "for it"
        )
    if "DATABASE_URL" in answer.unchanged:
        yield (
            "warning: RAYTASKS_DATABASE_URL differs here, and the service keeps its own; to start "
            "it again from here would leave the tasks behind"
        )
    if unchanged := [f"RAYTASKS_{name}" for name in answer.unchanged if name != "DATABASE_URL"]:
        yield (
            f"not changed by a deployment: {', '.join(unchanged)} (the tracker keeps those "
            "of its first start; stop the service and start it again)"
        )


def drain(
    seconds: Annotated[
        float, typer.Option(help="How long running tasks may go on; then they are given back.")
    ] = 60.0,
    address: Address = None,
) -> None:
    """Stop handing out tasks, and wait until nothing runs. Tasks are still accepted.

    It lasts until `raytasks resume`, `raytasks deploy`, or a new `raytasks up`.
    """
    from raytasks.cluster import tracker_calls

    connect(address)
    released = tracker_calls.drain(seconds, keeping)
    typer.echo(f"nothing runs any more; {released} attempts were given back")


def connect(address: str | None) -> "Settings":
    """Join the Ray cluster of an address, and return the settings. Raises `ClusterError`."""
    from raytasks.cluster import processes as cluster
    from raytasks.settings import load_settings

    settings = load_settings(ray_address=address)
    cluster.connect(settings.ray_address or "auto")
    return settings
