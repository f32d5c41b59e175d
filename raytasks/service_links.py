"""Kubernetes' service links: environment variables that tell a pod where its Services are.

A pod gets some for each Service of its namespace, unless it has `enableServiceLinks: false`. Those
of a Service `raytasks` or `raytasks-listen` begin as our settings do, and none of them is one.
"""

import re
from collections.abc import Iterator, Mapping

_HOST, _PORT = "_SERVICE_HOST", "_SERVICE_PORT"
_REST = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?"
)
"""How a link's name goes on after the name of its Service."""


def service_links(environment: Mapping[str, str]) -> set[str]:
    """Return the names of the service links in an environment.

    Their form alone is not enough, as a mistyped setting may have it. The host and the port of the
    same Service must be there, too. A plain `…_PORT` must be a URL: else a person has set it.
    """
    names = {name.removesuffix(_HOST) for name in environment if name.endswith(_HOST)}
    services = {name for name in names if name and name + _PORT in environment}
    return {
        name
        for name, value in environment.items()
        for service in _begins(name)
        if service in services
        and _REST.fullmatch(rest := name.removeprefix(service))
        and (rest != "_PORT" or "://" in value)
    }


def without_links(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without its service links."""
    links = service_links(environment)
    return {name: value for name, value in environment.items() if name not in links}


def _begins(name: str) -> Iterator[str]:
    """Return what may be the name of a Service at the begin of a variable's name."""
    for found in re.finditer("_(SERVICE|PORT)", name):
        yield name[: found.start()]
