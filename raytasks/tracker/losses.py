"""Outcomes that no runner reports: of lost runners' attempts, and of attempts never sent."""

import asyncio
from collections.abc import Callable

from raytasks.model.states import LossCause
from raytasks.model.tasks import Running
from raytasks.tracker.aside import Aside
from raytasks.tracker.blame import last_words
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.inbox import Inbox, released_outcome


class Losses:
    """The source of outcomes that no runner reports; it puts them into the inbox.

    `clock` gives their times. An outcome that was reported already stays. `on_gone` gets each
    runner that is lost, with the reason and the cause.
    """

    def __init__(
        self,
        fleet: Fleet,
        inbox: Inbox,
        aside: Aside,
        wake: asyncio.Event,
        clock: Callable[[], float],
        on_gone: Callable[[RunnerState, str, LossCause], None],
    ) -> None:
        self._fleet = fleet
        self._inbox = inbox
        self._aside = aside
        self._wake = wake
        self._clock = clock
        self._on_gone = on_gone

    def mark_lost(
        self,
        runner_id: str,
        reason: str,
        *,
        out_of_memory: bool = False,
        for_good: bool = False,
        cause: LossCause = LossCause.PROCESS,
    ) -> None:
        """Mark a runner as gone: its attempts are lost or released. See `blame`.

        Unless `for_good`, it may come back.
        """
        runner = self._fleet.remove(runner_id, for_good=for_good)
        if runner is None:
            return
        self._on_gone(runner, reason, cause)
        ended = {
            (item.runner_id, item.task_id, item.attempt)
            for item in runner.held.values()
            if self.has_outcome(item)
        }
        said = last_words(
            runner,
            reason,
            self._clock(),
            ended=ended,
            out_of_memory=out_of_memory,
            cause=cause,
        )
        unsent = runner.unsent()
        keys = ((running.task_id, running.attempt) for running, _ in said)
        self._fleet.unsure.update(key for key in keys if key not in unsent)
        for item in said:
            self._inbox.outcomes.append(item)
        runner.answer()
        self._wake.set()

    def release(self, running: Running) -> None:
        """Release an attempt that its runner gave back or never got: the task waits again."""
        if self.has_outcome(running):
            return
        key, runner = (running.task_id, running.attempt), self._fleet.runners.get(running.runner_id)
        sent = runner is None or key not in runner.unsent()
        if runner is not None and sent:
            self._fleet.unsure.add(key)
        self._inbox.outcomes.append((running, released_outcome(running, self._clock(), sent=sent)))
        self._wake.set()

    def release_runner(self, runner_id: str) -> int:
        """Release what a runner holds, uncharged; return the number of attempts.

        An attempt that has ended is not released, even if its outcome is not stored yet.
        """
        runner = self._fleet.runners.get(runner_id)
        held = [] if runner is None else list(runner.held.values())
        held = [running for running in held if not self.has_outcome(running)]
        for running in held:
            self.release(running)
        return len(held)

    def has_outcome(self, running: Running) -> bool:
        """Return whether the outcome of an attempt is known, stored or not."""
        key = running.task_id, running.attempt
        return self._inbox.has_outcome(*key) or self._aside.has_outcome(*key)
