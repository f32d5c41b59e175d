"""Questions of many clients that travel together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Gathering(Generic[Question, Answer]):
    """Gathers questions while calls are on their way; who asks the same shares one answer.

    `call` answers questions, in their order. At most `calls` are on their way at a time, of at
    most `questions` each.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]],
        *,
        questions: int,
        calls: int,
    ) -> None:
        self._call = call
        self._most_questions = questions
        self._most_calls = calls
        self._waiting: dict[Question, asyncio.Future[Answer]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        """Return the answer, of a call that begins after this. Raises what the call raises."""
        answer = self._waiting.get(question)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._waiting[question] = loop.create_future()
            # Not at once: what others are about to ask, who heard the same, goes with it.
            loop.call_soon(self._start_calls)
        return await asyncio.shield(answer)  # others may wait for it too

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < self._most_calls:
            batch = {
                question: self._waiting.pop(question)
                for question in list(islice(self._waiting, self._most_questions))
            }
            call = asyncio.ensure_future(self._make(batch))
            self._calls.add(call)
            call.add_done_callback(self._call_done)

    def _call_done(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _make(self, batch: "dict[Question, asyncio.Future[Answer]]") -> None:
        waiting = list(batch.values())
        try:
            answers = await self._call(list(batch))
        except asyncio.CancelledError:
            for future in waiting:
                future.cancel()
            raise
        except Exception as error:
            for future in waiting:
                future.set_exception(error)
                future.exception()  # maybe nobody waits for it any more
            return
        for future, answer in zip(waiting, answers, strict=True):
            future.set_result(answer)
