"""`raytasks deploy`, `drain` and `resume`: what an operator does to a cluster that runs."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from raytasks.settings import Settings

Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster (HOST:PORT). Default: RAY_ADDRESS, or the one here."),
]


def deploy(address: Address = None) -> None:
    """Put the handlers as they are now into a cluster that runs.

    New tasks go to runners with the new code; those with the old code finish what they run
    (DRAIN_SECONDS at the most), and then leave. A drain is over with it.
    """
    from raytasks import service
    from raytasks.api.deployment import present_deployment

    settings = _connect(address)
    deployment = present_deployment(settings)
    service.redeploy(deployment)
    types = ", ".join(info.task_type for info in deployment.handlers)
    typer.echo(f"deployed version {deployment.generation}: {types}")


def drain(
    seconds: Annotated[
        float, typer.Option(help="How long running tasks may go on; then they are given back.")
    ] = 60.0,
    address: Address = None,
) -> None:
    """Hand out no tasks any more, and wait until nothing runs. Tasks are still accepted.

    It lasts until `raytasks resume`, `raytasks deploy`, or a new `raytasks up`.
    """
    from raytasks import service

    _connect(address)
    released = service.drain(seconds)
    typer.echo(f"nothing runs any more; {released} attempts were given back")


def resume(address: Address = None) -> None:
    """Hand out tasks again."""
    from raytasks import service

    _connect(address)
    service.resume()
    typer.echo("tasks are handed out again")


def _connect(address: str | None) -> "Settings":
    from raytasks import cluster
    from raytasks.settings import load_settings

    settings = load_settings(ray_address=address)
    cluster.connect(settings.ray_address or "auto")
    return settings
