"""A POST that does nothing, on Ray Serve: what the ingress alone can do."""

from benchmarks.handlers import BODY
from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.noop import NoopServer
from benchmarks.sizes import Sizes


def measure(server: NoopServer, sizes: Sizes) -> Result:
    """Return rates and latencies at each number of connections."""
    result = Result({})
    for connections in sizes.connections:
        plan = Plan(
            server.url,
            ("/tasks/",),
            connections,
            body=BODY,
            seconds=sizes.load_seconds,
            warm=10,
        )
        result.add(generate(plan).result(f"noop.{connections}"))
    return result
