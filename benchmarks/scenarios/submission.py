"""Submission over HTTP, while the tasks also run; and before and after it the no-op beside it."""

from functools import partial

from benchmarks.handlers import BODY
from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes


def measure(service: Service, sizes: Sizes) -> Result:
    """Return rates and latencies at each number of connections."""
    service.warm_up()
    result = Result({})
    with service.noop() as noop:
        for connections in sizes.connections:
            submit = partial(_submit, service, connections, sizes)
            name = f"submission.{connections}.noop_per_second"
            result.add(service.beside_noop(noop, connections, sizes.load_seconds, name, submit))
    return result


def _submit(service: Service, connections: int, sizes: Sizes) -> Result:
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
    found = load.result(name)
    # How much longer the tasks took than their submission: near 0, or the queue had grown.
    accepted = len(load.latencies) + 10 * connections
    ended = service.wait_completed(before + accepted)
    found.numbers[f"{name}.queue_left_seconds"] = ended - load.ended
    return found
