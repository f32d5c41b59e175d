"""End to end: single submissions at 16 connections, until the last task is COMPLETED."""

from benchmarks.handlers import BODY
from benchmarks.load import Generator, Plan
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes

CONNECTIONS = 16


def measure(service: Service, sizes: Sizes) -> Result:
    """Return how many tasks a second go through."""
    service.warm_up()
    before = service.completed()
    generator = Generator(
        Plan(service.url, ("/tasks/",), CONNECTIONS, body=BODY, requests=sizes.end_to_end)
    )
    ended = service.wait_completed(before + sizes.end_to_end)
    load = generator.finish()
    return Result(
        {
            "end_to_end.per_second": sizes.end_to_end / (ended - load.began),
            "end_to_end.failures": float(load.failures),
            "end_to_end.generator_percent": 100 * load.processor,
        }
    )
