"""The resources of a node: CPUs, GPUs, memory, your own resources, labels; and its address."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raytasks.model.tasks import RaytasksError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|[KMG]i?)B?", re.IGNORECASE)


class ResourceError(RaytasksError):
    """A node's resources are not valid. The text names the option and the fix."""


@dataclass(frozen=True)
class NodeResources:
    """The resources of this machine that Ray may use.

    Ray detects those that are None. `memory` is in bytes. `address` is the IP address at which the
    other machines reach this one.
    """

    num_cpus: int | None = None
    num_gpus: int | None = None
    memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None

    def arguments(self) -> list[str]:
        """Return the resources as options of `ray start`."""
        found = [] if self.address is None else [f"--node-ip-address={self.address}"]
        if self.num_cpus is not None:
            found.append(f"--num-cpus={self.num_cpus}")
        if self.num_gpus is not None:
            found.append(f"--num-gpus={self.num_gpus}")
        if self.memory is not None:
            found.append(f"--memory={self.memory}")
        if self.custom:
            found.append(f"--resources={json.dumps(dict(self.custom))}")
        if self.labels:
            found.append("--labels=" + ",".join(f"{k}={v}" for k, v in self.labels.items()))
        return found


def memory_of(text: str | None) -> int | None:
    """Return the number of bytes in a text such as `8GiB`, `500MB` or `1000000`.

    Raises `ResourceError`.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ResourceError(f"--memory: {text!r} is no size, such as 8GiB, 500MB or 1000000")
    unit = found[2].capitalize()
    return int(float(found[1]) * _UNITS[unit])


def custom_of(texts: Iterable[str]) -> dict[str, float]:
    """Return resources by name, from texts such as `disk=2`. Raises `ResourceError`."""
    found = {}
    for text in texts:
        name, _, amount = text.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            raise ResourceError(
                f"--resource: {text!r} is not NAME=AMOUNT, such as disk=2"
            ) from None
    return found


def labels_of(text: str | None) -> dict[str, str]:
    """Return labels by name, from a text such as `zone=a,disk=ssd`. Raises `ResourceError`."""
    found = {}
    for part in (text or "").split(","):
        if part.strip():
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (name and equals and value):
                raise ResourceError(f"--labels: {part!r} is not NAME=VALUE, such as zone=a")
            found[name] = value
    return found
