"""The channel of an attempt in a Ray remote task: calls to the task runner's actor.

The actor may be unreachable for a while, as the network is cut or its process starts again. The
handler is not to blame, so its context never raises such an error. Calls that need an answer are
repeated; for the others the last answer stands.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError, TaskCancelledError

from raytasks.handling.context import Cancelled
from raytasks.model.lines import one_line
from raytasks.model.task_events import LogLine
from raytasks.runner.attempt import Attempt
from raytasks.runner.stacks import stack_text
from raytasks.runner.stop import StopReason

log = logging.getLogger(__name__)

STACK_SECONDS = 1.0
"""How long an attempt runs before its stack can be asked for."""

_CANCELLED_CACHE_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_TELL_SECONDS = 0.1
_RETRY_SECONDS = 0.5
_TRIES = 5
_PATIENCE_SECONDS = 5.0


def insist(call: Callable[[], Any], *, gone: Any) -> Any:
    """Call the task runner until it answers, and return the answer, or `gone` if it is dead.

    `call` returns Ray's reference of the answer, and must be safe to repeat. Raises what the
    runner's method raises.
    """
    while True:
        try:
            # Not `ray.get`: while that waits, Ray lends this task's processors to another one.
            return call().future().result()
        except (ActorDiedError, TaskCancelledError):  # nobody waits for this attempt any more
            return gone
        except RayTaskError:
            raise
        except RayError as error:
            log.warning("the task runner cannot be reached; trying again: %s", one_line(error))
            time.sleep(_RETRY_SECONDS)


class RemoteChannel:
    """Passes on what an attempt says, as its try of this `number` (from 0); the latest counts.

    Make it in the thread that runs the attempt.
    """

    def __init__(self, attempt: Attempt, task_runner: Any, number: int) -> None:
        claim = attempt.claim
        self._attempt = attempt
        self._me = (claim.task_id, claim.attempt, number)
        self._task_runner = task_runner
        self._told_at = -_TELL_SECONDS
        self._asked_at = -_CANCELLED_CACHE_SECONDS
        self._cancelled = False
        self._question: Any = None
        self._lines: list[LogLine] = []
        self._sent: list[tuple[Any, list[LogLine]]] = []
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        # Most attempts end earlier, and need no thread that waits.
        self._stacks = threading.Timer(STACK_SECONDS, self._show_stacks, [threading.get_ident()])
        self._stacks.daemon = True
        self._stacks.start()

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Pass on how far the attempt has come, at most some times a second; 1 (done) always."""
        now = time.monotonic()
        if now - self._told_at < _TELL_SECONDS and fraction != 1:
            return
        self._told_at = now
        told = self._task_runner.progress.remote(*self._me, fraction, message)
        for _ in range(_TRIES if fraction == 1 else 0):  # otherwise the outcome could overtake it
            if _arrived(told):
                return
            told = self._task_runner.progress.remote(*self._me, fraction, message)

    def checkpoint(self, data: str) -> None:
        """Return when the checkpoint is on disk. Raises `Cancelled` if nobody wants it any more."""
        kept, ref = self._attempt.externalize_checkpoint(data)
        save = self._task_runner.checkpoint
        self._send_lines()  # earlier log lines are kept with it
        if not insist(lambda: save.remote(*self._me, kept, ref), gone=False):
            self._cancelled = True
            raise Cancelled

    def log(self, line: LogLine) -> None:
        """Pass on a log line, together with those that follow soon."""
        with self._lock:
            self._lines.append(line)
            if self._timer is None:
                self._timer = threading.Timer(_TELL_SECONDS, self._send_lines)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Return when the task runner has all lines, so that the outcome cannot overtake them.

        A lost line must not fail the attempt: after some tries it is dropped.
        """
        self._stacks.cancel()
        self._send_lines()
        for _ in range(_TRIES):
            lost = [lines for told, lines in self._sent if not _arrived(told)]
            self._sent = []
            for lines in lost:
                self._tell(lines)

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop; ask the task runner now and then.

        Without an answer the last one stands. An open question is not asked again.
        """
        now = time.monotonic()
        if self._cancelled or now - self._asked_at < _CANCELLED_CACHE_SECONDS:
            return self._cancelled
        self._asked_at = now
        if self._question is None:
            self._question = self._task_runner.stop_reason.remote(*self._me)
        question = self._question
        try:
            if not ray.wait([question], timeout=_ANSWER_SECONDS)[0]:
                return self._cancelled
            self._question = None
            self._cancelled = bool(ray.get(question))
        except (ActorDiedError, TaskCancelledError):
            self._cancelled = True
        except RayError as error:
            log.warning("whether to stop cannot be asked; trying again: %s", one_line(error))
        return self._cancelled

    def stop_reason(self) -> StopReason | None:
        """Return why the attempt was told to stop; None: it was not. It waits for the answer."""
        ask = self._task_runner.stop_reason
        reason: StopReason | None = insist(lambda: ask.remote(*self._me), gone=StopReason.CANCEL)
        return reason

    def _show_stacks(self, thread_id: int) -> None:
        """Show the stack of the attempt in a thread whenever the task runner asks for it."""
        runner, me = self._task_runner, self._me
        while insist(lambda: runner.stack_wanted.remote(*me), gone=False):
            runner.show_stack.remote(*me, stack_text(self._attempt, thread_id))

    def _send_lines(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            lines, self._lines = self._lines, []
            earlier, self._sent = self._sent, []
            for told, sent in earlier:
                if not ray.wait([told], timeout=0)[0]:
                    self._sent.append((told, sent))
                elif not _arrived(told):
                    self._tell(sent)
            if lines:
                self._tell(lines)

    def _tell(self, lines: list[LogLine]) -> None:
        self._sent.append((self._task_runner.log.remote(*self._me, lines), lines))


def _arrived(told: Any) -> bool:
    """Return whether a call was answered in time. One that was not may still arrive."""
    with contextlib.suppress(RayError):
        ray.get(told, timeout=_PATIENCE_SECONDS)
        return True
    return False
