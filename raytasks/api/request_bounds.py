"""Bounds on what clients may do to a replica: waiting clients, headers, slow and deep bodies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from raytasks.api.problems import RETRY_AFTER_SECONDS, Problem
from raytasks.model.strict_json import is_deeper

MAX_HEADERS = 100

REQUESTS_BESIDE_WAITING = 1000
"""How many requests a replica accepts at a time, beside those that wait."""

CLOSE = {"Connection": "close"}
"""The header of an answer after which the connection is closed."""


class WaitingRoom:
    """A fixed number of places for clients that wait: for the end of a task, or for events."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many clients wait now."""
        return self._taken

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place while the block runs. Raises `Problem` 503 if none is free."""
        if self._taken >= self._places:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._places} clients wait here already (RAYTASKS_MAX_WAITING_CLIENTS); "
                "ask without waiting, or try again soon",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


def max_requests(max_waiting_clients: int) -> int:
    """Return how many requests a replica accepts at a time."""
    return max_waiting_clients + REQUESTS_BESIDE_WAITING


def check_header_count(count: int) -> None:
    """Refuse a request with too many headers. Raises `Problem` 431."""
    if count > MAX_HEADERS:
        raise Problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the request has {count} headers; {MAX_HEADERS} are allowed",
            headers=CLOSE,
        )


def body_in_time(receive: Receive, seconds: float) -> Receive:
    """Return a `receive` that raises 408 if the body is not complete in time.

    The time is `seconds`, from its first wait.
    """
    deadline: float | None = None
    complete = False

    async def timed() -> Message:
        nonlocal deadline, complete
        if complete:
            return await receive()
        receiving = _Begun(receive())
        if receiving.waits:
            # Most bodies are there already: only a body that is waited for needs a timer.
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + seconds
            try:
                async with asyncio.timeout_at(deadline):
                    await receiving
            except TimeoutError:
                # Not a `Problem`: other readers of bodies, such as FastAPI, let this through.
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the body has not come within {seconds:g} seconds (RAYTASKS_BODY_SECONDS)",
                    headers=CLOSE,
                ) from None
        message = receiving.message
        complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return timed


class _Begun:
    """A call of `receive`, run as far as its first wait, if it waits. `await` runs the rest."""

    message: Message

    def __init__(self, receiving: Awaitable[Message]) -> None:
        self._steps = receiving.__await__()
        self._waits_for: Any = None
        self.waits = self._go_on(lambda: next(self._steps))

    def _go_on(self, step: Callable[[], Any]) -> bool:
        try:
            self._waits_for = step()
        except StopIteration as end:
            self.message = end.value
            return False
        return True

    def __await__(self) -> Generator[Any, Any, None]:
        # Like `yield from`, but from the present position.
        while self.waits:
            try:
                yield self._waits_for
            except BaseException as error:
                self.waits = self._go_on(partial(self._steps.throw, error))
            else:
                self.waits = self._go_on(partial(next, self._steps))


async def client_left(receive: Receive) -> None:
    """Return when the client has left. What comes from it until then is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


def check_depth(value: Any, most: int) -> None:
    """Refuse a JSON value whose lists and objects are nested too deeply.

    Raises `Problem` 400.
    """
    if is_deeper(value, most):
        raise too_deep(most)


def too_deep(most: int) -> Problem:
    """Return the problem of a body that is nested too deeply."""
    return Problem(
        HTTPStatus.BAD_REQUEST,
        f"the body is nested deeper than {most} levels (RAYTASKS_MAX_DEPTH)",
    )
