"""The options of `raytasks up` and `raytasks worker` about what Ray may use on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from raytasks.cluster.node_resources import NodeResources

NumCpus = Annotated[int | None, typer.Option(help="Processors that Ray may use here.", min=1)]
NumGpus = Annotated[int | None, typer.Option(help="GPUs that Ray may use here.", min=0)]
Memory = Annotated[
    str | None, typer.Option(help="What tasks may reserve here, such as 8GiB.", metavar="SIZE")
]
OwnResources = Annotated[
    list[str] | None,
    typer.Option(help="NAME=AMOUNT that this machine has; can be given again."),
]
Labels = Annotated[
    str | None, typer.Option(help="Labels of this machine: NAME=VALUE, commas between.")
]


def resources_of(
    num_cpus: int | None,
    num_gpus: int | None,
    memory: str | None,
    custom: list[str] | None,
    labels: str | None,
    address: str | None = None,
) -> "NodeResources":
    """Return what Ray may use here, from the options as they were given.

    Raises `ResourceError`, which names the option.
    """
    from raytasks.cluster.node_resources import NodeResources, custom_of, labels_of, memory_of

    return NodeResources(
        num_cpus, num_gpus, memory_of(memory), custom_of(custom or ()), labels_of(labels), address
    )
