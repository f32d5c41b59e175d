"""Commands and parts of ticks that the database refuses: kept, named in `/health`, and retried.

The pause between two tries grows.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.refusals import error_name
from raytasks.tracker.inbox import Inbox

MAX_BYTES = 16_000_000
"""Maximum bytes of runners' news that are kept here. Their runners keep them as well."""

MAX_NAMED = 10
"""Maximum number of commands that `/health` names."""

_FIRST_PAUSE = 0.5
_MAX_PAUSE = 10.0
_MAX_PAUSE_AWAY = 2.0  # while the database is away, which may be over at any time
_NAMED_SECONDS = 600.0  # for this long `/health` names a command that was answered with an error


@dataclass
class _Refused:
    """A command or a part of ticks that the database refuses. `group` is None for a part."""

    name: str
    group: Inbox | None
    error: Exception
    since: float
    tries: int = 1
    pause: float = _FIRST_PAUSE
    due_at: float = math.inf

    def failed(self, error: Exception, now: float) -> None:
        """Record another refusal."""
        self.error = error
        self.tries += 1
        self.pause = min(2 * self.pause, _max_pause(error))
        self.due_at = now + self.pause


class Aside:
    """Refused commands, and parts of a tick that fail by themselves.

    One command at a time is retried. When one has been stored, all others are retried.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: deque[_Refused] = deque()
        self._tried: _Refused | None = None
        self._answered: deque[_Refused] = deque(maxlen=MAX_NAMED)
        self._parts: dict[str, _Refused] = {}

    # Commands

    def add(self, group: Inbox, error: Exception) -> None:
        """Add a single command, or all that was said of one attempt.

        A command that was answered with the error is only named.
        """
        now = self._monotonic()
        *_, name = group.names()
        refused = _Refused(name, group, error, now, due_at=now + _FIRST_PAUSE)
        group.alone = group.probe = True
        if not group.bytes:  # nothing that a runner has said
            self._name(refused)
        elif self.bytes + group.bytes <= MAX_BYTES or not self._kept:
            self._kept.append(refused)

    def name(self, what: str, error: Exception) -> None:
        """Name something that is kept elsewhere, and retried there."""
        self._name(_Refused(what, None, error, self._monotonic()))

    def _name(self, refused: _Refused) -> None:
        """Name a command that was answered with an error; the same one is named once."""
        for known in self._answered:
            if known.name == refused.name:
                known.error, known.tries = refused.error, known.tries + 1
                return
        self._answered.append(refused)

    def due(self) -> Inbox | None:
        """Return the command to retry now; None if there is none."""
        self._tried = None
        if not self._kept or self._kept[0].due_at > self._monotonic():
            return None
        self._tried = self._kept.popleft()
        return self._tried.group

    def again(self, group: Inbox, error: Exception) -> None:
        """Record that the command just tried is still refused."""
        tried, self._tried = self._tried, None
        assert tried is not None
        if group.count:
            tried.failed(error, self._monotonic())
            self._kept.append(tried)
            self._wait_for_first(tried)

    def give_back(self) -> None:
        """Forget the command just tried: its parts are tried elsewhere."""
        self._tried = None

    def stored(self) -> Inbox:
        """Record that the command just tried is stored; return all others, to be retried now."""
        self._tried = None
        others = Inbox()
        while self._kept:
            group = self._kept.pop().group
            assert group is not None
            others.put_back(group)
        return others

    def forget_unsaid(self, runner_id: str) -> None:
        """Forget the log lines and checkpoints of a runner that will send them all again."""
        for item in self._kept:
            if item.group is not None:
                item.group.forget_unsaid(runner_id)
        self._kept = deque(item for item in self._kept if item.group and item.group.count)

    def has_outcome(self, task_id: str, attempt: int) -> bool:
        """Return whether the outcome of an attempt is kept here."""
        groups = [*self._kept, *([self._tried] if self._tried else [])]
        return any(item.group and item.group.outcomes.has((task_id, attempt)) for item in groups)

    @property
    def bytes(self) -> int:
        """Approximate number of bytes kept."""
        return sum(item.group.bytes for item in self._kept if item.group is not None)

    # Parts of a tick

    def bar(self, part: str, error: Exception) -> None:
        """Leave a part out of ticks for a while."""
        now = self._monotonic()
        known = self._parts.get(part)
        if known is None:
            self._parts[part] = _Refused(part, None, error, now, due_at=now + _FIRST_PAUSE)
        else:
            known.failed(error, now)

    def admit(self, part: str) -> None:
        """Record that a part works again."""
        self._parts.pop(part, None)

    def postpone(self, part: str) -> None:
        """Record that there was nothing to do for a part; try it again after its pause.

        One for which the database was away is left out no longer. As nothing waits for it, an
        outage that is over would be told without end.
        """
        known = self._parts.get(part)
        if known is not None and _is_away(known.error):
            self.admit(part)
        elif known is not None:
            known.due_at = self._monotonic() + known.pause

    def is_barred(self, part: str) -> bool:
        """Return whether a part is left out."""
        return part in self._parts

    def due_part(self) -> str | None:
        """Return the part to retry by itself now; None if there is none."""
        now = self._monotonic()
        return next((name for name, item in self._parts.items() if item.due_at <= now), None)

    # Both

    def due_at(self) -> float:
        """Return when something is retried, by `monotonic`; infinite if there is nothing."""
        kept = self._kept[0].due_at if self._kept else math.inf
        return min([kept, *(item.due_at for item in self._parts.values())])

    def away(self) -> str | None:
        """Return what is wrong with the database, if it was away for a part of ticks; else None."""
        errors = (item.error for item in self._parts.values())
        return next((str(error) for error in errors if _is_away(error)), None)

    def report(self) -> dict[str, Any]:
        """Return what was set aside, as `/health` shows it: the count, and the names of some."""
        now = self._monotonic()
        while self._answered and now - self._answered[0].since > _NAMED_SECONDS:
            self._answered.popleft()
        items = [*self._parts.values(), *self._kept, *self._answered]
        if self._tried is not None:
            items.insert(0, self._tried)
        return {
            "count": len(items),
            "list": [
                {
                    "what": item.name,
                    "error": error_name(item.error),
                    "tries": item.tries,
                    "seconds_ago": round(now - item.since, 3),
                }
                for item in items[:MAX_NAMED]
            ],
        }

    def _wait_for_first(self, tried: _Refused) -> None:
        """Make the next command wait too: all refused commands share one pause."""
        first = self._kept[0]
        pause = min(tried.pause, _max_pause(first.error))
        first.due_at = max(first.due_at, self._monotonic() + pause)
        for item in self._kept:
            item.pause = max(item.pause, tried.pause)


def _max_pause(error: Exception) -> float:
    return _MAX_PAUSE_AWAY if _is_away(error) else _MAX_PAUSE


def _is_away(error: Exception) -> bool:
    """Return whether the database was away, and did not only miss a lock that others hold."""
    return isinstance(error, StoreUnavailable) and not error.is_locked
