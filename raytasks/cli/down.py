"""`raytasks down`: ends the service that `raytasks up` has started on this machine."""

from typing import Annotated

import psutil
import typer

_BEYOND_GRACE_SECONDS = 90.0


def down(
    port: Annotated[
        int | None, typer.Option(help="Which one, where several run: the API's port.")
    ] = None,
) -> None:
    """End the `raytasks up` of this machine in order, as Ctrl-C in its terminal does.

    It may run in the background, or have lost its terminal. A Ray cluster that it has only joined
    stays; for that `raytasks stop` does the same from any machine.
    """
    from raytasks.cluster.processes import ClusterError, end_leftovers
    from raytasks.cluster.runs import present_runs

    found = [run for run in present_runs() if port in (None, run.port)]
    if len(found) > 1:
        ports = ", ".join(str(run.port) for run in found)
        raise ClusterError(f"several services run here: say which one with --port ({ports})")
    if not found:
        left = end_leftovers() if port is None else 0
        which = "no 'raytasks up'" if port is None else f"no 'raytasks up' with the port {port}"
        ended = f"; ended {left} processes that an earlier one had left" if left else ""
        typer.echo(f"{which} runs on this machine{ended}")
        return
    [run] = found
    typer.echo(
        f"ending the service at {run.url} (process {run.pid}); running tasks have "
        f"{run.grace_seconds:g} seconds"
    )
    try:
        given_back = run.end(run.grace_seconds + _BEYOND_GRACE_SECONDS)
    except (FileNotFoundError, psutil.NoSuchProcess):
        given_back = None  # it has ended by itself meanwhile
    if given_back is None:
        typer.echo("it has ended; it does not say what it gave back")
    else:
        typer.echo(f"it has ended; {given_back} running tasks were given back")
