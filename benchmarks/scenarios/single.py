"""One client, one task at a time: from its submission until `?wait=` says that it is COMPLETED."""

from benchmarks.handlers import BODY
from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes


def measure(service: Service, sizes: Sizes) -> Result:
    """Return the latencies."""
    plan = Plan(service.url, ("/tasks/",), 1, body=BODY, requests=sizes.singles, wait=True, warm=20)
    return generate(plan).result("single")
