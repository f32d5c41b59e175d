"""Steps, signals and output of the commands that run in the foreground until Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from raytasks.cli.output import lasting_output

if TYPE_CHECKING:
    from raytasks.cluster.processes import RayProcess

Result = TypeVar("Result")

console = Console(highlight=False, file=lasting_output())

_CHILD_CHECK_SECONDS = 0.5


def stop_signals() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""
    stopping = threading.Event()
    catch_signals(stopping)
    return stopping


def catch_signals(stopping: threading.Event) -> None:
    """Have Ctrl-C and SIGTERM set the event; a second Ctrl-C interrupts at once."""

    def stop(number: int, _frame: Any) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have SIGTERM, and the end of the terminal, raise `SystemExit` until the block ends.

    A signal that is ignored, as under `nohup`, stays so.
    """

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    mine = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def wait_for_signal(stopping: threading.Event, ray_process: "RayProcess | None") -> None:
    """Wait until the event is set. Raises `RayEnded` if Ray ends before that."""
    while not stopping.wait(_CHILD_CHECK_SECONDS):
        if ray_process is not None and not ray_process.alive():
            raise _ended(ray_process)


def while_there(ray_process: "RayProcess | None", call: Callable[[], Result]) -> Result:
    """Return what a call to Ray returns; None is a Ray of others.

    Raises `RayEnded` if Ray ends before that: the call itself would wait for a minute.
    """
    if ray_process is None:
        return call()
    answer: Future[Result] = Future()

    def make() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=make, daemon=True).start()
    while not wait([answer], _CHILD_CHECK_SECONDS).done:
        if not ray_process.alive():
            raise _ended(ray_process)
    return answer.result()


def _ended(ray_process: "RayProcess") -> Exception:
    from raytasks.cluster.processes import RayEnded

    return RayEnded(f"Ray has ended by itself: {ray_process.last_words()}")


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print a step, and that it is done."""
    if console.is_terminal:
        with console.status(f"{text} …"):
            yield
        console.print(f"[green]✓[/green] {text}")
    else:
        console.print(f"{text} …", soft_wrap=True)
        yield
