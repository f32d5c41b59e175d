"""Submission at 16 connections, with a thousand clients that wait for tasks, and with none."""

import time

from benchmarks.handlers import BODY
from benchmarks.load import Generator, Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes

_CONNECTIONS = 16
_LATER_SECONDS = 86_400


def measure(service: Service, sizes: Sizes) -> Result:
    """Return the rates with the clients, and without them: the mean of before and after."""
    tasks = service.submit(sizes.waiting_clients, delay_seconds=_LATER_SECONDS)
    submit = Plan(
        service.url,
        ("/tasks/",),
        _CONNECTIONS,
        body=BODY,
        seconds=sizes.load_seconds,
        warm=10,
    )
    result = Result({})
    service.warm_up()
    before = generate(submit)
    result.add(before.result("waiting.without"))
    waiting = Generator(
        Plan(
            service.url,
            tuple(f"/tasks/{task_id}?wait=60" for task_id in tasks),
            len(tasks),
            method="GET",
            seconds=sizes.settle_seconds + sizes.load_seconds + 5,
            patience=0.0,
        )
    )
    time.sleep(sizes.settle_seconds)  # until all of them are connected
    result.add(generate(submit).result("waiting.with"))
    held = waiting.finish()
    # Before and after: else what has changed meanwhile would count as the clients' doing.
    after = generate(submit)
    result.numbers["waiting.without.per_second"] = (before.per_second + after.per_second) / 2
    result.numbers["waiting.with.clients"] = float(held.sent - held.failures)
    for task_id in tasks:
        service.http.post(f"/tasks/{task_id}/cancel").raise_for_status()
    return result
