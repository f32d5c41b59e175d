"""Submission over HTTP, while the tasks also run."""

from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.scenarios.noop import BODY
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes


def measure(service: Service, sizes: Sizes) -> Result:
    """Return rates and latencies at each number of connections."""
    service.warm_up()
    result = Result({})
    for connections in sizes.connections:
        before = service.completed()
        load = generate(
            Plan(
                service.url,
                ("/tasks/",),
                connections,
                body=BODY,
                seconds=sizes.load_seconds,
                warm=10,
            )
        )
        name = f"submission.{connections}"
        result.add(load.result(name))
        # How long the tasks took longer than their submission: near 0, or the queue had grown.
        accepted = len(load.latencies) + 10 * connections
        ended = service.wait_completed(before + accepted)
        result.numbers[f"{name}.queue_left_seconds"] = ended - load.ended
    return result
