"""`raytasks demo --break`: 1,000 tasks run while the processes of their service are killed.

The numbers are those of the API: while the tasks run from its metrics, and at the end from the
tasks themselves.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from raytasks.cli.demo_kills import Kill, Killer
from raytasks.cli.demo_screen import DemoScreen, numbers_line
from raytasks.client import ApiError, AsyncClient, ServiceUnavailable, TooManyRequests
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import RaytasksError

TASK_TYPE = "order"
MODULES = ("raytasks.builtin._order", "raytasks.builtin.text_processing")
"""The handlers of the service: as few as possible, so that it starts fast."""

SETTINGS = {"WARM_RUNNERS_MIN": "2", "WARM_RUNNERS_MAX": "2"}
"""Two runners: so the tasks take about as long on each machine."""

_SUBMITTERS = 8
_LOOK_SECONDS = 0.25
_AGAIN_SECONDS = 0.2
_STILL_SECONDS = 60.0
"""How long nothing may advance, in seconds, before what has not ended counts as lost."""


@dataclass(frozen=True)
class Plan:
    """How many tasks are submitted at which pace, and after how many accepted ones a kill comes.

    Each kill also waits until the service has recovered from the one before.
    """

    tasks: int = 1000
    per_second: float = 60.0
    kills_at: tuple[int, int, int] = (200, 450, 700)


@dataclass
class LiveCount:
    """The numbers so far. `accepted` has the number of each accepted order by its task's id."""

    accepted: dict[str, int] = field(default_factory=dict)
    completed: int = 0
    run_again: int = 0
    failed: int = 0

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers by name."""
        return numbers_of(len(self.accepted), self.completed, self.run_again, self.failed)

    def all_ended(self, tasks: int) -> bool:
        """Whether so many tasks were accepted and have ended."""
        return len(self.accepted) >= tasks and self.completed + self.failed >= tasks


@dataclass(frozen=True)
class Account:
    """The account of all tasks, made after the end. The `seconds` begin with the first task.

    A task is `lost` if it was accepted, and has not COMPLETED with the right result. Of the tasks
    `twice`, more than one attempt may have begun. As many as are `missing` were never accepted, and
    no submission stands for as many as are `surplus`.
    """

    accepted: int
    missing: int
    completed: int
    twice: tuple[str, ...]
    lost: int
    surplus: int
    seconds: float
    kills: tuple[Kill, ...]

    @property
    def good(self) -> bool:
        """Whether the promise was kept, and the service came back each time."""
        back = all(kill.back_seconds is not None for kill in self.kills)
        return back and not (self.lost or self.missing or self.surplus)

    @property
    def lines(self) -> list[str]:
        """The summary."""
        lines = [f"{self.accepted:,} tasks, and SIGKILL for these while they ran:"]
        lines += [f"  {kill.line}" for kill in self.kills]
        if self.missing:
            lines.append(f"{self.missing:,} tasks were not accepted")
        if self.surplus:
            lines.append(f"{self.surplus:,} tasks are there that nobody has submitted")
        numbers = numbers_of(self.accepted, self.completed, len(self.twice), self.lost)
        return [*lines, f"{numbers_line(numbers)} (in {self.seconds:.0f} s)"]


def numbers_of(accepted: int, completed: int, run_twice: int, lost: int) -> dict[str, int]:
    """Return the four numbers by name."""
    return {"accepted": accepted, "completed": completed, "run twice": run_twice, "lost": lost}


def break_service(url: str, up_pid: int, plan: Plan | None = None) -> Account:
    """Kill processes of the service at `url` while it runs tasks, and count what became of them.

    It belongs to the `raytasks up` with this process id.
    """
    return asyncio.run(_Breaking(plan or Plan(), up_pid).run(url))


class _Breaking:
    def __init__(self, plan: Plan, up_pid: int) -> None:
        self._plan = plan
        self._up_pid = up_pid
        self._count = LiveCount()
        self._name = uuid.uuid4().hex
        self._numbers = iter(range(1, plan.tasks + 1))
        self._grown = asyncio.Event()
        self._kills: list[Kill] = []
        self._began = time.monotonic()

    async def run(self, url: str) -> Account:
        async with AsyncClient(url) as client:
            with DemoScreen(self._plan.tasks, lambda: self._count.numbers) as screen:
                work = asyncio.gather(
                    self._kill_all(Killer(client, self._up_pid), screen),
                    *(self._submit(client) for _ in range(_SUBMITTERS)),
                )
                watching = asyncio.ensure_future(self._watch(client, screen))
                both: list[asyncio.Future[Any]] = [work, watching]
                await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
                for part in both:
                    part.cancel()
                    with suppress(asyncio.CancelledError, TimeoutError):
                        await part
            seconds = time.monotonic() - self._began
            accepted, missing = self._count.accepted, self._plan.tasks - len(self._count.accepted)
            return await account_of(client, accepted, missing, seconds, tuple(self._kills))

    async def _submit(self, client: AsyncClient) -> None:
        """Submit tasks at the pace of the plan. Each is sent under its key until it is accepted."""
        for number in self._numbers:
            due = self._began + number / self._plan.per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            payload, key = {"number": number}, f"{self._name}-{number}"
            while True:
                try:
                    task = await client.submit(TASK_TYPE, payload, idempotency_key=key)
                    break
                except RaytasksError as error:
                    if not _is_temporary(error):
                        raise
                await asyncio.sleep(_AGAIN_SECONDS)
            self._count.accepted[task["task_id"]] = number
            self._grown.set()

    async def _kill_all(self, killer: Killer, screen: DemoScreen) -> None:
        acts = (killer.runner, killer.tracker, killer.api)
        for accepted, act in zip(self._plan.kills_at, acts, strict=True):
            while len(self._count.accepted) < accepted:
                self._grown.clear()
                await self._grown.wait()
            self._kills.append(await act())
            screen.say(f"SIGKILL for {self._kills[-1].line}")

    async def _watch(self, client: AsyncClient, screen: DemoScreen) -> None:
        """Show the numbers until all tasks have ended; `TimeoutError` if they stand still."""
        count, advanced_at, before = self._count, time.monotonic(), self._count.numbers
        while not count.all_ended(self._plan.tasks):
            with suppress(RaytasksError):
                read_metrics(await client.metrics(), count)
            screen.update()
            if count.numbers != before:
                advanced_at, before = time.monotonic(), count.numbers
            elif time.monotonic() - advanced_at > _STILL_SECONDS:
                raise TimeoutError
            await asyncio.sleep(_LOOK_SECONDS)


def _is_temporary(error: RaytasksError) -> bool:
    """Return whether the service is only away, or busy."""
    if isinstance(error, ApiError):
        return error.status >= 500 or isinstance(error, TooManyRequests)
    return isinstance(error, ServiceUnavailable)


def read_metrics(text: str, count: LiveCount) -> None:
    """Read the numbers of our tasks out of the service's metrics."""
    ended = {"COMPLETED": 0, "FAILED": 0, "CANCELLED": 0}
    lost = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("task_type") != TASK_TYPE:
                continue
            if sample.name == "raytasks_tasks_finished_total":
                ended[labels["state"]] += int(sample.value)
            elif sample.name == "raytasks_attempts_total" and labels["outcome"] == OutcomeKind.LOST:
                lost += int(sample.value)
    count.completed, count.run_again = ended["COMPLETED"], lost
    count.failed = ended["FAILED"] + ended["CANCELLED"]


def result_of(number: int) -> dict[str, str]:
    """Return the result that the task of this order must have."""
    return {"invoice": f"INV-{number:05}"}


async def account_of(
    client: AsyncClient,
    accepted: Mapping[str, int],
    missing: int,
    seconds: float,
    kills: tuple[Kill, ...],
) -> Account:
    """Count what became of the accepted tasks, from their documents."""
    found = {task["task_id"]: task async for task in client.tasks(task_type=TASK_TYPE)}
    completed = [
        task_id
        for task_id, number in accepted.items()
        if task_id in found
        and found[task_id]["state"] == "COMPLETED"
        and found[task_id]["result"] == result_of(number)
    ]
    twice = []
    for task_id, task in found.items():
        if task["attempt"] > 1:
            attempts = (await client.get(task_id))["attempts"]
            begun = [item for item in attempts if item["outcome"] != OutcomeKind.RELEASED]
            twice += [task_id] * (len(begun) > 1)
    return Account(
        accepted=len(accepted),
        missing=missing,
        completed=len(completed),
        twice=tuple(twice),
        lost=len(accepted) - len(completed),
        surplus=len(found.keys() - accepted.keys()),
        seconds=seconds,
        kills=kills,
    )
