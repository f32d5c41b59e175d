"""The clients of a run: they submit, cancel and retry as real ones do, and note what they know."""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from raytasks.client import Call, is_temporary
from raytasks.model.states import State
from tests.chaos.driver import Driver
from tests.chaos.evidence import Submission
from tests.chaos.kinds import Kind, Place
from tests.chaos.plan import PlannedTask, Way

MAX_CLIENTS = 100
"""How many clients there are at once; where the service holds them up, others come later."""

REQUEST_SECONDS = 15.0
INSIST_SECONDS = 90.0
"""How long a client goes on trying with a key, or to cancel or retry, before it gives up."""

_AGAIN_SECONDS = 0.5
_WAIT_SECONDS = 10
_TOGETHER = 3
_CONFLICT = 409


class Clients:
    """All clients. `submissions` is what they have submitted, by token."""

    def __init__(self, url: str, driver: Driver, *, keyed: bool) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, timeout=REQUEST_SECONDS, limits=httpx.Limits(), trust_env=False
        )
        self._driver = driver
        self._keyed = keyed
        self._busy: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_CLIENTS)
        self._numbers = itertools.count(1)
        self.submissions: dict[str, Submission] = {}
        self.answers: Counter[str] = Counter()

    async def run(self, tasks: Iterator[PlannedTask], stop: asyncio.Event) -> None:
        """Submit tasks, each when its time has come and a client is free, until told to stop."""
        began = asyncio.get_running_loop().time()
        for planned in tasks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + planned.at):
                    await stop.wait()
            if stop.is_set():
                return
            await self._room.acquire()
            client = asyncio.create_task(self._be_client(planned))
            self._busy.add(client)
            client.add_done_callback(self._gone)

    async def finish(self) -> None:
        """Wait until every client has got its answers, or has given up."""
        while self._busy:
            await asyncio.gather(*self._busy)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._busy:
            client.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        await self._http.aclose()

    async def probe(self, place: Place, deadline: float) -> bool:
        """Submit a task until one is accepted; return whether it completed before the deadline."""
        task_id = await self._own(Kind.PROBE, place, {}, deadline)
        if task_id is None:
            return False
        return await self.final(task_id, deadline) is State.COMPLETED

    async def bait(self, place: Place, seconds: float, deadline: float) -> str | None:
        """Submit a task that runs for some seconds; return its id, or None if none is accepted."""
        return await self._own(Kind.SLOW, place, {"seconds": seconds}, deadline)

    async def final(self, task_id: str, deadline: float) -> State | None:
        """Return the final state of a task; None if it has none before the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            params = {"wait": min(left, _WAIT_SECONDS)}
            task = await self._send("GET", f"/tasks/{task_id}", params=params)
            if task is None or task.is_error:
                await asyncio.sleep(_AGAIN_SECONDS / 5)
            elif (state := State(task.json()["state"])).final:
                return state
        return None

    async def _be_client(self, planned: PlannedTask) -> None:
        submission = self._note(planned)
        match planned.way:
            case Way.DRIVER:
                task_id = await self._driver.submit(planned)
                self.answers[f"driver {'accepted' if task_id else 'no answer'}"] += 1
                submission.answers += [task_id] if task_id else []
            case Way.KEY_AGAIN if submission.key:
                await self._insist(planned, submission)
                await self._insist(planned, submission)
            case Way.KEY_TOGETHER if submission.key:
                together = [self._insist(planned, submission) for _ in range(_TOGETHER)]
                await asyncio.gather(*together)
            case _:
                await self._post(planned, submission)
        if submission.answers and planned.kind is Kind.CANCELLED:
            await asyncio.sleep(planned.cancel_after)
            await self._cancel(submission)
        if submission.answers and planned.kind is Kind.REVIVED:
            await self._retry_when_failed(submission)

    async def _own(
        self, kind: Kind, place: Place, script: dict[str, Any], deadline: float
    ) -> str | None:
        """Submit a task of the run's own: another one each time, as there is no key."""
        while time.monotonic() < deadline:
            token = f"own-{next(self._numbers)}"
            planned = PlannedTask(token, 0.0, kind, place, Way.HTTP, script, {"priority": 5})
            submission = self._note(planned)
            await self._post(planned, submission)
            if submission.answers:
                return submission.answers[0]
            await asyncio.sleep(_AGAIN_SECONDS / 5)
        return None

    def _gone(self, client: "asyncio.Task[None]") -> None:
        self._busy.discard(client)
        self._room.release()

    def _note(self, planned: PlannedTask) -> Submission:
        key = str(uuid.uuid4()) if self._keyed and planned.way.keyed else None
        submission = Submission(planned.token, planned.kind, key)
        self.submissions[planned.token] = submission
        return submission

    async def _insist(self, planned: PlannedTask, submission: Submission) -> None:
        """Submit with the key, again and again until there is an answer."""
        deadline = time.monotonic() + INSIST_SECONDS
        while time.monotonic() < deadline:
            if await self._post(planned, submission):
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _post(self, planned: PlannedTask, submission: Submission) -> bool:
        body = {"task_type": planned.place, "payload": planned.payload, **planned.options}
        headers = {"Idempotency-Key": submission.key} if submission.key else {}
        answer = await self._send("POST", "/tasks/", json=body, headers=headers)
        if answer is None:
            return False
        if answer.is_success:
            submission.answers.append(answer.json()["task_id"])
        else:
            submission.refusals.append(f"{answer.status_code}: {answer.text[:200]}")
        return True

    async def _cancel(self, submission: Submission) -> None:
        deadline = time.monotonic() + INSIST_SECONDS
        while time.monotonic() < deadline:
            submission.cancels += 1
            if await self._act(submission, "cancel"):
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _retry_when_failed(self, submission: Submission) -> None:
        deadline = time.monotonic() + INSIST_SECONDS
        while await self.final(submission.answers[0], deadline) is State.FAILED:
            submission.retries += 1
            if await self._act(submission, "retry"):
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _act(self, submission: Submission, verb: str) -> bool:
        answer = await self._send("POST", f"/tasks/{submission.answers[0]}/{verb}")
        if answer is not None and answer.is_error and answer.status_code != _CONFLICT:
            submission.refusals.append(f"{verb}: {answer.status_code}: {answer.text[:200]}")
        return answer is not None

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Return the API's answer; None if none came, or one that may be otherwise in a moment."""
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.RequestError as error:
            self.answers[f"{method} {type(error).__name__}"] += 1
            return None
        ours = "json" in answer.headers.get("content-type", "")
        self.answers[f"{method} {answer.status_code}{'' if ours else ' of the ingress'}"] += 1
        if answer.status_code >= 500 or is_temporary(Call(method, path), answer):
            return None
        return answer
