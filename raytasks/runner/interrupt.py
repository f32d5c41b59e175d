"""Stopping Python code that runs in another thread."""

import ctypes
import threading


class AttemptStopped(BaseException):
    """Thrown into a handler that was asked to stop and did not."""


def interrupt_thread(thread_id: int) -> None:
    """Throw `AttemptStopped` into a thread, at its next step of Python code.

    Code that waits in C is not reached before it returns. See `PyThreadState_SetAsyncExc` in
    Python's C API.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(AttemptStopped)
    )


def take_interrupt() -> None:
    """Catch an interrupt of this thread that may still be on its way: it is thrown here, or never.

    An interrupt is not simply withdrawn. Python then goes on to look for one at every call, in all
    threads, and Python 3.11 never gets past that look under a debugger or coverage.
    """
    try:
        interrupt_thread(threading.get_ident())  # in the place of one that was not thrown yet
        while True:  # it is thrown at the next step
            pass
    except AttemptStopped:
        pass
