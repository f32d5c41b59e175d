"""End to end: single submissions at 16 connections, until the last task is COMPLETED."""

from benchmarks.handlers import BODY
from benchmarks.load import Generator, Plan
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes

CONNECTIONS = 16


def measure(service: Service, sizes: Sizes) -> Result:
    """Return how many tasks a second go through Serve's ingress, as it is shipped."""
    return _through(service, service.url, "end_to_end", sizes)


def through_listener(service: Service, sizes: Sizes) -> Result:
    """Return the same through the replica's own listener (`RAYTASKS_LISTEN_PORT`)."""
    return _through(service, service.listener_url, "listener", sizes)


def _through(service: Service, url: str, name: str, sizes: Sizes) -> Result:
    service.warm_up()
    before = service.completed()
    generator = Generator(
        Plan(url, ("/tasks/",), CONNECTIONS, body=BODY, requests=sizes.end_to_end)
    )
    ended = service.wait_completed(before + sizes.end_to_end)
    load = generator.finish()
    return Result(
        {
            f"{name}.per_second": sizes.end_to_end / (ended - load.began),
            f"{name}.failures": float(load.failures),
            f"{name}.generator_percent": 100 * load.processor,
        }
    )
