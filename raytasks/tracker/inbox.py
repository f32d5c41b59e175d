"""The inbox: the commands and news since the last tick, with the callers who wait for answers."""

import logging
from collections import deque
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from pydantic_core import to_json

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import Duplicate, NewTask, RaytasksError, Running
from raytasks.protocol.messages import AttemptLog, Outcome, Report
from raytasks.store.refusals import error_name, traceback_of
from raytasks.tracker import keyed
from raytasks.tracker.acting import Target
from raytasks.tracker.awaited_commands import Action, Handing, Pruning, Submission, Verb
from raytasks.tracker.keyed import News

log = logging.getLogger(__name__)

MAX_SUBMITTED = 5000
"""Maximum number of new tasks in one tick; but one submission is never split."""

MAX_SUBMITTED_BYTES = 32 * 1024 * 1024
"""Maximum bytes of their payloads."""

MAX_OUTCOMES = 10_000
"""Maximum number of attempts that one tick settles."""

LINES_TRIES = 3
"""Number of times that the lines of an attempt are tried again before its outcome goes without
them, though the database takes other writes."""


@dataclass
class Inbox:
    """The commands that the next tick takes.

    `alone` marks commands that are tried separately, as one of them may be bad. `probe` marks a
    command that was set aside and is retried. A `trial` has rows of the outbox: an outage that they
    alone meet stops nobody else. Of suspects, `tries_left` is how often they are tried again before
    the next ones, while the database is away for them.
    """

    submissions: list[Submission] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    reports: News[tuple[str, Report]] = field(default_factory=keyed.reports)
    logs: News[tuple[str, AttemptLog]] = field(default_factory=keyed.logs)
    outcomes: News[tuple[Running, Outcome]] = field(default_factory=keyed.outcomes)
    late: News[tuple[str, Outcome]] = field(default_factory=keyed.late_outcomes)
    prunings: list[Pruning] = field(default_factory=list)
    handings: list[Handing] = field(default_factory=list)
    alone: bool = False
    probe: bool = False
    trial: bool = False
    tries_left: int = 0
    suspects: "deque[Inbox]" = field(default_factory=deque)
    _others_turn: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.suspects or self.count)

    @property
    def count(self) -> int:
        """The number of commands, without those of suspects."""
        return sum(map(len, self._lists))

    @property
    def bytes(self) -> int:
        """Approximate bytes of the news of runners, including those of suspects."""
        mine = sum(kind.bytes for kind in self._news)
        return mine + sum(group.bytes for group in self.suspects)

    @property
    def _news(self) -> tuple[News[Any], ...]:
        return (self.reports, self.logs, self.outcomes, self.late)

    @property
    def _lists(self) -> tuple[Any, ...]:
        # An attempt's reports and lines come before its outcome: after it they no longer count.
        return (
            self.submissions,
            self.actions,
            self.reports,
            self.logs,
            self.outcomes,
            self.late,
            self.prunings,
            self.handings,
        )

    def take(self) -> "Inbox":
        """Take and return the commands of the next tick; in turn with them, the next suspects."""
        self._others_turn = not self._others_turn
        while self.suspects and not (self._others_turn and self.count):
            group = self.suspects.popleft()
            if group.count:
                return group
        taken = Inbox()
        for mine, moved in zip(self._lists, taken._lists, strict=True):
            if mine is self.outcomes:
                moved.take_first(mine, MAX_OUTCOMES)
            elif isinstance(mine, News):
                moved.take_all(mine)
            else:
                mine[:] = [item for item in mine if not item.expired]
                count = _fitting(mine) if mine is self.submissions else len(mine)
                moved[:], mine[:] = mine[:count], mine[count:]
        return taken

    def put_back(self, taken: "Inbox") -> None:
        """Put back commands that failed, in front of those that came since."""
        for mine, again in zip(self._lists, taken._lists, strict=True):
            if isinstance(mine, News):
                mine.take_all(again)
            else:
                mine[:0] = again

    def put_back_suspects(self) -> None:
        """Make suspects ordinary commands again."""
        while self.suspects:
            self.put_back(self.suspects.pop())

    def groups(self) -> Iterator["Inbox"]:
        """Return the groups of commands: first its own, then those of the suspects."""
        yield self
        yield from self.suspects

    def has_outcome(self, task_id: str, attempt: int) -> bool:
        """Return whether the outcome of an attempt is here."""
        return any(group.outcomes.has((task_id, attempt)) for group in self.groups())

    def forget_unsaid(self, runner_id: str) -> None:
        """Forget the lines and reports of a runner that will send them all again.

        Those of attempts whose outcome is in the same group stay. Such an outcome does not wait for
        what is sent again, and after it no lines are taken.
        """
        for group in self.groups():
            group._forget_unsaid(runner_id)

    def _forget_unsaid(self, runner_id: str) -> None:
        def is_kept(item: tuple[str, AttemptLog | Report]) -> bool:
            said = item[1]
            return item[0] != runner_id or self.outcomes.has((said.task_id, said.attempt))

        self.logs.keep(is_kept)
        self.reports.keep(lambda item: is_kept(item) or not item[1].is_acknowledged)

    def targets(self, verb: Verb) -> list[Target]:
        """Return the tasks that are to be changed in this way, in order."""
        return [item.target for item in self.actions if item.verb == verb]

    @property
    def _awaited(self) -> tuple[list[Any], ...]:
        """The commands whose callers wait for an answer."""
        return (self.submissions, self.actions, self.prunings, self.handings)

    def succeed(
        self,
        duplicates: Mapping[str, Duplicate],
        pruning_seconds: float = 0.0,
        locked: Container[str] = (),
    ) -> None:
        """Answer submissions and prunings as done; actions are answered one by one.

        The answer to a pruning is how many seconds all of them have taken. The rows of the outbox
        that are `locked` were left where they are.
        """
        for submission in self.submissions:
            if not submission.answer.done():
                submission.answer.set_result(duplicates)
        for pruning in self.prunings:
            if not pruning.answer.done():
                pruning.answer.set_result(pruning_seconds)
        for handing in self.handings:
            if not handing.answer.done():
                handing.answer.set_result(handing.entry.row_id not in locked)

    def fail(self, error: RaytasksError) -> None:
        """Answer all waiting callers with an error."""
        for item in chain(*self._awaited):
            if not item.answer.done():
                item.answer.set_exception(error)

    def refuse(self, error: RaytasksError) -> None:
        """Answer all waiting callers with an error, and keep what runners said."""
        for group in self.groups():
            group.fail(error)
            for refused in group._awaited:
                refused.clear()
        self.suspects = deque(group for group in self.suspects if group.count)

    def isolate(self, taken: "Inbox", error: Exception | None = None) -> None:
        """Split the commands of a failed tick into halves that are tried separately: one is bad.

        The halves come before other suspects. The news of one attempt stay together as long as
        there is any other command, because an outcome must not go without its lines.
        """
        if error is not None and not taken.alone:
            text = "a tick failed; its commands are tried in parts: %s"
            log.warning(text, error_name(error), exc_info=traceback_of(error))
        units = taken._units()
        of_one_attempt = len(units) == 1
        if of_one_attempt:
            units = [[command] for command in units[0]]
        middle = (len(units) + 1) // 2
        for part in (units[middle:], units[:middle]):
            if part:
                group = Inbox(alone=True)
                for kind, item in chain(*part):
                    group._lists[kind].append(item)
                if of_one_attempt and not group.outcomes:
                    group.tries_left = LINES_TRIES
                self.suspects.appendleft(group)

    def try_again(self, taken: "Inbox") -> bool:
        """Try a group of suspects again before the others, unless that was done often enough."""
        if not taken.tries_left:
            return False
        taken.tries_left -= 1
        self.suspects.appendleft(taken)
        return True

    @property
    def is_about_one(self) -> bool:
        """Whether it is a single command, or all that was said of one attempt."""
        return len(self._units()) == 1

    def _units(self) -> list[list[tuple[int, Any]]]:
        """Return the commands with their kinds, grouped: the news of one attempt are one group."""
        units: dict[Hashable, list[tuple[int, Any]]] = {}
        for kind, items in enumerate(self._lists):
            for item in items:
                said = item[1] if isinstance(items, News) else None
                key = id(item) if said is None else (said.task_id, said.attempt)
                units.setdefault(key, []).append((kind, item))
        return list(units.values())

    def names(self) -> list[str]:
        """Return the names of the commands, for messages."""
        return [
            *(f"submission of {_tasks(item.tasks)}" for item in self.submissions),
            *(f"{item.verb} of task {item.task_id}" for item in self.actions),
            *(f"report of {_attempt(report)}" for _, report in self.reports),
            *(f"log lines of {_attempt(lines)}" for _, lines in self.logs),
            *(f"outcome of {_attempt(outcome)}" for _, outcome in self.outcomes),
            *(f"late outcome of {_attempt(outcome)}" for _, outcome in self.late),
            *(f"pruning of {len(item.task_ids)} tasks" for item in self.prunings),
            *(f"row of the outbox: {_tasks((item.entry.task,))}" for item in self.handings),
        ]


def _tasks(tasks: tuple[NewTask, ...]) -> str:
    first = f"task {tasks[0].task_id} ({tasks[0].task_type})" if tasks else "no task"
    return first if len(tasks) < 2 else f"{first} and {len(tasks) - 1} more"


def _attempt(item: Any) -> str:
    return f"task {item.task_id}, attempt {item.attempt}"


def _fitting(submissions: Sequence[Submission]) -> int:
    """Return how many of the submissions fit into one tick, at least the first."""
    number = size = 0
    for index, item in enumerate(submissions):
        number += len(item.tasks)
        size += sum(len(task.payload) for task in item.tasks)
        if index and (number > MAX_SUBMITTED or size > MAX_SUBMITTED_BYTES):
            return index
    return len(submissions)


def lost_outcome(
    running: Running,
    reason: str,
    now: float,
    *,
    charged: bool,
    company: int | None = None,
    out_of_memory: bool = False,
    node_id: str | None = None,
    worker_id: str | None = None,
    host: str | None = None,
    pid: int | None = None,
) -> Outcome:
    """Return the outcome of an attempt whose runner is gone."""
    return Outcome(
        running.task_id,
        running.attempt,
        OutcomeKind.OUT_OF_MEMORY if out_of_memory else OutcomeKind.LOST,
        started_at=running.started_at or running.claimed_at,
        finished_at=now,
        error=_error_json("WorkerLost", reason, retryable=True),
        node_id=node_id,
        worker_id=worker_id,
        charged=charged,
        company=company,
        begun=not running.waits,
        host=host,
        pid=pid,
    )


def released_outcome(running: Running, now: float, *, sent: bool) -> Outcome:
    """Return the outcome of a released attempt: its runner never got it, or leaves.

    One that was `sent` may have begun, whatever is known of it. So it may have left files.
    """
    return Outcome(
        running.task_id,
        running.attempt,
        OutcomeKind.RELEASED,
        started_at=running.started_at or running.claimed_at,
        finished_at=now,
        begun=not running.waits,
        has_files=sent,
    )


def _error_json(kind: str, message: str, *, retryable: bool) -> str:
    return to_json(
        {"type": kind, "message": message, "retryable": retryable, "traceback": None}
    ).decode()
