"""Bare Ray: no-op remote tasks, all submitted at once, until the last result is there."""

from benchmarks.measures import Result
from benchmarks.servers.programs import Conversation
from benchmarks.sizes import Sizes


def measure(ray: Conversation, sizes: Sizes) -> Result:
    """Return how many no-op tasks a second Ray runs."""
    ray.ask(sizes.bare_tasks)  # to be warm
    seconds = ray.ask(sizes.bare_tasks)["seconds"]
    return Result({"tasks.per_second": sizes.bare_tasks / seconds})
