"""The interrupt of Python code that runs in another thread."""

import ctypes
import threading


class AttemptStopped(BaseException):
    """The exception that is thrown into a handler that was asked to stop and did not."""


def interrupt_thread(thread_id: int) -> None:
    """Throw `AttemptStopped` into a thread, at its next step of Python code.

    Code that waits in C gets it only after it returns. See `PyThreadState_SetAsyncExc` in Python's
    C API.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(AttemptStopped)
    )


def take_interrupt() -> None:
    """Catch an interrupt of this thread that may still be pending, so that it is not thrown later.

    The interrupt is not simply withdrawn: after that, Python would check for one at every call, in
    all threads. Under a debugger or coverage, Python 3.11 would hang in that check.
    """
    try:
        interrupt_thread(threading.get_ident())  # replaces one that was not thrown yet
        while True:  # the next step throws it
            pass
    except AttemptStopped:
        pass
