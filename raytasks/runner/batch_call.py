"""The call of a handler with a batch: each of its attempts has an outcome of its own."""

from collections.abc import Sequence
from typing import Any

from raytasks.handling.context import Cancelled
from raytasks.model.retry import PermanentError, RetryAfter, Snooze
from raytasks.runner.attempt import Attempt
from raytasks.runner.error_report import is_a, name_of
from raytasks.runner.handler_call import HandlerCall, Steps
from raytasks.runner.stop import StopReason


class BatchCall(HandlerCall):
    """Several attempts of one type, whose handler gets the list of their payloads.

    The handler returns a list with a result or an exception for each of them. If it raises an
    exception, the batch is split in halves, and each half runs again within the same attempts. So
    an attempt that cannot work fails by itself at last. A `Snooze`, `RateLimited` or `RetryAfter`
    counts for all.

    A cancelled attempt is dropped, and the others go on. A timeout stops the call: the attempts
    whose time is up time out, and the others run again.
    """

    def _steps(self) -> Steps:
        groups: list[Sequence[Attempt]] = [self.attempts]
        while groups:
            present, payloads = [], []
            for attempt in groups.pop():
                if attempt.stop.reason is not None:
                    self._settle(attempt, attempt.stopped())
                    continue
                payload, error = yield from self._payload(attempt)
                if error is None:
                    present.append(attempt)
                    payloads.append(payload)
                else:
                    self._settle(attempt, attempt.ended_by(error))
            if not present:
                continue
            arguments: list[Any] = [payloads]
            if self.spec.wants_context:
                arguments.append([attempt.context for attempt in present])
            result, error = yield from self._invoke(present, arguments)
            if error is not None:
                groups += reversed(self._after_error(present, error))
            else:
                yield from self._settle_results(present, result)

    def _after_error(self, group: list[Attempt], error: BaseException) -> list[list[Attempt]]:
        """Settle the attempts that this error ends, and return the groups that run again."""
        stopped = [attempt for attempt in group if _is_stopped(attempt, error)]
        if is_a(error, Snooze, RetryAfter) or len(group) == 1:
            stopped = group
        for attempt in stopped:
            self._settle(attempt, attempt.ended_by(error))
        if stopped:
            rest = [attempt for attempt in group if attempt not in stopped]
            return [rest] if rest else []
        middle = len(group) // 2
        return [group[:middle], group[middle:]]

    def _settle_results(self, group: list[Attempt], results: Any) -> Steps:
        items = _items_of(results)
        if items is None or len(items) != len(group):
            error = PermanentError(
                f"a handler of batches returns a list with a result for each of its {len(group)} "
                f"payloads, not {_described(results)}"
            )
            for attempt in group:
                self._settle(attempt, attempt.failed(error))
            return
        for attempt, result in zip(group, items, strict=True):
            if attempt.stop.reason is StopReason.CANCEL:
                self._settle(attempt, attempt.stopped())
            elif is_a(result, BaseException):
                self._settle(attempt, attempt.ended_by(result))
            else:
                yield from self._succeed(attempt, result)


def _is_stopped(attempt: Attempt, error: BaseException) -> bool:
    """Return whether an error of the batch ends this attempt because it was to stop."""
    if attempt.stop.reason is not None:
        return True
    # Its context says that the time is up before the runner's watch has seen it.
    late = attempt.deadline is not None and attempt.workplace.now() >= attempt.deadline
    return late and is_a(error, Cancelled)


def _described(results: Any) -> str:
    items = _items_of(results)
    if items is not None:
        return f"one of {len(items)} items"
    return f"a value of type {name_of(results)[:100]}"


def _items_of(results: Any) -> list[Any] | None:
    """Return the items of a list, whatever its class does; None if it is no list."""
    return list.__getitem__(results, slice(None)) if is_a(results, list) else None
