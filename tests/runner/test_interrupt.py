"""Interrupts of a thread: none is left behind, and Python does not go on looking for one."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from raytasks.handling.declaration import handler
from raytasks.model.states import OutcomeKind
from raytasks.runner.interrupt import AttemptStopped, interrupt_thread, take_interrupt
from raytasks.runner.stop import StopReason
from tests.working import PATIENCE, Working

TRACED = """
import sys, threading
from raytasks.handling.declaration import handler
from tests.working import Working

@handler("plain")
def plain(payload: dict) -> int:
    return 1

threading.settrace(lambda *_: None)
working = Working(plain)
print([outcome.kind.value for outcome in working.run("plain", "plain")], flush=True)
"""


def test_attempts_run_under_a_debugger() -> None:
    """On Python 3.11 a thread that is traced hung after the first attempt."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "['succeeded', 'succeeded']\n", done.stderr


def test_nothing_is_thrown_after_an_interrupt_was_taken() -> None:
    for _ in range(100):
        with suppress(AttemptStopped):  # it may be thrown before it can be taken
            interrupt_thread(threading.get_ident())
            take_interrupt()
        take_interrupt()  # there may be none
        for _ in range(100):
            time.monotonic()


def test_the_attempt_after_an_interrupted_one_is_left_alone() -> None:
    begun = threading.Event()

    @handler("deaf")
    def deaf(payload: dict) -> None:
        begun.set()
        while True:
            time.sleep(0.001)

    @handler("next")
    def next_one(payload: dict) -> int:
        return sum(1 for _ in range(10_000))

    working = Working(deaf, next_one)

    def stop() -> None:
        assert begun.wait(PATIENCE)
        attempt = working.worker.current
        assert attempt is not None
        working.worker.order_stop(attempt, StopReason.CANCEL)
        working.worker.interrupt(attempt)

    stopper = threading.Thread(target=stop)
    stopper.start()
    stopped, *others = working.run("deaf", "next", "next")
    stopper.join()
    assert stopped.kind is OutcomeKind.CANCELLED
    assert [other.kind for other in others] == [OutcomeKind.SUCCEEDED] * 2
